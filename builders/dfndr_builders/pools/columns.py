"""What pools of tables have in common: Arrow batches with an image and a text column, turned into a pool's rows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from dfndr.errors import PoolError
from dfndr_builders.pools.base import Sample, pool_schema, tables_of
from dfndr_builders.pools.files import Damaged, damage
from dfndr_builders.pools.parts import texts_in
from dfndr_builders.stage import POOL_SCHEMA

__all__ = ["BATCH_ROWS", "ColumnsPool"]

BATCH_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class ColumnsPool:
    """The fields, and from batches to the pool's tables; abstract.

    `image` names a column of encoded bytes, or of Hugging Face's struct<bytes, path>. `text` names a column of strings,
    or of lists of them: the first is taken, or, with `every_text`, each in a row of its own. `keep` names columns to
    carry along as they are. `source` and `license` hold for every row; where None, string columns of those names do.
    `uid` names a column; a value that is not 32 hex digits is passed over for the content's hash.
    """

    image: str = "image"
    text: str = "text"
    every_text: bool = False
    keep: tuple[str, ...] = ()
    source: str | None = None
    license: str | None = None
    uid: str | None = None

    def pool_schema(self, given: pa.Schema, where: str) -> pa.Schema:
        """Return the pool's schema over tables of the given one; raises PoolError that names the nearest column."""
        for name in (self.image, self.text, *self.keep, *([self.uid] if self.uid else [])):
            if name not in given.names:
                near = difflib.get_close_matches(name, given.names, n=1, cutoff=0.5)
                do = f"Did you mean {near[0]!r}?" if near else "Name one of those."
                raise PoolError(where, expected=f"a column {name!r}", found=f"the columns {given.names}", do=do)
        for name, fits, expected in ((self.image, _holds_images, "bytes"), (self.text, _holds_texts, "strings")):
            if not fits(given.field(name).type):
                found, do = str(given.field(name).type), "Name another column."
                raise PoolError(where, expected=f"a column {name!r} of {expected}", found=found, do=do)
        return pool_schema(pa.field(name, given.field(name).type) for name in self.keep)

    def columns(self, given: pa.Schema) -> list[str]:
        """Return the names of the columns that are read."""
        about = [name for name in ("source", "license") if getattr(self, name) is None and name in given.names]
        about = [name for name in about if _holds_texts(given.field(name).type)]
        return list(dict.fromkeys([self.image, self.text, *self.keep, *([self.uid] if self.uid else []), *about]))

    def tables(self, batches: Iterable[pa.Table], schema: pa.Schema, *, name: str) -> Iterator[pa.Table]:
        """Yield the rows of a shard's batches of `columns()`; a row's key is `NAME:ROW`, rows counted from 0.

        Damage ends the shard with one row `shard_unreadable`, or `shard_truncated` where rows came before it.
        """
        given, problem, detail = 0, None, None
        try:
            for table in self._tables(batches, schema, name):
                given += len(table)
                yield table
        except Damaged as error:
            problem, detail = "shard_truncated" if given else "shard_unreadable", str(error)
        if problem is None and given == 0:
            problem = "shard_empty"
        if problem is not None:
            yield from tables_of([Sample(name, problem=problem, detail=detail)], schema)

    def _tables(self, batches: Iterable[pa.Table], schema: pa.Schema, name: str) -> Iterator[pa.Table]:
        kept_schema = pa.schema([schema.field(column) for column in self.keep])
        first = 0
        for batch in batches:
            with damage():
                kept = batch.select(list(self.keep)).cast(kept_schema)
                kept.validate(full=True)
                samples = list(self._samples(batch, name, first))
            first, done = first + len(batch), 0
            for table in tables_of((sample for _, sample in samples), POOL_SCHEMA):
                rows = [row for row, _ in samples[done : done + len(table)]]
                done += len(table)
                yield pa.Table.from_arrays([*table.columns, *kept.take(rows).columns], schema=schema)

    def outside(self, path: str) -> bytes | None:
        """Return the bytes of an image of which the column holds the path alone; None: it cannot be had."""
        return None

    def _samples(self, batch: pa.Table, name: str, first: int) -> Iterator[tuple[int, Sample]]:
        """Yield each row's place in the batch and its sample, or with `every_text` its samples."""
        images = cast("list[Any]", batch[self.image].to_pylist())
        texts = _values(batch[self.text])
        own = _strings(batch, self.uid)
        sources = _strings(batch, "source" if self.source is None else None)
        licenses = _strings(batch, "license" if self.license is None else None)
        for row, text in enumerate(texts):
            image: Any = images[row]
            path: Any = None
            if isinstance(image, dict):
                image, path = image.get("bytes"), image.get("path")
            if image is None and path:
                image = self.outside(path)
            key = f"{name}:{first + row}"
            for number, words in enumerate(texts_in(text, every=self.every_text)):
                sample = Sample(f"{key}#{number}" if self.every_text else key, image, words)
                sample.source, sample.license = self.source or sources[row], self.license or licenses[row]
                sample.uid = None if self.every_text else own[row]
                if image is None and path:
                    sample.fail("image_missing", f"the column holds a path and no bytes: {path}")
                yield row, sample


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return "bytes" in [kind.field(place).name for place in range(kind.num_fields)]
    return _is_binary(kind)


def _holds_texts(kind: Any) -> bool:  # noqa: ANN401  any Arrow type
    if pa.types.is_dictionary(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _holds_text(kind.value_type)
    return _holds_text(kind)


def _holds_text(kind: pa.DataType) -> bool:
    return (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or _is_binary(kind)
    )


def _is_binary(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view))


def _values(column: pa.ChunkedArray[Any]) -> list[Any]:
    """Return a column's strings as bytes, since Arrow does not check that what a file calls a string is UTF-8."""
    kind: Any = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        column = pc.cast(column, kind)
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    raw: Any = pa.large_list(pa.large_binary()) if is_list else pa.large_binary()
    values: list[Any] = column.cast(raw).to_pylist()
    return values


def _strings(batch: pa.Table, name: str | None) -> list[str | None]:
    """Return a column's strings, nulls where the table has no such column."""
    if name is None or name not in batch.column_names:
        return [None] * len(batch)
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else None for value in _values(batch[name])]
