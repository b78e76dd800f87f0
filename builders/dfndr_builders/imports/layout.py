"""What every layout of another tool has in common: shards of rows, each row with its vectors, in one schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.errors import FormatError
from dfndr.format.schema import EncoderRecord, Modality, Space, StorageType
from dfndr_builders.layout_file import LAYOUT
from dfndr_builders.pools.base import PoolShard, uid_of
from dfndr_builders.stage import POOL_SCHEMA
from dfndr_builders.vectors import vectors_column, vectors_type

__all__ = [
    "CAPTIONS",
    "NOTHING_PROMISED",
    "Layout",
    "Promised",
    "Teacher",
    "imported_schema",
    "table_of",
    "uid_without_image",
]

CAPTIONS = [pa.field("captions", pa.list_(pa.string())), pa.field("caption_models", pa.list_(pa.string()))]
"""The columns of synthetic captions, and of what wrote each."""


@dataclass(frozen=True)
class Teacher:
    """The encoder that gave vectors, as whoever imports them says: nothing in such files proves it.

    `dim` is how many numbers of a row are its own, where several teachers' lie in one row (0: all of them).
    `distillation_scale` is what its similarities are multiplied by when a student learns from them; None: the
    trained scale, of which such files say nothing either. `record` is all that is known of it, where an export of
    dfndr's says so.
    """

    name: str
    model: str
    pretrained: str
    dim: int = 0
    distillation_scale: float | None = None
    license: str = "unknown"
    logit_scale: float = 100.0
    record: EncoderRecord | None = None


@dataclass(frozen=True)
class Promised:
    """What is known of spaces before their files are looked at: what an export says of them, and what was asked for.

    Vectors are stored in the type that was asked for, else as they were before they were exported, else as float16.
    """

    dtype: StorageType | None = None
    unit_norm: bool = True
    spaces: Mapping[str, Space] = field(default_factory=dict)

    def space(self, modality: str, teacher: Teacher, dim: int, *, per_row: int = 1) -> Space:
        """Return the space of a teacher's vectors; raises FormatError where other ones were promised."""
        name = f"{modality}/{teacher.name}"
        given = self.spaces.get(name)
        if given is None:
            return Space(
                cast("Modality", modality), teacher.name, dim, per_row, self.dtype or "float16", self.unit_norm
            )
        if given.dim != dim:
            do = "Export the dataset again."
            raise FormatError(name, expected=f"{given.dim} dimensions, as {LAYOUT} says", found=str(dim), do=do)
        return replace(given, dtype=self.dtype or given.dtype)


NOTHING_PROMISED = Promised()


class Layout(Protocol):
    """Shards that are read front to back; the same shard always gives the same rows."""

    @property
    def kind(self) -> str:
        """What wrote the files."""

    @property
    def path(self) -> str:
        """Where they are, as it was given."""

    @property
    def source(self) -> str | None:
        """What all rows' source is called."""

    @property
    def license(self) -> str | None:
        """The licence of all rows."""

    def spaces(self) -> tuple[Space, ...]:
        """Return the spaces that its vectors make; raises FormatError where the files hold other vectors."""

    def schema(self) -> pa.Schema:
        """Return the schema of the tables: the pool's columns (image is null), its own, and one for each space."""

    def shards(self) -> Sequence[PoolShard]:
        """List the shards in a fixed order; raises PoolError where there is none."""

    def split(self, shard: PoolShard) -> str:
        """Return the split that the shard's rows belong to."""

    @property
    def has_pictures(self) -> bool:
        """Whether pictures lie in the files, so that `image` may not be null."""

    def uids(self, shard: PoolShard) -> list[str]:
        """Return the uids of the shard's rows, in order, without reading a vector."""

    def read(self, shard: PoolShard) -> Iterator[pa.Table]:
        """Yield the shard's rows; a row that cannot be used has a problem."""


def imported_schema(columns: Sequence[pa.Field[Any]], spaces: Sequence[Space]) -> pa.Schema:
    """Return the schema of a layout with columns of its own and these spaces."""
    vectors = [pa.field(space.name, vectors_type(space)) for space in spaces]
    return pa.schema([*POOL_SCHEMA, *columns, *vectors])


def uid_without_image(own: str | None, place: str, text: str | None) -> str:
    """Return a row's uid where there is no picture to hash: its own, else by where the picture was and the text."""
    return uid_of(place.encode(), (text or "").encode(), own)


def table_of(
    columns: Mapping[str, Sequence[Any]], vectors: Mapping[str, npt.NDArray[np.floating[Any]]], schema: pa.Schema
) -> pa.Table:
    """Return a table of the schema, null where nothing is given; `vectors` by space, of shape (rows, per_row, dim)."""
    rows = len(columns["uid"])
    arrays = []
    for column in schema:
        if column.name in vectors:
            arrays.append(vectors_column(vectors[column.name], column.type))
        else:
            values = columns.get(column.name) or [None] * rows
            try:
                arrays.append(pa.array(values, column.type))
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
                where, do = f"column {column.name!r}", "Rename it in the files: this name has a meaning of its own."
                raise FormatError(where, expected=str(column.type), found=str(error)[:200], do=do) from error
    return pa.Table.from_arrays(arrays, schema=schema)
