"""Puts this folder on the import path, so that every test can say `from support.tiny import write_dataset`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
