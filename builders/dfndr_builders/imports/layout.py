"""What every layout of another tool has in common: shards of rows, each row with its vectors, in one schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.errors import FormatError
from dfndr.format.schema import Space
from dfndr_builders.pools.base import PoolShard, uid_of
from dfndr_builders.stage import POOL_SCHEMA
from dfndr_builders.vectors import vectors_column, vectors_type

__all__ = ["CAPTIONS", "Dtype", "Layout", "Teacher", "imported_schema", "table_of", "uid_without_image"]

Dtype = Literal["float16", "float32"]
CAPTIONS = [pa.field("captions", pa.list_(pa.string())), pa.field("caption_models", pa.list_(pa.string()))]
"""The columns of synthetic captions, and of what wrote each."""


@dataclass(frozen=True)
class Teacher:
    """The encoder that gave vectors, as whoever imports them says: nothing in such files proves it.

    `dim` is how many numbers of a row are its own, where several teachers' lie in one row (0: all of them).
    `distillation_scale` is what its similarities are multiplied by when a student learns from them; None: the
    trained scale, of which such files say nothing either.
    """

    name: str
    model: str
    pretrained: str
    dim: int = 0
    distillation_scale: float | None = None
    license: str = "unknown"
    logit_scale: float = 100.0


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
    for field in schema:
        if field.name in vectors:
            arrays.append(vectors_column(vectors[field.name]))
        else:
            values = columns.get(field.name) or [None] * rows
            try:
                arrays.append(pa.array(values, field.type))
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
                where, do = f"column {field.name!r}", "Rename it in the files: this name has a meaning of its own."
                raise FormatError(where, expected=str(field.type), found=str(error)[:200], do=do) from error
    return pa.Table.from_arrays(arrays, schema=schema)
