"""Pools that lie in files: from patterns to files and shards, and reading that tells damage from a lost connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from dfndr import storage
from dfndr.errors import DfndrError, PoolError, StorageError
from dfndr_builders.pools.base import PoolShard
from dfndr_builders.pools.looks import looks_of
from dfndr_builders.pools.patterns import expand

__all__ = ["MAX_FILE_BYTES", "Damaged", "PoolFile", "base_name", "damage", "files_of", "folders_of", "shards_of"]

MAX_FILE_BYTES = 256_000_000
"""A larger image, text or json is a problem, and is never read into memory."""
_PIECE = 1 << 22


class Damaged(Exception):
    """A file's content cannot be read on; it ends as a row of its pool, never as an error that a user sees."""


@contextmanager
def damage() -> Iterator[None]:
    """Turn what a parser of a PoolFile raises into Damaged.

    Catching Exception is right here: what tarfile, its decompressors and Arrow raise on damaged bytes is an open list,
    and PoolFile has made sure that a failing disk or connection is not among it.
    """
    try:
        yield
    except DfndrError:
        raise
    except Exception as error:
        raise Damaged(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:300]) from error


class PoolFile:
    """A file of bytes whose every failure to read is a StorageError."""

    def __init__(self, path: str) -> None:
        self._path, self._file = path, storage.open_read(path)

    def __enter__(self) -> PoolFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return self._file.closed

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, fewer at the end only; no more memory is taken than the file is long."""
        try:
            if size <= _PIECE:
                return self._file.read(size)
            data = bytearray()
            while piece := self._file.read(min(size - len(data), _PIECE)):
                data += piece
            return bytes(data)
        except DfndrError:
            raise
        except Exception as error:  # each remote file system has errors of its own
            found, do = str(error) or type(error).__name__, "Check the disk or the connection and run again."
            raise StorageError(self._path, expected="to read it", found=found, do=do) from error

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place in the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place in the file."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def base_name(path: str) -> str:
    """Return the last part of a path."""
    return path.rstrip("/").rpartition("/")[2]


def _found_by(patterns: Sequence[str]) -> list[str]:
    """Return the paths that brace and glob patterns stand for; raises PoolError for one that stands for none."""
    found: list[str] = []
    for pattern in patterns:
        paths = expand(pattern)
        if not paths:
            do = "Check the path; one that is not absolute is relative to the recipe's folder."
            raise PoolError(pattern, expected="at least one match", found="nothing there", do=do)
        found += paths
    return list(dict.fromkeys(found))


def files_of(patterns: Sequence[str], what: str) -> list[str]:
    """Return the files that patterns stand for; raises PoolError also for a folder, naming `what` was expected."""
    files = _found_by(patterns)
    for path in files:
        if not storage.is_remote(path) and storage.is_folder(path):  # remotely it would cost a request for each
            do = "Name the files in it, as in folder/*, or choose the kind of pool that reads folders."
            raise PoolError(path, expected=what, found="a folder", do=do)
    return files


def folders_of(patterns: Sequence[str]) -> list[str]:
    """Return the folders that patterns stand for; raises PoolError also for a file."""
    folders = _found_by(patterns)
    for path in folders:
        if not storage.is_folder(path):
            do = "Name the folder that it lies in, or choose the kind of pool that reads such files."
            raise PoolError(path, expected="a folder of images", found="a file", do=do)
    return folders


def shards_of(files: Sequence[str]) -> list[PoolShard]:
    """Return a shard for each file, named by its base name; a digest is made of the sizes of local files alone."""
    looks = zip(files, looks_of(files), strict=True)
    return [_shard(index, path, *look) for index, (path, look) in enumerate(looks)]


def _shard(index: int, path: str, size_bytes: int, changed: str) -> PoolShard:
    return PoolShard(index, base_name(path), None if storage.is_remote(path) else size_bytes, changed=changed)
