"""The files of one dataset as local ones: checked where they lie, or fetched from elsewhere into the shared cache.

A fetched file is hashed as it comes and takes its place in the cache only when it is whole and what the manifest says,
so nothing else is ever read. Files are fetched eight at a time. What was asked for by `path` and `fetch` stays in the
cache for as long as the dataset lives; `stream` gives files one after the other, fetches the next ones meanwhile, and
lets those that are done with go.
"""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from dfndr import storage
from dfndr.cache import Cache, shared_cache
from dfndr.errors import FormatError, StorageError
from dfndr.forking import not_forked
from dfndr.progress import SILENT, Progress
from dfndr.storage import Stored

__all__ = ["Check", "Fetched", "Files", "Lying", "files_at"]

Check = Literal["hash", "size"]
_AT_ONCE, _AHEAD = 8, 4
_EVERY_S = 0.1
_DO = "Run `dfndr verify` on the dataset, then fetch or build the file again."


class Files(Protocol):
    """The files of a dataset, to be read where they are said to be."""

    def path(self, stored: Stored) -> Path:
        """Return where a file lies, checked; raises FormatError where it is not what the manifest says."""

    def fetch(self, files: Iterable[Stored]) -> None:
        """See to it that files are here, several at a time."""

    def stream(self, files: Sequence[Stored]) -> Generator[Path, None, None]:
        """Yield where files lie, one after the other; each is sure to be there until the next is asked for."""


def files_at(root: str, *, check: Check = "hash", progress: Progress = SILENT) -> Files:
    """Return the files below a local folder or a remote path."""
    return Fetched(root, shared_cache(), progress) if storage.is_remote(root) else Lying(root, check)


class Lying:
    """Files that lie in a local folder; each is checked when it is first asked for."""

    def __init__(self, root: str, check: Check) -> None:
        self.root, self.check = root.removeprefix("file://"), check
        self._checked: set[str] = set()

    def path(self, stored: Stored) -> Path:
        """Return where a file lies, checked; raises FormatError where it is not what the manifest says."""
        path = storage.join(self.root, stored.path)
        if stored.path not in self._checked:
            _check_file(path, stored, self.check)
            self._checked.add(stored.path)
        return Path(path)

    def fetch(self, files: Iterable[Stored]) -> None:
        """Do nothing: they are here."""

    def stream(self, files: Sequence[Stored]) -> Generator[Path, None, None]:
        """Yield where files lie, each checked when its turn comes."""
        yield from map(self.path, files)


