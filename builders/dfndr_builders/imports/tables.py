"""Rows that lie in Parquet files: so many at a time, under the names and types that they have here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dfndr import storage
from dfndr.errors import FormatError, PoolError
from dfndr.format.shard import parquet_errors, parquet_file, row_types
from dfndr_builders.imports.layout import uid_without_image
from dfndr_builders.imports.pieces import rows_of_piece
from dfndr_builders.pools.base import PoolShard
from dfndr_builders.pools.patterns import expand
from dfndr_builders.stage import POOL_SCHEMA
from dfndr_builders.vectors import vectors_column

__all__ = ["Rows", "batches", "files_in", "kept_fields", "pooled", "ranges_of", "schema_of", "uids_in"]

_BATCH = 1024
_ABOUT = ("uid", "key", "url", "text")
_DO = "Import the files that differ on their own."


@dataclass(frozen=True)
class Rows:
    """Rows [start, stop) of a Parquet file."""

    path: str
    start: int
    stop: int

    def shard(self, index: int) -> PoolShard:
        """Return the shard of an import that they are."""
        return PoolShard(index, f"{self.path}@{self.start}", self.stop - self.start)


def files_in(path: str, folder: str = "") -> list[str]:
    """Return the Parquet files of a folder, or of a pattern with braces or globs; raises PoolError for none."""
    pattern = path
    if storage.exists(path) and storage.is_folder(path):
        pattern = storage.join(path, *([folder] if folder else []), "*.parquet")
    found = expand(pattern)
    if not found:
        raise PoolError(path, expected="Parquet files", found="none", do="Name their folder, or a pattern.")
    return found


def ranges_of(paths: Sequence[str], row_bytes: int) -> list[Rows]:
    """Return the rows of files in pieces of about 256 MB of vectors."""
    most, found = rows_of_piece(row_bytes), []
    for path in paths:
        with storage.open_read(path) as file, parquet_file(path, file) as opened:
            rows = opened.metadata.num_rows
        found += [Rows(path, start, min(start + most, rows)) for start in range(0, rows, most)]
    return found


def schema_of(path: str) -> pa.Schema:
    """Return the schema of a Parquet file."""
    with storage.open_read(path) as file, parquet_errors(path):
        return pq.read_schema(file).remove_metadata()


def batches(rows: Rows, schema: pa.Schema, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield some columns of the rows, 1,024 at a time; raises FormatError where the file has another schema."""
    with storage.open_read(rows.path) as source, parquet_file(rows.path, source) as file:
        for name in columns:
            there = file.schema_arrow.field(name).type if name in file.schema_arrow.names else "no such column"
            if there != schema.field(name).type:
                expected = f"the column {name!r} of {schema.field(name).type}, as in the first file"
                raise FormatError(rows.path, expected=expected, found=str(there), do=_DO)
        first = 0
        for group in range(file.metadata.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            if first < rows.stop and first + count > rows.start:
                place = first
                for batch in file.iter_batches(_BATCH, row_groups=[group], columns=list(columns)):
                    batch.validate(full=True)
                    start, stop = max(rows.start - place, 0), min(rows.stop - place, len(batch))
                    if start < stop:
                        yield pa.Table.from_batches([batch.slice(start, stop - start)])
                    place += len(batch)
            first += count


def kept_fields(schema: pa.Schema, vectors: Sequence[str]) -> list[pa.Field[Any]]:
    """Return the columns that are carried along, of the types that docs/format.md gives them."""
    fixed, taken = row_types(), {*POOL_SCHEMA.names, *vectors}
    return [pa.field(one.name, fixed.get(one.name, one.type)) for one in schema if one.name not in taken]


def uids_in(rows: Rows, schema: pa.Schema) -> list[str]:
    """Return the uids of the rows, reading nothing but what they are made of."""
    columns = [name for name in _ABOUT if name in schema.names]
    found: list[str] = []
    for table in batches(rows, schema, columns or schema.names[:1]):
        found += _uids(table, rows, rows.start + len(found))
    return found


def _uids(table: pa.Table, rows: Rows, first: int) -> list[str]:
    """Return each row's uid: its own, else by its url or key and its text, or by its place in the file."""
    nothing = [None] * len(table)
    given = {name: table[name].to_pylist() if name in table.column_names else nothing for name in _ABOUT}
    base = rows.path.rpartition("/")[2]
    places = [f"{base}#{first + number}" for number in range(len(table))]
    return [
        uid_without_image(own if isinstance(own, str) else None, str(url or key or place), _text(text))
        for own, url, key, text, place in zip(*given.values(), places, strict=True)
    ]


def _text(given: object) -> str | None:
    return given if isinstance(given, str) else None


def pooled(
    table: pa.Table,
    rows: Rows,
    first: int,
    schema: pa.Schema,
    vectors: Mapping[str, npt.NDArray[np.floating[Any]]],
    own: Mapping[str, str | None],
    problems: Mapping[int, tuple[str, str]],
) -> pa.Table:
    """Return a table of an import's schema: a batch's columns, its uids, and vectors of (rows, per_row, dim) by space.

    `own` is the source and the licence of all rows where they were given. Raises FormatError where a column cannot be
    of the type that its name has here.
    """
    uids = _uids(table, rows, first)
    columns = []
    for field in schema:
        if field.name in vectors:
            columns.append(vectors_column(vectors[field.name], field.type))
        elif field.name == "uid" or (field.name == "key" and "key" not in table.column_names):
            columns.append(pa.array(uids, pa.string()))
        elif field.name in ("problem", "detail"):
            told = {row: reason[field.name == "detail"] for row, reason in problems.items()}
            columns.append(pa.array([told.get(row) for row in range(len(table))], pa.string()))
        elif own.get(field.name) is not None:
            columns.append(pa.array([own[field.name]] * len(table), field.type))
        elif field.name in table.column_names and field.name != "image":
            columns.append(_cast(table[field.name], field))
        else:
            columns.append(pa.nulls(len(table), field.type))
    return pa.table(columns, schema=schema)


def _cast(column: pa.ChunkedArray, field: pa.Field[Any]) -> pa.ChunkedArray:
    try:
        return column.cast(field.type)
    except pa.ArrowException as error:
        where, do = f"column {field.name!r}", "Rename it in the files: this name has a meaning of its own."
        raise FormatError(where, expected=str(field.type), found=str(error)[:200], do=do) from error
