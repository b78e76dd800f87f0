"""Holding a folder for one process at a time, by a file in it that is locked, or by an object that is leased."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dfndr import storage
from dfndr.errors import StorageError, UsageError
from dfndr.remote import file_system, is_remote, is_s3

__all__ = ["locked"]


@contextmanager
def locked(folder: str, name: str) -> Iterator[Callable[[], None]]:
    """Hold the lock file `name` in a folder, made if need be; raises UsageError where another process holds it.

    The lock goes when the process ends, however it ends; at S3 (`dfndr.leases`) at most a minute later. Yields what
    raises StorageError where it was lost meanwhile, which can happen there alone. Other remote places know no locks.
    """
    if not is_remote(folder):
        with _locked(folder, name):
            yield lambda: None
    elif is_s3(folder):
        file_system(folder)  # raises MissingExtra where what reads S3 is not installed
        from dfndr.leases import leased

        with leased(folder, storage.join(folder, name)) as check:
            yield check
    else:
        yield lambda: None


@contextmanager
def _locked(folder: str, name: str) -> Iterator[None]:
    import fcntl

    storage.make_folder(folder)
    place = Path(folder.removeprefix("file://")) / name
    try:
        lock = open(place, "ab")  # noqa: SIM115
    except OSError as error:
        do = "Check who may write there."
        raise StorageError(str(place), expected="to write it", found=str(error.strerror), do=do) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            do = "Wait until that one is done, or choose another folder."
            raise UsageError(folder, expected="no other build there", found="one that is running", do=do) from error
        yield
