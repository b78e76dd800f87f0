"""How the numbers of a space lie in its files, and back: NumPy's own types as they are, the others coded.

bfloat16 is the upper half of a float32, rounded to the nearest (ties to even), in 16 bits without a sign of their own.
int8 is a vector's numbers as whole ones from -127 to 127, and then, in four bytes, the float32 that they are multiplied
by: it keeps the vector's length, so that coding changes no more than the direction. What is not finite stays so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from dfndr.format.schema import StorageType

    Floats = npt.NDArray[np.floating[Any]]
    Stored = npt.NDArray[Any]

__all__ = ["Block", "Decoded", "decode", "encode", "is_coded", "read_type", "scales", "stored_type", "widened"]

_STORED = {"float16": "<f2", "bfloat16": "<u2", "float32": "<f4", "int8": "|i1"}
_SCALE = 4
_MOST = 127
_NAN = 0x7FC0


class Block(Protocol):
    """Vectors of shape (rows, per_row, dim): an array, or what reads as one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...  # noqa: ANN401  as NumPy has it

    def __array__(self) -> Floats: ...


def is_coded(dtype: StorageType) -> bool:
    """Say whether what lies in the files is no type of NumPy's that could be computed with."""
    return dtype in ("bfloat16", "int8")


def stored_type(dtype: StorageType) -> np.dtype[Any]:
    """Return the type of the numbers in the files."""
    import numpy as np

    return np.dtype(_STORED[dtype])


def read_type(dtype: StorageType) -> np.dtype[Any]:
    """Return the type that readers are given: the storage type itself, or float32, which holds what is coded."""
    import numpy as np

    return np.dtype(np.float32 if is_coded(dtype) else dtype)


def encode(vectors: Floats, dtype: StorageType) -> Stored:
    """Return vectors of shape (..., dim) as they are stored, rounded once; int8 has four bytes more in each vector."""
    import numpy as np

    if dtype == "bfloat16":
        bits = np.ascontiguousarray(vectors, dtype=np.float32).view(np.uint32)
        rounded = (bits + (np.uint32(0x7FFF) + ((bits >> 16) & 1))) >> 16
        return np.where(np.isnan(vectors), np.uint32(_NAN), rounded).astype("<u2")
    if dtype == "int8":
        return _encode_int8(np.asarray(vectors, dtype=np.float64))
    return np.asarray(vectors).astype(_STORED[dtype], copy=False)


def _encode_int8(vectors: Floats) -> Stored:
    import numpy as np

    finite = np.isfinite(vectors).all(axis=-1, keepdims=True)
    given = np.where(finite, vectors, 0)
    most = np.abs(given).max(axis=-1, keepdims=True, initial=0)
    whole = np.rint(given * (_MOST / np.where(most > 0, most, 1)))
    length = np.sqrt((given**2).sum(axis=-1, keepdims=True))
    scale = length / np.maximum(np.sqrt((whole**2).sum(axis=-1, keepdims=True)), 1)
    stored = np.empty((*vectors.shape[:-1], vectors.shape[-1] + _SCALE), dtype=np.int8)
    stored[..., :-_SCALE] = whole
    with np.errstate(over="ignore"):
        stored[..., -_SCALE:] = np.where(finite, scale, np.nan).astype("<f4").view(np.int8)
    return stored


def decode(stored: Stored, dtype: StorageType, out: Floats | None = None) -> Floats:
    """Return stored vectors of shape (..., numbers) as floats, those that are not coded as they are.

    `out`, float32 and of the result's shape, is written to where they are coded.
    """
    import numpy as np

    if not is_coded(dtype):
        return stored
    if dtype == "bfloat16":
        found = np.empty(stored.shape, dtype=np.float32) if out is None else out
        np.left_shift(stored, np.uint32(16), out=found.view(np.uint32))
        return found
    found = np.empty((*stored.shape[:-1], stored.shape[-1] - _SCALE), dtype=np.float32) if out is None else out
    with np.errstate(invalid="ignore", over="ignore"):
        return np.multiply(stored[..., :-_SCALE], scales(stored)[..., None], out=found)


def widened(vectors: Floats) -> npt.NDArray[np.float32]:
    """Return finite floats as float32, of float16 exactly and several times as fast as NumPy's own conversion.

    A float16's sign, exponent and fraction are put where float32 has them (IEEE 754-2019, table 3.5), as whole numbers;
    the exponents' biases, 15 and 127, differ by a factor of 2**112, which also makes subnormal numbers right.
    """
    import numpy as np

    if vectors.dtype != np.float16:
        return vectors.astype(np.float32, copy=False)
    bits = vectors.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= np.int32(~0x7000_0000)
    found = bits.view(np.float32)
    found *= np.float32(2.0**112)
    return found


def scales(stored: Stored) -> npt.NDArray[np.float32]:
    """Return what each int8 vector's numbers are multiplied by, of the shape of `stored` without its last axis."""
    import numpy as np

    found: npt.NDArray[np.float32] = np.ascontiguousarray(stored[..., -_SCALE:]).view("<f4")[..., 0]
    return found


class Decoded:
    """A shard's coded vectors, read as float32: what is asked for is decoded, and nothing else."""

    def __init__(self, stored: Stored, kind: StorageType) -> None:
        self._stored, self._kind = stored, kind

    @property
    def dtype(self) -> np.dtype[Any]:
        """As of an array."""
        return read_type(self._kind)

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, per_row, dim)."""
        return (*self._stored.shape[:-1], self._stored.shape[-1] - (_SCALE if self._kind == "int8" else 0))

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, index: Any, /) -> Any:  # noqa: ANN401
        """Return rows, or places of rows, as an array."""
        import numpy as np

        if isinstance(index, tuple) and len(index) > 2:
            return np.asarray(self)[index]
        return decode(self._stored[index], self._kind)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Floats:  # noqa: ANN401
        return decode(self._stored, self._kind).astype(dtype or self.dtype, copy=False)
