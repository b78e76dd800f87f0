"""Reading and writing by path, local or remote (anything fsspec knows), and the only place that writes files.

`put` writes a temporary sibling, syncs it and renames it, so a file is either whole or absent; a `{hash8}` in the
name becomes the first eight hex digits of the content's sha256. A remote object store's put is atomic by itself: what
was uploaded is asked for its size, and nothing that comes after it is written before that is right.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from dfndr.errors import FormatError, StorageError
from dfndr.patience import patiently
from dfndr.remote import (
    explained,
    file_system,
    is_remote,
    is_there,
    open_remote,
    pieces,
    pinned,
    upload,
)

__all__ = [
    "Stored",
    "exists",
    "file_system",
    "is_folder",
    "is_remote",
    "join",
    "list_files",
    "make_folder",
    "names_in",
    "open_read",
    "pieces",
    "pinned",
    "put",
    "read_bytes",
    "remove",
    "remove_folder",
    "sha256_of",
    "size_of",
    "sizes_below",
    "sweep_temporary",
]

TEMPORARY = ".tmp-"


@dataclass(frozen=True)
class Stored:
    """A file that `put` wrote: its path relative to the root it was put under, its size and its content's sha256."""

    path: str
    size_bytes: int
    sha256: str


def join(root: str, *parts: str) -> str:
    """Join with forward slashes, whatever the file system; an empty root is the present folder."""
    return "/".join([*([root.rstrip("/")] if root else []), *(part.strip("/") for part in parts)])


def _local(path: str) -> Path:
    return Path(path.removeprefix("file://"))


@contextmanager
def _explained(path: str, doing: str) -> Iterator[None]:
    """Turn an OSError into a StorageError that says what to do."""
    advice = {
        errno.ENOSPC: "The disk is full: free some room and run the same command again; it goes on where it stopped.",
        errno.EDQUOT: "The quota is used up: free some room and run the same command again.",
        errno.EFBIG: "The file is larger than this account or disk allows: raise the limit and run again.",
        errno.EACCES: "Check who may read and write there.",
        errno.EROFS: "The place is read-only: choose another one.",
        errno.ENOENT: "Check the path.",
        errno.EISDIR: "A file is needed here, and this is a folder: check the path.",
        errno.EEXIST: "A part of this path is a file, not a folder: check the path.",
        errno.ENOTDIR: "A part of this path is a file, not a folder: check the path.",
    }
    try:
        yield
    except OSError as error:
        found = error.strerror or str(error) or type(error).__name__
        do = advice.get(error.errno or 0, "Check the path and the connection, then run the same command again.")
        raise StorageError(path, expected=f"to {doing} it", found=found, do=do) from error


def exists(path: str) -> bool:
    """Say whether a file or folder is there; raises StorageError where nobody may look."""
    if is_remote(path):
        return is_there(path)
    with _explained(path, "look for"):
        return _local(path).exists()


def is_folder(path: str) -> bool:
    """Say whether a folder is there; raises StorageError where nobody may look."""
    if is_remote(path):
        fs, inner = file_system(path)
        with explained(path, "look for"):
            return bool(patiently(lambda: fs.isdir(inner)))
    with _explained(path, "look for"):
        return _local(path).is_dir()


def size_of(path: str) -> int:
    """Return a file's size in bytes; raises StorageError for what is no plain file, such as a folder or a pipe."""
    if is_remote(path):
        fs, inner = file_system(path)
        with explained(path, "measure"):
            return int(patiently(lambda: fs.size(inner)))
    with _explained(path, "measure"):
        status = _local(path).stat()
        if not stat.S_ISREG(status.st_mode):
            kind = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
            raise OSError(kind, "a folder" if kind == errno.EISDIR else "no plain file")
        return status.st_size


def open_read(path: str) -> BinaryIO:
    """Open a file for reading bytes; the caller closes it."""
    if is_remote(path):
        return open_remote(path)
    with _explained(path, "read"):
        return open(_local(path), "rb")


def read_bytes(path: str, *, most: int | None = None) -> bytes:
    """Return a whole file; raises FormatError, before more is held, where it has more than `most` bytes."""
    found = bytearray()
    for piece in pieces(path) if is_remote(path) else _local_pieces(path):
        found += piece
        if most is not None and len(found) > most:
            do = "Check what it is, and who made it."
            raise FormatError(path, expected=f"at most {most:,} bytes", found="more", do=do)
    return bytes(found)


