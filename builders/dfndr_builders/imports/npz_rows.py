"""Rows of the arrays of a `.npz` that may be larger than memory: read front to back, or from where they are stored."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from tokenize import TokenError
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from dfndr import storage
from dfndr.errors import FormatError

__all__ = ["RowsOf", "npz_rows", "npz_shapes"]

_MOST_HEADER = 4096
_MAGIC = b"\x93NUMPY"
_EXPECTED = "a .npz of float16 or float32 arrays, shape (rows, dim)"
_DO = "Fetch the file again, or leave it out."


class RowsOf:
    """The rows of one array, taken one block after the other."""

    def __init__(self, file: IO[bytes], name: str, size_bytes: int) -> None:
        self._file, self._name = file, name
        head = file.read(10)
        length = int.from_bytes(head[8:10], "little")
        if len(head) < 10 or head[:6] != _MAGIC or head[6] != 1 or length > _MOST_HEADER:
            raise ValueError(f"{name} is no .npy of version 1: it begins with {head[:8]!r}")
        shape, kind = _header(file.read(length), name)
        if size_bytes != 10 + length + shape[0] * shape[1] * kind.itemsize:
            raise ValueError(f"{name} promises {kind} of shape {shape} in {size_bytes:,} bytes")
        self.shape, self.kind = shape, kind

    def skip(self, rows: int) -> None:
        """Pass over rows."""
        self._file.seek(rows * self.shape[1] * self.kind.itemsize, 1)

    def take(self, rows: int) -> npt.NDArray[np.floating[Any]]:
        """Return the next rows, shape (rows, dim)."""
        data = self._bytes(rows * self.shape[1] * self.kind.itemsize)
        return np.frombuffer(data, self.kind).reshape(rows, self.shape[1])

    def _bytes(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) < count:
            raise ValueError(f"{self._name} ends in the middle of a row")
        return data


def _header(raw: bytes, name: str) -> tuple[tuple[int, int], np.dtype[Any]]:
    import io

    try:
        shape, fortran, kind = np.lib.format.read_array_header_1_0(
            io.BytesIO(len(raw).to_bytes(2, "little") + raw), max_header_size=_MOST_HEADER
        )
    except (EOFError, TypeError, SyntaxError, ValueError, TokenError) as error:
        raise ValueError(f"{name}: {str(error)[:80]}") from error
    if len(shape) != 2 or fortran or kind not in (np.float16, np.float32) or min(shape) < 0 or not shape[1]:
        raise ValueError(f"{name} is {kind} of shape {shape}")
    return (shape[0], shape[1]), kind


@contextmanager
def _errors(path: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise FormatError(path, expected=_EXPECTED, found=str(error)[:200], do=_DO) from error


def npz_shapes(path: str) -> dict[str, tuple[int, int]]:
    """Return the shape of each array of two dimensions by name; raises FormatError for what is no `.npz`."""
    found = {}
    with _errors(path), storage.open_read(path) as file, zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name.endswith(("_img", "_txt")):
                with archive.open(member) as data:
                    found[name] = RowsOf(data, name, member.file_size).shape
    return found


def _seek_data(file: IO[bytes], member: zipfile.ZipInfo) -> None:
    """Go to where a member's data begins: after its own header, which zipfile has compared with the directory."""
    file.seek(member.header_offset + 26)
    name_and_extra = file.read(4)
    lengths = (int.from_bytes(name_and_extra[:2], "little"), int.from_bytes(name_and_extra[2:], "little"))
    file.seek(member.header_offset + 30 + sum(lengths))


@contextmanager
def npz_rows(path: str, names: Sequence[str], start: int) -> Iterator[dict[str, RowsOf]]:
    """Open arrays at a row: at once where they are stored as they are, else by unpacking what lies before it.

    Raises FormatError where the file has not all of them, or one is damaged.
    """
    with _errors(path), ExitStack() as stack:
        opened = {}
        for name in names:
            file = stack.enter_context(storage.open_read(path))
            archive = stack.enter_context(zipfile.ZipFile(file))
            if f"{name}.npy" not in archive.namelist():
                raise ValueError(f"no {name}, but {sorted(archive.namelist())}"[:200])
            member = archive.getinfo(f"{name}.npy")
            if member.compress_type == zipfile.ZIP_STORED:
                _seek_data(file, member)
                opened[name] = RowsOf(file, name, member.file_size)
            else:
                opened[name] = RowsOf(stack.enter_context(archive.open(member)), name, member.file_size)
            opened[name].skip(start)
        yield opened
