"""A space within a table: one column of fixed-size lists, of numbers as they are stored, and the array that it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy.typing as npt
import pyarrow as pa

from dfndr.format.schema import Space, StorageType
from dfndr.format.storage_types import encode, stored_type

__all__ = ["vectors_column", "vectors_of", "vectors_type"]


def vectors_type(space: Space) -> pa.DataType:
    """Return the type of a space's column: per row `per_row * stored_dim` numbers of the files' type."""
    return pa.list_(pa.from_numpy_dtype(stored_type(space.dtype)), space.per_row * space.stored_dim)


_NUMBERS: Mapping[pa.DataType, StorageType] = {
    pa.float16(): "float16",
    pa.uint16(): "bfloat16",
    pa.float32(): "float32",
    pa.int8(): "int8",
}


def vectors_column(blocks: npt.NDArray[Any], kind: pa.DataType) -> pa.FixedSizeListArray:
    """Return a column of a space's type for vectors of shape (rows, per_row, dim), rounded to the storage type.

    What is coded already (uint16 and int8) is taken as it is.
    """
    stored = encode(blocks, _NUMBERS[kind.value_type]) if blocks.dtype.kind == "f" else blocks
    return pa.FixedSizeListArray.from_arrays(pa.array(stored.reshape(-1)), stored.shape[1] * stored.shape[2])


def vectors_of(table: pa.Table, space: Space) -> npt.NDArray[Any]:
    """Return a table's column of vectors as it is stored, an array of shape (rows, per_row, stored_dim)."""
    flat = table[space.name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return cast("npt.NDArray[Any]", flat.reshape(len(table), space.per_row, space.stored_dim))
