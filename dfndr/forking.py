"""Forks that wait for what other threads are doing just then, where a child would inherit it half done.

A process that is forked gets a copy of every lock and none of the threads that hold them. Libraries that speak to
servers let go of their connections in a child, under their own locks: were one held in the moment of the fork, the
child would wait for it for ever. So a thread says when it is with such a library, and a fork waits until none is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Gate", "not_forked"]

_PATIENCE_S = 60.0


class Gate:
    """Lets any number of threads in, and none while it is closed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside, self._is_closed = 0, False

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Go in, when it is open, and out again."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_closed)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def close(self, patience_s: float = _PATIENCE_S) -> bool:
        """Let nobody else in, and wait until all are out; False where some were not after so many seconds."""
        with self._changed:
            self._is_closed = True
            return self._changed.wait_for(lambda: not self._inside, patience_s)

    def open(self) -> None:
        """Let them in again."""
        with self._changed:
            self._is_closed = False
            self._changed.notify_all()


_gate = Gate()
not_forked = _gate.passed
"""What a thread does within this, a fork of this process waits for, a minute at most; not to be nested."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_gate.close, after_in_parent=_gate.open, after_in_child=_gate.__init__)  # type: ignore[misc]
