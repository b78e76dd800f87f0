"""Parquet files with vectors as columns of lists: what `dfndr export parquet` writes, or anyone who calls them so.

A space is a column `<modality>__<encoder>` (`image__vit_b_32`): lists of dim numbers, or lists of per_row such lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.errors import FormatError
from dfndr.format.schema import Space
from dfndr.format.storage_types import read_type
from dfndr_builders.imports.layout import imported_schema
from dfndr_builders.imports.parquet_files import ParquetFiles
from dfndr_builders.imports.tables import Rows, batches, kept_fields, pooled, uids_in
from dfndr_builders.pools.base import PoolShard

__all__ = ["ParquetRows"]

_MODALITIES = ("image", "text", "caption")


@dataclass(frozen=True)
class ParquetRows(ParquetFiles):
    """A folder, or a pattern of Parquet files that hold the vectors of these encoders."""

    exported_in: ClassVar[str] = "rows"
    kind: str = "parquet"

    @cached_property
    def _columns(self) -> dict[str, tuple[str, Space]]:
        """The column of each space, and the space."""
        found: dict[str, tuple[str, Space]] = {}
        for teacher in self.teachers:
            called = re.sub(r"[^a-z0-9]", "_", teacher.name)
            for modality in _MODALITIES:
                name = f"{modality}/{teacher.name}"
                column = f"{modality}__{called}" if self.layout is None else self.layout.places.get(name, "")
                if column in self._given.names:
                    per_row, dim = _shape(column, self._given.field(column).type, self._first_of(column))
                    found[name] = column, self.promised.space(modality, teacher, dim, per_row=per_row)
        if not found and self.teachers:
            expected = " or ".join(f"{one}__{re.sub('[^a-z0-9]', '_', self.teachers[0].name)}" for one in _MODALITIES)
            do = "Name the columns of vectors so, and the encoder with --encoder."
            raise FormatError(self._files[0], expected=expected, found=f"{self._given.names}"[:200], do=do)
        return found

    def _first_of(self, column: str) -> list[Any]:
        """Return the first value of a column, from which lists without a fixed size take their shape."""
        for table in batches(Rows(self._files[0], 0, 1), self._given, [column]):
            return list(table[column][0].as_py() or ())
        return []

    def spaces(self) -> tuple[Space, ...]:
        """Return the space of each column of vectors."""
        return tuple(space for _, space in self._columns.values())

    def schema(self) -> pa.Schema:
        """Return the schema: every other column is carried along under its own name."""
        vectors = [column for column, _ in self._columns.values()]
        return imported_schema(kept_fields(self._given, vectors), self.spaces())

    def uids(self, shard: PoolShard) -> list[str]:
        """Return the uids by the columns that they are made of."""
        return uids_in(self._ranges[shard.index], self._given)

    def read(self, shard: PoolShard) -> Iterator[pa.Table]:
        """Yield the rows; one of which a list of numbers is missing or of another length has a problem."""
        rows, schema, own = self._ranges[shard.index], self.schema(), {"source": self.source, "license": self.license}
        first = rows.start
        for table in batches(rows, self._given, self._given.names):
            problems: dict[int, tuple[str, str]] = {}
            vectors = {
                name: _vectors(table[column], space, problems) for name, (column, space) in self._columns.items()
            }
            yield pooled(table, rows, first, schema, vectors, own, problems)
            first += len(table)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _shape(column: str, kind: pa.DataType, first: list[Any]) -> tuple[int, int]:
    """Return (per_row, dim) of a column of lists, or of lists of lists."""
    outer = kind.list_size if pa.types.is_fixed_size_list(kind) else len(first)
    number = kind.value_type if _is_list(kind) else None
    if number is not None and _is_list(number):
        inner = number.list_size if pa.types.is_fixed_size_list(number) else len(first[0]) if first else 0
        shape, number = (outer, inner), number.value_type
    else:
        shape = (1, outer)
    if number is None or not pa.types.is_floating(number) or not all(shape):
        do = "Store vectors as lists of dim numbers, or as lists of per_row such lists."
        raise FormatError(f"column {column!r}", expected="lists of numbers", found=str(kind), do=do)
    return shape


def _vectors(
    column: pa.ChunkedArray, space: Space, problems: dict[int, tuple[str, str]]
) -> npt.NDArray[np.floating[Any]]:
    """Return the vectors of a batch, zeros where a row has none of the right shape: its problem is written down."""
    wanted, found = space.per_row * space.dim, np.zeros((len(column), space.per_row, space.dim), read_type(space.dtype))
    array = column.combine_chunks()
    if pa.types.is_fixed_size_list(array.type) and not array.null_count:
        flat = array.flatten()
        flat = flat.flatten() if _is_list(flat.type) else flat
        if len(flat) == len(column) * wanted and not flat.null_count:
            found[:] = flat.to_numpy(zero_copy_only=False).reshape(found.shape)
            return found
    for row, value in enumerate(array.to_pylist()):
        numbers = np.asarray([np.nan if one is None else one for one in _flat(value)], dtype=np.float64)
        if len(numbers) == wanted:
            found[row] = numbers.reshape(found.shape[1:])
        else:
            detail = f"{space.name}: {len(numbers)} numbers, and the others have {wanted}"
            problems.setdefault(row, ("vector_missing", detail))
    return found


def _flat(value: object) -> list[Any]:
    if not isinstance(value, list):
        return []
    return [one for part in value for one in part] if value and isinstance(value[0], list) else value
