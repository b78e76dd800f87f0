"""Puts this folder on the import path (`from support.tiny import ...`), and lets no test fail for being slow."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from hypothesis import settings

# Before torch is loaded: on a busy machine, threads that spin while they wait keep the others from working.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).parent))
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So a shell starts what it runs in the background; tests of Ctrl-C would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("dfndr", deadline=None)
settings.load_profile("dfndr")
