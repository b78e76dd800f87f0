"""Reading from elsewhere: which file system a path names, patience with it, and its errors in words without secrets.

A dataset of the Hub is read at one commit, over plain requests of its own: `pinned` finds the commit that a path means
now. S3 is read by `dfndr.s3`, everything else that fsspec knows through fsspec. An error's own text may name signed
addresses, so of an address nothing after its question mark is told.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from dfndr.errors import DfndrError, MissingExtra, StorageError, UsageError
from dfndr.patience import patiently, status_of, words_of

__all__ = [
    "explained",
    "file_system",
    "is_object_store",
    "is_remote",
    "is_s3",
    "is_there",
    "open_remote",
    "pieces",
    "pinned",
    "upload",
]

_PIECE, _BUFFER = 1 << 20, 8 << 20
_AT_COMMIT = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)@([0-9a-f]{40})/(.+)")
_S3 = ("s3://", "s3a://")
_OBJECT_STORES = (*_S3, "gs://", "gcs://", "az://", "abfs://", "abfss://")


def is_remote(path: str) -> bool:
    """Say whether a path names a file system other than the local one."""
    return "://" in path and not path.startswith("file://")


def is_s3(path: str) -> bool:
    """Say whether a path is of S3, or of what speaks like it."""
    return path.startswith(_S3)


def is_object_store(path: str) -> bool:
    """Say whether a path is of a store that has buckets and objects, and no folders that would have to be made."""
    return path.startswith(_OBJECT_STORES)


def file_system(path: str) -> tuple[Any, str]:
    """Return the fsspec file system of a remote path, and the path within it; raises UsageError for an unknown one."""
    import fsspec

    if is_s3(path):
        try:
            from dfndr import s3
        except ImportError as error:
            raise MissingExtra.of("s3fs", "s3") from error
        fs = s3.opened()
        return fs, fs._strip_protocol(path)
    more = {"use_listings_cache": False} if is_object_store(path) else {}  # other processes write there too
    try:
        return cast("tuple[Any, str]", fsspec.core.url_to_fs(path, **more))
    except (ImportError, ValueError) as error:
        raise UsageError(
            path, expected="a path that fsspec can open", found=str(error), do="Install the file system it names."
        ) from error


def is_there(path: str) -> bool:
    """Say whether a remote file or folder is there; of a dataset of the Hub at a commit, only files."""
    hub = _AT_COMMIT.fullmatch(path)
    fs, inner = file_system(path)

    def look() -> bool:
        if hub is None:
            return bool(fs.exists(inner))
        from huggingface_hub import HfApi

        return HfApi().file_exists(hub[1], hub[3], repo_type="dataset", revision=hub[2])

    with explained(path, "look for"):
        return patiently(look)


def pinned(path: str) -> str:
    """Return the path at the commit that it means now, for a dataset of the Hub; any other path as it is.

    Raises StorageError where there is no such repository or revision.
    """
    if not path.startswith("hf://datasets/"):
        return path
    from huggingface_hub import HfApi, HfFileSystem

    def commit() -> str:
        where: Any = HfFileSystem(skip_instance_cache=True).resolve_path(path)
        info = HfApi().dataset_info(where.repo_id, revision=where.revision)
        inside = f"/{where.path_in_repo}" if where.path_in_repo else ""
        return f"hf://datasets/{where.repo_id}@{info.sha}{inside}"

    with explained(path, "find"):
        return patiently(commit)


def open_remote(path: str) -> BinaryIO:
    """Open a remote file for reading; each read is tried again, and goes on where a short answer ended."""
    fs, inner = file_system(path)
    return cast(BinaryIO, io.BufferedReader(_Patient(path, lambda: fs.open(inner, "rb")), _BUFFER))


class _Patient(io.RawIOBase):
    """A file of fsspec whose answers may be late, short or lost, and never too long."""

    def __init__(self, path: str, begin: Callable[[], Any]) -> None:
        self._path, self._begin, self._at, self._is_begun = path, begin, 0, False
        with explained(path, "read"):
            self._file = patiently(begin)
        self._size: int | None = getattr(self._file, "size", None)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  anything with the buffer protocol
        with explained(self._path, "read"):
            data = patiently(lambda: self._read(len(buffer)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _read(self, wanted: int) -> bytes:
        try:
            if self._file.tell() != self._at:
                self._file.seek(self._at)
            data = bytes(self._file.read(wanted))
        except Exception as error:
            if type(error).__name__ == "FileExpired" and self._is_begun:  # of s3fs, which need not be installed
                do = "Leave it alone while it is read, and run the same command again."
                found = "another one: it was changed meanwhile"
                raise StorageError(self._path, expected="one content throughout", found=found, do=do) from error
            if not self._is_begun:  # what was learned of it when it was opened may be what is wrong
                self._file = self._begin()
                self._size = getattr(self._file, "size", None)
            raise
        if len(data) > wanted or (wanted and not data and self._size is not None and self._at < self._size):
            raise ConnectionError(f"{len(data)} bytes at {self._at}, where {wanted} of {self._size} were asked for")
        self._is_begun = True
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 2 and self._size is None:
            raise io.UnsupportedOperation(f"{self._path}: its size is not known")
        self._at = max(0, offset + (0, self._at, self._size or 0)[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def pieces(path: str) -> Iterator[bytes]:
    """Yield a remote file's bytes, front to back; where the connection is cut, the next one goes on from there."""
    hub = _AT_COMMIT.fullmatch(path)
    if hub is None:
        with open_remote(path) as file:
            while piece := file.read(4 * _PIECE):
                yield piece
        return
    stream = _Stream(lambda start: _of_hub(hub[1], hub[2], hub[3], start))
    with explained(path, "read"):
        while piece := patiently(stream.piece):
            yield piece


