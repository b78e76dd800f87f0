"""A space within a table: one column of fixed-size lists, and the array of vectors that it is."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.format.schema import Space

__all__ = ["vectors_column", "vectors_of", "vectors_type"]


def vectors_type(space: Space) -> pa.DataType:
    """Return the type of a space's column: per row `per_row * dim` numbers of the storage type."""
    number = {"float16": pa.float16(), "float32": pa.float32()}[space.dtype]
    return pa.list_(number, space.per_row * space.dim)


def vectors_column(blocks: npt.NDArray[np.floating]) -> pa.FixedSizeListArray:
    """Return the column of a table for vectors of shape (rows, per_row, dim)."""
    return pa.FixedSizeListArray.from_arrays(pa.array(blocks.reshape(-1)), blocks.shape[1] * blocks.shape[2])


def vectors_of(table: pa.Table, space: Space) -> npt.NDArray[np.floating]:
    """Return a table's column of vectors as an array of shape (rows, per_row, dim)."""
    flat = table[space.name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return cast("npt.NDArray[np.floating]", flat.reshape(len(table), space.per_row, space.dim))