class Fetched:
    """Files that are fetched into a cache; may be used from several threads."""

    def __init__(self, root: str, cache: Cache, progress: Progress = SILENT) -> None:
        self.root, self.cache, self._progress = root, cache, progress
        self._begin()
        self._held: dict[str, Stored] = {}
        self._checked: set[str] = set()
        self._bytes = _Bytes()
        weakref.finalize(self, _let_go, cache, self._held, self._pool).atexit = False

    def _own(self) -> None:
        """Begin anew in a process that was forked: none of its parent's threads are here, but their locks."""
        if self._process != os.getpid():
            self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="dfndr-fetch")
        self._guard = threading.Lock()
        self._coming: dict[str, Future[None]] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return files_at, (self.root,)  # another process holds its files by itself, and shows no progress

    def path(self, stored: Stored) -> Path:
        """Return where a file is, fetched and checked; it stays there for as long as this lives."""
        self._hold(stored)
        self._start(stored).result()
        return self.cache.path(stored)

    def fetch(self, files: Iterable[Stored]) -> None:
        """Fetch what is not here yet, eight files at a time, and tell the progress; raises at the first that fails."""
        wanted = list({stored.sha256: stored for stored in files}.values())
        for stored in wanted:
            self._hold(stored)
        missing = [stored for stored in wanted if stored.sha256 not in self._checked and not self._is_here(stored)]
        if not missing:
            return
        self._bytes.total = 0
        futures = {self._start(stored) for stored in missing}
        total = sum(stored.size_bytes for stored in missing)
        with self._progress.task("fetch", -(-total // 10**6), unit="MB") as task:
            told, left = 0, futures
            while left:
                done, left = wait(left, timeout=_EVERY_S)
                task.advance(min(self._bytes.total, total) // 10**6 - told)
                told = min(self._bytes.total, total) // 10**6
                for future in done:
                    if future.exception() is not None:
                        for other in left:
                            other.cancel()
                        future.result()

    def start(self, files: Iterable[Stored]) -> None:
        """Begin to fetch files in the background, in this order, and hold each until it is released."""
        for stored in files:
            self.cache.hold(stored)
            self._start(stored)

    def started(self, stored: Stored) -> Path:
        """Return where a file is that `start` holds, when it is there."""
        self._start(stored).result()
        return self.cache.path(stored)

    def release(self, stored: Stored) -> None:
        """Let a file go that `start` held."""
        self.cache.release(stored)

    def stream(self, files: Sequence[Stored]) -> Generator[Path, None, None]:
        """Yield where files are, one after the other; the next four are fetched meanwhile, the last one is let go."""
        started: list[Stored] = []
        try:
            for number, stored in enumerate(files):
                coming = files[number + len(started) : number + 1 + _AHEAD]
                self.start(coming)
                started += coming
                yield self.started(stored)
                self.release(started.pop(0))
        finally:
            for stored in started:
                self.release(stored)

    def _hold(self, stored: Stored) -> None:
        self._own()
        with self._guard:
            if stored.sha256 not in self._held:
                self.cache.hold(stored)
                self._held[stored.sha256] = stored

    def _is_here(self, stored: Stored) -> bool:
        path = self.cache.path(stored)
        return path.exists() and path.stat().st_size == stored.size_bytes

    def _start(self, stored: Stored) -> Future[None]:
        """Return what is done when a file is here and checked; whoever calls this holds it already."""
        self._own()
        with self._guard:
            coming = self._coming.get(stored.sha256)
            if coming is None or (coming.done() and (coming.cancelled() or not self._is_good(coming, stored))):
                coming = self._coming[stored.sha256] = self._pool.submit(self._bring, stored)
        return coming

    def _is_good(self, done: Future[None], stored: Stored) -> bool:
        return done.exception() is None and self._is_here(stored)

    def _bring(self, stored: Stored) -> None:
        """Check a file that is here, once; fetch one that is not, or is altered."""
        with self.cache.alone(stored):
            if self._is_here(stored):
                if stored.sha256 in self._checked:
                    return
                try:
                    _check_file(str(self.cache.path(stored)), stored, "hash")
                    self._checked.add(stored.sha256)
                    return
                except FormatError:
                    self.cache.path(stored).unlink()
            self._download(stored)
            self._checked.add(stored.sha256)

    def _download(self, stored: Stored) -> None:
        source = storage.join(self.root, stored.path)

        def write(file: BinaryIO) -> None:
            written, coming = 0, storage.pieces(source)
            while piece := _next(coming):
                written += len(piece)
                if written > stored.size_bytes:
                    raise FormatError(source, expected=f"{stored.size_bytes} bytes", found="more", do=_DO)
                if not threading.main_thread().is_alive():  # the interpreter ends, and would wait for this thread
                    raise StorageError(source, expected="time to fetch it", found="the program ended", do=_DO)
                file.write(piece)
                self._bytes.add(len(piece))
            if written != stored.size_bytes:
                expected, found = f"{stored.size_bytes} bytes", f"{written} bytes"
                raise FormatError(source, expected=expected, found=found, do=_DO)

        try:
            with self.cache.room(stored):
                storage.put(str(self.cache.folder), self.cache.place(stored), write, sha256=stored.sha256)
        except FormatError as error:
            raise FormatError(source, expected=error.expected, found=error.found, do=_DO) from error


def _next(coming: Iterator[bytes]) -> bytes:
    """Return what comes next, nothing at the end."""
    with not_forked():
        return next(coming, b"")


class _Bytes:
    """Counts bytes from several threads."""

    def __init__(self) -> None:
        self.total = 0
        self._guard = threading.Lock()

    def add(self, count: int) -> None:
        with self._guard:
            self.total += count


def _let_go(cache: Cache, held: dict[str, Stored], pool: ThreadPoolExecutor) -> None:
    pool.shutdown(wait=False, cancel_futures=True)
    for stored in held.values():
        cache.release(stored)


def _check_file(path: str, stored: Stored, check: Check) -> None:
    size = storage.size_of(path)
    if size != stored.size_bytes:
        raise FormatError(path, expected=f"{stored.size_bytes} bytes", found=f"{size} bytes", do=_DO)
    if check == "hash":
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != stored.sha256:
            expected, found = f"content with sha256 {stored.sha256[:16]}...", f"{digest[:16]}..."
            raise FormatError(path, expected=expected, found=found, do=_DO)