class _Stream:
    """Bytes that come over one connection, and over another one from where it was cut."""

    def __init__(self, begin: Callable[[int], Iterator[bytes]]) -> None:
        self._begin, self._at = begin, 0
        self._coming: Iterator[bytes] | None = None

    def piece(self) -> bytes:
        try:
            self._coming = self._coming or self._begin(self._at)
            piece = next((piece for piece in self._coming if piece), b"")
        except Exception:
            self._coming = None
            raise
        self._at += len(piece)
        return piece


def _of_hub(repo_id: str, commit: str, name: str, start: int) -> Iterator[bytes]:
    """Yield what follows the first `start` bytes of a file of the Hub, over one connection."""
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # type: ignore[attr-defined]

    url = hf_hub_url(repo_id, name, repo_type="dataset", revision=commit)
    headers = {**build_hf_headers(library_name="dfndr"), "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={start}-"} if start else {}
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True) as answer:
        if start and answer.status_code == 416:  # the cut came after the last byte
            return
        hf_raise_for_status(answer)
        skip = start if answer.status_code != 206 else 0
        for piece in answer.iter_bytes(_PIECE):
            yield piece[skip:]
            skip = max(0, skip - len(piece))


def upload(local: str, target: str, size_bytes: int) -> None:
    """Put a local file where it belongs elsewhere, and again where it did not arrive whole."""
    fs, inner = file_system(target)

    def put() -> None:
        if not is_object_store(target):
            fs.makedirs(inner.rsplit("/", 1)[0], exist_ok=True)  # in a store of objects it might make a bucket
        fs.put_file(local, inner)
        if (found := fs.size(inner)) != size_bytes:
            raise ConnectionError(f"{found} of {size_bytes} bytes arrived")

    with explained(target, "write"):
        patiently(put)


@contextmanager
def explained(path: str, doing: str) -> Iterator[None]:
    """Turn whatever a remote file system raises into a StorageError that says what to do."""
    try:
        yield
    except DfndrError:
        raise
    except Exception as error:  # each file system brings errors of its own, and of its HTTP library
        raise StorageError(path, expected=f"to {doing} it", found=words_of(error), do=_advice(path, error)) from error


def _advice(path: str, error: Exception) -> str:
    """Return what to do about an error that no try could mend."""
    status = status_of(error)
    if is_s3(path):
        if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
            return "Say who you are: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
        if status in (401, 403):
            return "Check the bucket's name, who may use it, and the keys in AWS_ACCESS_KEY_ID or AWS_PROFILE."
        if status == 404 or isinstance(error, FileNotFoundError):
            return "Check the names of the bucket and of what is in it; no bucket is made here."
        return "Check the connection and AWS_ENDPOINT_URL, then run the same command again: it goes on."
    if status in (401, 403, 404) or isinstance(error, PermissionError):
        return "Check the name and the revision; where it is private, log in with `hf auth login` or set HF_TOKEN."
    return "Check the path and the connection, then run the same command again."
