"""Arrays out of a stranger's `.npy`, `.npz` and `.pth.gz`: nothing but numbers, and no more unpacked than a limit.

A header that promises another size than its member has is refused before anything is allocated for it.
"""

from __future__ import annotations

import gzip
import io
import math
import mmap
import zipfile
from collections.abc import Callable
from functools import lru_cache
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

__all__ = ["MOST_BYTES", "Arrays", "mapped_array", "npy_array", "npz_arrays", "tensor_arrays"]

Arrays = dict[str, npt.NDArray[np.floating[Any]]]

MOST_BYTES = 256_000_000
"""The arrays of a sample have at most so many bytes together."""

_MAGIC = b"\x93NUMPY"
_PIECE = 1 << 20
_READERS = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
_START = {1: 10, 2: 12}
_MOST_HEADER = 1 << 16


def npz_arrays(data: bytes, wanted: Callable[[str], bool]) -> Arrays:
    """Return the wanted arrays of a `.npz`, as they are stored; raises ValueError or zipfile.BadZipFile."""
    found: Arrays = {}
    room = MOST_BYTES
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if not wanted(name):
                continue
            with archive.open(member) as file:
                raw = file.read(room + 1)
            room -= len(raw)
            if room < 0:
                raise ValueError(f"more than {MOST_BYTES:,} bytes when unpacked")
            found[name] = npy_array(raw)
    return found


def mapped_array(path: str) -> npt.NDArray[np.floating[Any]]:
    """Return the array in a local `.npy`, memory-mapped and read-only; raises ValueError or OSError."""
    with open(path, "rb") as file:
        return npy_array(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))


def npy_array(raw: bytes | memoryview) -> npt.NDArray[np.floating[Any]]:
    """Return the array in the bytes of a `.npy`, over the same memory; raises ValueError."""
    version = raw[6] if len(raw) >= 12 and raw[:6] == _MAGIC else 0
    if version not in _READERS:
        raise ValueError(f"no .npy of version 1 or 2: it begins with {bytes(raw[:8])!r}")
    start = _START[version] + int.from_bytes(raw[8 : _START[version]], "little")
    if start > min(len(raw), _MOST_HEADER):
        raise ValueError("the header ends beyond the file, or is none")
    shape, kind, fortran = _header(bytes(raw[6:start]))
    if kind.kind != "f" or fortran or math.prod(shape) * kind.itemsize != len(raw) - start:
        raise ValueError(f"{kind} of shape {shape} in {len(raw) - start:,} bytes")
    return np.frombuffer(raw, kind, offset=start).reshape(shape)


@lru_cache(maxsize=256)
def _header(raw: bytes) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Return shape, type and order as a header says, from its version on; most samples of a tar share one."""
    try:
        shape, fortran, kind = _READERS[raw[0]](io.BytesIO(raw[2:]))
    except (EOFError, TypeError, SyntaxError, TokenError) as error:
        raise ValueError(f"a header that cannot be read: {str(error)[:80]}") from error
    if any(side < 0 for side in shape):
        raise ValueError(f"shape {shape}")
    return shape, kind, fortran


def tensor_arrays(data: bytes, wanted: Callable[[str], bool]) -> Arrays:
    """Return the wanted tensors of a gzipped dict of tensors, as float32; raises ValueError for anything else.

    Only what torch's safe loader (`weights_only`) takes is read, and of that only dense tensors of numbers.
    """
    import torch

    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        unpacked = bytearray()
        while piece := file.read(_PIECE):  # asked for all at once, it would take memory for all that it may be
            unpacked += piece
            if len(unpacked) > MOST_BYTES:
                raise ValueError(f"more than {MOST_BYTES:,} bytes when unpacked")
    with zipfile.ZipFile(io.BytesIO(unpacked)) as archive:  # torch packs nothing; what is packed may be a bomb
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("compressed members, which torch does not write")
    try:
        given = torch.load(io.BytesIO(unpacked), weights_only=True, map_location="cpu")
    except Exception as error:  # whatever a stranger's bytes make of torch's safe loader, it is no dict of tensors
        raise ValueError(f"no file of tensors alone: {str(error).partition(chr(10))[0][:150]}") from error
    if not isinstance(given, dict) or not all(_is_plain(key, value) for key, value in given.items()):
        raise ValueError(f"a {type(given).__name__}, and not a dict of names and dense tensors of numbers")
    chosen: dict[str, torch.Tensor] = {name: value for name, value in given.items() if wanted(name)}
    if sum(value.numel() for value in chosen.values()) * 4 > MOST_BYTES:  # a small storage may be a huge tensor
        raise ValueError(f"tensors of more than {MOST_BYTES:,} bytes")
    return {name: value.float().numpy() for name, value in chosen.items()}


def _is_plain(name: object, value: object) -> bool:
    import torch

    return (
        isinstance(name, str)
        and isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and (value.device.type == "cpu" and not value.is_complex() and not value.is_quantized)
    )
