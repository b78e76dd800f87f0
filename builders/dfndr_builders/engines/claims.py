"""Who is at what, among processes on several machines that work in one folder: locks that go when a process ends.

They are POSIX record locks, which hold across the nodes of NFS, Lustre (mounted with `flock`) and GPFS: byte i of a
file of claims is unit i. Nothing of them lasts, so nothing is left to clean up after one who died.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dfndr import storage
from dfndr.errors import StorageError, UsageError

__all__ = ["ALONE", "JOINING", "TURNS", "Claims", "joined", "turn"]

TURNS = ".dfndr-turns"
"""The file that is locked, in the output folder, by whoever does what only one process may do at a time."""

JOINING, ALONE = 0, 1
"""The turns: to begin taking part in a build, and to do what is done once for all, such as to select."""


class Claims:
    """A file of which each byte can be held by one process at a time; closing it lets go of all."""

    def __init__(self, folder: str, name: str) -> None:
        self._file = _opened(folder, name)

    def take(self, number: int) -> bool:
        """Hold a byte, unless another process does."""
        import fcntl

        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def let_go(self, number: int) -> None:
        """Hold a byte no longer."""
        import fcntl

        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number)

    def close(self) -> None:
        """Hold nothing any longer."""
        os.close(self._file)


@contextmanager
def turn(root: str, number: int) -> Iterator[None]:
    """Wait until no other process holds the turn of that number in a build's folder, and hold it."""
    claims, pause_s = Claims(root, TURNS), 0.02
    try:
        while not claims.take(number):
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 5.0)
        yield
    finally:
        claims.close()


@contextmanager
def joined(root: str, name: str, digest: str) -> Iterator[None]:
    """Hold the lock file `name` of a build's folder together with others that build the recipe of this digest.

    Raises UsageError where somebody holds it for a build of his own, or others for another recipe. Who comes first
    sweeps what a killed build left.
    """
    lock = _opened(root, name)
    try:
        with turn(root, JOINING):
            _join(lock, root, digest)
        yield
    finally:
        os.close(lock)


def _opened(folder: str, name: str) -> int:
    storage.make_folder(folder)
    path = storage.join(folder, name)
    try:
        return os.open(Path(path.removeprefix("file://")), os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        do = "Check who may write there."
        raise StorageError(path, expected="to open it", found=str(error.strerror), do=do) from error


def _join(lock: int, root: str, digest: str) -> None:
    import fcntl

    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        storage.sweep_temporary(root)
        os.ftruncate(lock, 0)
        os.pwrite(lock, digest.encode(), 0)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        do = "Wait until that one is done, or choose another folder."
        raise UsageError(root, expected="no other build there", found="one that is running", do=do) from error
    there = os.pread(lock, 64, 0).decode(errors="replace")
    if there != digest:
        do = "Wait until those are done, or choose another folder."
        found = f"tasks that build recipe {there[:12]} there"
        raise UsageError(root, expected=f"no tasks but those of recipe {digest[:12]}", found=found, do=do)