def _local_pieces(path: str) -> Iterator[bytes]:
    with open_read(path) as file, _explained(path, "read"):
        while piece := file.read(1 << 22):
            yield piece


def sha256_of(path: str) -> str:
    """Return the sha256 of a file's content as 64 hex digits, read in pieces."""
    digest = hashlib.sha256()
    for piece in pieces(path) if is_remote(path) else _local_pieces(path):
        digest.update(piece)
    return digest.hexdigest()


def make_folder(folder: str) -> None:
    """Make a local folder, and those that it lies in; raises StorageError where that cannot be."""
    with _explained(folder, "write"):
        _local(folder).mkdir(parents=True, exist_ok=True)


def names_in(folder: str) -> list[str]:
    """Return the names of what lies right in a folder, sorted; none where the folder is absent."""
    if is_remote(folder):
        return sorted({path.partition("/")[0] for path in list_files(folder)})
    with _explained(folder, "list"):
        return sorted(path.name for path in _local(folder).iterdir()) if exists(folder) else []


def list_files(folder: str) -> list[str]:
    """Return the paths of all files below a folder, relative to it, sorted; none where the folder is absent."""
    if is_remote(folder):
        return sorted(sizes_below(folder))
    root = _local(folder)
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def sizes_below(folder: str) -> dict[str, int]:
    """Return the sizes in bytes of all files below a remote folder, by their paths relative to it."""
    fs, inner = file_system(folder)
    prefix = inner.rstrip("/") + "/"

    def look() -> dict[str, dict[str, Any]]:
        with suppress(FileNotFoundError):
            return dict(fs.find(inner, detail=True))
        return {}

    with explained(folder, "list"):
        found = {path[len(prefix) :]: told for path, told in patiently(look).items() if path.startswith(prefix)}
    # some tools make empty objects for folders
    return {path: int(told.get("size") or 0) for path, told in found.items() if path and not path.endswith("/")}


class _Hashing(io.RawIOBase):
    """A binary file that counts and hashes what is written to it, front to back; closing it closes nothing."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._digest, self.size_bytes = file, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401  anything with the buffer protocol
        self._file.write(data)
        self._digest.update(data)
        count = memoryview(data).nbytes
        self.size_bytes += count
        return count

    def sha256(self) -> str:
        return self._digest.hexdigest()


def put(root: str, path: str, data: bytes | Callable[[BinaryIO], None], *, sha256: str | None = None) -> Stored:
    """Write `root/path` so that it is whole or absent.

    `data` is the content, or a function that writes it front to back to the file it is given (`write` and `flush`
    alone, no seeking). Raises StorageError when the disk is full or may not be written, FormatError where the content
    was to have another `sha256`; either leaves nothing behind.
    """
    target = join(root, path)
    with _explained(target, "write"):
        folder = Path(tempfile.gettempdir()) if is_remote(root) else _local(target).parent
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(6)}"
        try:
            with open(temporary, "xb") as file:
                hashing = _Hashing(file)
                if callable(data):
                    data(cast(BinaryIO, hashing))
                else:
                    hashing.write(data)
                file.flush()
                os.fsync(file.fileno())
            digest = hashing.sha256()
            if sha256 not in (None, digest):
                expected, found = f"content with sha256 {sha256:.16}...", f"{digest[:16]}..."
                raise FormatError(target, expected=expected, found=found, do="Fetch or make it again.")
            named = path.replace("{hash8}", digest[:8])
            if is_remote(root):
                upload(str(temporary), join(root, named), hashing.size_bytes)
            else:
                temporary.replace(_local(join(root, named)))
        finally:
            temporary.unlink(missing_ok=True)
    return Stored(named, hashing.size_bytes, digest)


def remove(path: str) -> None:
    """Delete one file; an absent one is fine."""
    if is_remote(path):
        fs, inner = file_system(path)
        with explained(path, "remove"), suppress(FileNotFoundError):
            patiently(lambda: fs.rm_file(inner))
        return
    with _explained(path, "remove"):
        _local(path).unlink(missing_ok=True)


def remove_folder(folder: str) -> None:
    """Delete a local folder and all below it; an absent one is fine, and a link is an error."""
    with _explained(folder, "remove"):
        if _local(folder).is_dir():
            shutil.rmtree(_local(folder))


def sweep_temporary(folder: str) -> int:
    """Delete what a killed `put` left below a local folder; return how many files that were."""
    if is_remote(folder):
        return 0
    left = list(_local(folder).rglob(f"{TEMPORARY}*"))
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)
