"""Holding a folder of an object store for one process: an object that is only ever written under a condition.

Who holds it writes it again every few seconds, so that its tag changes. Whoever else wants it looks for a change: one
says that the holder lives, and none for a minute that it does not. Only durations are measured, each by one process's
own clock, so no clocks have to agree; and since every write names the tag that it replaces, of several processes that
want the folder one has it, and one that was passed over while it slept finds out at its next write.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dfndr.errors import StorageError, UsageError
from dfndr.patience import status_of, words_of
from dfndr.remote import explained, file_system

if TYPE_CHECKING:
    from dfndr.s3 import S3

__all__ = ["leased"]

BEAT_S, DEAD_S, LOOK_S = 5.0, 60.0, 1.0
"""How often a holder writes, how long without a write it counts as gone, and how often who waits looks."""

_log = logging.getLogger(__name__)


@contextmanager
def leased(folder: str, path: str) -> Iterator[Callable[[], None]]:
    """Hold an object of S3, and with it a folder; yields what raises StorageError if the folder was lost meanwhile.

    Raises UsageError where another process holds it and lives. One that died is waited for, for a minute. Where the
    store knows no conditions nothing is held, and the log warns of it.
    """
    fs, inner = file_system(path)
    lease = _Lease(fs, inner, folder)
    with explained(path, "hold"):
        is_held = lease.take()
    if not is_held:
        _log.warning("%s: this store has no conditional writes, so nothing keeps a second build away from it", folder)
        yield lambda: None
        return
    ended = threading.Event()
    beating = threading.Thread(target=lease.beat_until, args=(ended,), name="dfndr-lease", daemon=True)
    beating.start()
    try:
        yield lease.check
    finally:
        ended.set()
        beating.join()
        lease.let_go()


class _Lease:
    """One process's wish to hold the object; from `take` on, `_tag` is the tag that it last wrote."""

    def __init__(self, fs: S3, inner: str, folder: str) -> None:
        self._fs, self._inner, self._folder = fs, inner, folder
        self._holder, self._beats, self._tag = secrets.token_hex(8), 0, ""
        self._is_lost = False
        self._guard = threading.Lock()

    def take(self) -> bool:
        """Hold the object as soon as nobody else does; returns False where the store cannot keep others away."""
        seen, since = "", time.monotonic()
        while True:
            found = self._fs.read_tagged(self._inner)
            there, tag = ({}, None) if found is None else (_said(found[0]), found[1])
            if there.get("holder") == self._holder:  # the answer to an earlier try was lost
                self._tag = tag or ""
                return not self._is_ignored()
            is_free = found is None or there.get("holder") == ""
            if not is_free and tag != seen:
                if seen:
                    raise self._taken(there)
                seen, since = tag or "", time.monotonic()
                _log.warning(
                    "%s: held by process %s on %s; waiting to see whether it lives, for %g s at most",
                    *(self._folder, there.get("pid"), there.get("host"), DEAD_S),
                )
            if is_free or time.monotonic() - since >= DEAD_S:
                try:
                    written = self._fs.put_if(self._inner, self._content(), tag)
                except OSError as error:
                    if status_of(error) == 501:
                        return False
                    raise
                if written is not None:
                    self._tag = written
                    return not self._is_ignored()
            else:
                time.sleep(LOOK_S)

    def check(self) -> None:
        """Write now; raises StorageError where the folder was lost, or it cannot be known whether it was."""
        with explained(self._folder, "hold"):
            self._beat()
        if self._is_lost:
            do = "Let the other one finish; or see that it has ended, and run the same command again: it goes on."
            found = "another process that took it over, as this one gave no sign of life"
            raise StorageError(self._folder, expected="to hold it alone", found=found, do=do)

    def beat_until(self, ended: threading.Event) -> None:
        """Write every few seconds; a store that cannot be reached is tried again at the next beat."""
        while not self._is_lost and not ended.wait(BEAT_S):
            try:
                self._beat()
            except Exception as error:  # nobody would see it here; whether the lease was lost, `check` finds out
                _log.warning("%s: no sign of life could be given: %s", self._folder, words_of(error))

    def let_go(self) -> None:
        """Leave the object to whoever comes next; one that is not left for want of a connection is given up later."""
        free = json.dumps({"holder": ""}).encode()
        try:
            if not self._is_lost:
                self._fs.put_if(self._inner, free, self._tag)
        except Exception as error:  # what the work ended with matters more
            _log.warning("%s: could not be let go: %s", self._folder, words_of(error))

    def _beat(self) -> None:
        with self._guard:
            if self._is_lost:
                return
            self._beats += 1
            written = self._fs.put_if(self._inner, self._content(), self._tag)
            if written is None:
                found = self._fs.read_tagged(self._inner)
                self._is_lost = found is None or _said(found[0]).get("holder") != self._holder
                written = "" if found is None else found[1]
            self._tag = written

    def _is_ignored(self) -> bool:
        """Say whether the store writes an object that is there under the condition that it is not."""
        return self._fs.put_if(self._inner, self._content(), None) is not None

    def _content(self) -> bytes:
        told = {"holder": self._holder, "host": socket.gethostname(), "pid": os.getpid(), "beats": self._beats}
        return json.dumps(told).encode()

    def _taken(self, there: dict[str, object]) -> UsageError:
        found = f"one that is running: process {there.get('pid')} on {there.get('host')}"
        do = "Wait until that one is done, or choose another folder."
        return UsageError(self._folder, expected="no other build there", found=found, do=do)


def _said(content: bytes) -> dict[str, object]:
    """Return what the object says; of one that is damaged nothing, as of a holder that is not known."""
    try:
        given = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return given if isinstance(given, dict) else {}
