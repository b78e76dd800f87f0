"""A folder of files by their sha256, with a limit: what nobody holds goes first, the longest unused before others.

Processes share it. Each says in a lease, a file that it keeps locked, which files it holds; a lease that nobody locks
any more is of a process that ended. Holding is done under a shared lock of the whole folder, throwing out under an
exclusive one, so no file goes between being found and being opened.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from dfndr.errors import StorageError, UsageError
from dfndr.storage import TEMPORARY, Stored, make_folder

__all__ = ["Cache", "shared_cache"]

_LIMIT = "200GB"
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SHARE_UNSEEN = 0.02
_ABANDONED_S = 86_400.0


def shared_cache() -> Cache:
    """Return this process's view of the cache in `$DFNDR_CACHE`, which is `~/.cache/dfndr` if not set.

    `$DFNDR_CACHE_SIZE` says how much it may hold, such as 50GB (200GB if not set); raises UsageError for another text.
    """
    folder = os.environ.get("DFNDR_CACHE") or str(Path.home() / ".cache" / "dfndr")
    given = os.environ.get("DFNDR_CACHE_SIZE") or _LIMIT
    size = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?) ?(|KB|MB|GB|TB)", given.strip().upper())
    if size is None:
        raise UsageError("DFNDR_CACHE_SIZE", expected="a size such as 50GB", found=repr(given), do="Set it to one.")
    return _cache(str(Path(folder).absolute()), int(float(size[1]) * _UNITS[size[2]]))


@lru_cache
def _cache(folder: str, limit_bytes: int) -> Cache:
    return Cache(Path(folder), limit_bytes)


class Cache:
    """The files in a folder; its methods may be called from any thread."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder, self.limit_bytes = folder, limit_bytes
        self._holds: Counter[str] = Counter()
        self._guards = os.getpid(), threading.RLock()
        self._lease: tuple[int, int] | None = None
        self._used_bytes: int | None = None
        self._unseen_bytes = self._coming_bytes = 0

    @property
    def _guard(self) -> threading.RLock:
        """A lock of this process: one that some thread held when it was forked would never be free."""
        if self._guards[0] != os.getpid():
            self._guards = os.getpid(), threading.RLock()
        return self._guards[1]

    def place(self, stored: Stored) -> str:
        """Return where a file belongs, relative to the folder."""
        return f"{stored.sha256[:2]}/{stored.sha256}"

    def path(self, stored: Stored) -> Path:
        """Return where a file is, or would be."""
        return self.folder / self.place(stored)

    def hold(self, stored: Stored) -> bool:
        """Keep a file from being thrown out until it is released as often; say whether it is there, whole."""
        with self._guard, self._locked(".lock", fcntl.LOCK_SH):
            self._holds[stored.sha256] += 1
            if self._holds[stored.sha256] == 1:
                self._write(f"+{stored.sha256}\n")
            try:
                there = self.path(stored).stat().st_size == stored.size_bytes
                if there:
                    os.utime(self.path(stored))
            except FileNotFoundError:
                return False
            return there

    def release(self, stored: Stored) -> None:
        """Take back one hold."""
        with self._guard:
            self._holds[stored.sha256] -= 1
            if self._holds[stored.sha256] <= 0:
                del self._holds[stored.sha256]
                self._write(f"-{stored.sha256}\n")

    @contextmanager
    def alone(self, stored: Stored) -> Iterator[None]:
        """Wait until no other thread or process fetches the file (or one of 4,095 like it), then keep it so."""
        with self._locked(f"locks/{stored.sha256[:3]}", fcntl.LOCK_EX):
            yield

    @contextmanager
    def room(self, stored: Stored) -> Iterator[None]:
        """Keep room for a file that is being written, by throwing out what nobody holds.

        Raises StorageError where too much is held, or the disk is full. The folder is measured at first, when it may
        be full, and when this process has added 2 % of its limit.
        """
        with self._guard:
            needed = stored.size_bytes
            measured = self._used_bytes is not None and self._unseen_bytes <= self.limit_bytes * _SHARE_UNSEEN
            if not measured or self._missing(needed) > 0:
                with self._locked(".lock", fcntl.LOCK_EX):
                    self._throw_out(needed)
            if (missing := self._missing(needed)) > 0:
                raise StorageError(
                    str(self.folder),
                    expected=f"room for {needed:,} bytes",
                    found=f"{missing:,} bytes too little, and all that is there in use",
                    do="Free some of the disk, set DFNDR_CACHE_SIZE to more, or stream with shuffle='window'.",
                )
            self._coming_bytes += needed
        written = 0
        try:
            yield
            written = needed
        finally:
            with self._guard:
                self._coming_bytes -= needed
                self._used_bytes = (self._used_bytes or 0) + written
                self._unseen_bytes += written

    def _missing(self, needed: int) -> int:
        """Return how many bytes are missing for a file, zero or less where it fits."""
        self.folder.mkdir(parents=True, exist_ok=True)
        over = (self._used_bytes or 0) + self._coming_bytes + needed - self.limit_bytes
        return max(over, self._coming_bytes + needed - shutil.disk_usage(self.folder).free)

    def _throw_out(self, needed: int) -> None:
        """Measure the folder, and delete files that nobody holds, the longest unused first, until one fits."""
        held, found, now = self._held(), [], time.time()
        goal = needed + int(self.limit_bytes * _SHARE_UNSEEN)
        for path in self.folder.glob("??/*"):
            try:
                status = path.stat()
            except FileNotFoundError:  # what was being written has its name by now
                continue
            if path.name.startswith(TEMPORARY) and now - status.st_mtime > _ABANDONED_S:
                path.unlink(missing_ok=True)
            elif not path.name.startswith(TEMPORARY):
                found.append((status.st_mtime, status.st_size, path))
        self._used_bytes, self._unseen_bytes = sum(size for _, size, _ in found), 0
        for _, size, path in sorted(found):
            if self._missing(goal) <= 0:
                return
            if path.name not in held:
                path.unlink(missing_ok=True)
                self._used_bytes -= size

    def _held(self) -> set[str]:
        """Return what any process holds, and delete the leases of those that ended."""
        held = set(self._holds)
        for path in (self.folder / "leases").glob("*"):
            with open(path, "rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    lines = file.read().decode().split()
                    last = {line[1:]: line[0] for line in lines}
                    held |= {sha256 for sha256, sign in last.items() if sign == "+"}
                else:
                    path.unlink(missing_ok=True)
        return held

    def _write(self, line: str) -> None:
        """Add a line to this process's lease, which is locked for as long as the process lives."""
        if self._lease is None or self._lease[0] != os.getpid():  # after a fork there are two to hold things
            folder = self.folder / "leases"
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{os.getpid()}-{secrets.token_hex(6)}"
            file = os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX)
            self._lease = os.getpid(), file
            line = "".join(f"+{sha256}\n" for sha256 in self._holds) + line
        os.write(self._lease[1], line.encode())

    @contextmanager
    def _locked(self, name: str, kind: int) -> Iterator[None]:
        place = self.folder / name
        make_folder(str(place.parent))
        try:
            file = open(place, "ab")  # noqa: SIM115
        except OSError as error:
            found, do = error.strerror or str(error), "Set DFNDR_CACHE to a folder that may be written."
            raise StorageError(str(self.folder), expected="a cache to write into", found=found, do=do) from error
        with file:
            fcntl.flock(file, kind)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough where a child was forked meanwhile
