"""A stage that takes over what an earlier dataset holds of a row, and computes the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.dataset import Dataset, open_dataset
from dfndr.format.schema import Space
from dfndr_builders.stage import HAPPENED, Stage, Step, good_rows
from dfndr_builders.vectors import vectors_column

__all__ = ["Earlier", "TakeOver"]

_KEY = np.dtype([("key", "S16"), ("row", "<i8")])
_BY_CAPTIONERS = "captions by "
"""How the notes begin that tell what happened to captions."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Earlier:
    """The rows of a finished dataset, found by their uid and their values of `inputs`; of a list the first `most`.

    With `captioners`, those rows alone whose captions stand in the order of these. 24 bytes a row are held in memory.
    """

    root: str
    digest: str
    inputs: tuple[str, ...]
    most: int | None = None
    captioners: tuple[str, ...] = ()

    def find(self, table: pa.Table) -> Rows:
        """Return for each row of a table which row of the earlier dataset it is, -1 for none and for bad rows."""
        index, good = _index(self), good_rows(table) if "problem" in table.column_names else range(len(table))
        keys = np.array(self._keys(table.select(["uid", *self.inputs]).take(list(good))), dtype="S16")
        found = np.full(len(table), -1, dtype=np.int64)
        if len(index) and len(keys):
            at = np.minimum(np.searchsorted(index["key"], keys), len(index) - 1)
            found[list(good)] = np.where(index["key"][at] == keys, index["row"][at], -1)
        return found

    def _keys(self, table: pa.Table) -> list[bytes]:
        rows = zip(*(table[name].to_pylist() for name in ("uid", *self.inputs)), strict=True)
        told = ([value[: self.most] if isinstance(value, list) else value for value in row] for row in rows)
        return [hashlib.blake2b(json.dumps(row).encode(), digest_size=16).digest() for row in told]

    def _usable(self, table: pa.Table) -> list[int]:
        if not self.captioners:
            return list(range(len(table)))
        order = {name: place for place, name in enumerate(self.captioners)}
        places = [[order[name] for name in names] for names in table["caption_models"].to_pylist()]
        return [row for row, given in enumerate(places) if given and given == sorted(given)]


@dataclass(frozen=True)
class TakeOver:
    """A stage of which the columns of some rows are known: vectors of a space, or, without one, captions.

    Whoever makes it has seen to it that they depend on nothing but the uid, the inputs, and what is equal in both.
    """

    stage: Stage
    earlier: Earlier
    space: Space | None = None

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return what the stage returns."""
        return self.stage.schema(given)

    def open(self) -> Step:
        """Open the dataset; the stage is opened when there is a row to compute."""
        opened: list[Step] = []

        def compute(table: pa.Table) -> pa.Table:
            if not opened:
                opened.append(self.stage.open())
            return opened[0](table)

        return lambda table: self._step(table, compute)

    def _step(self, table: pa.Table, compute: Callable[[pa.Table], pa.Table]) -> pa.Table:
        found = self.earlier.find(table)
        known, rest = np.flatnonzero(found >= 0), np.flatnonzero(found < 0)
        if not len(known):
            return compute(table)
        taken = table.take(known)
        for field in self.schema(table.schema):
            if field.name not in table.column_names:
                taken = taken.append_column(field, self._column(field, found[known]))
        if not len(rest):
            return taken
        whole = pa.concat_tables([compute(table.take(rest)), taken])
        return whole.take(np.argsort(np.concatenate([rest, known])))

    def _column(self, field: pa.Field[Any], rows: Rows) -> pa.Array[Any]:
        dataset = _opened(self.earlier.root, self.earlier.digest)
        if self.space is not None:
            return vectors_column(dataset.stored(self.space.name, rows), field.type)
        if field.name == HAPPENED.name:
            return pa.array(_happened(dataset, rows), field.type)
        return pa.array(_values(dataset, field.name, rows), field.type)


@lru_cache(maxsize=4)
def _opened(root: str, digest: str) -> Dataset:
    return open_dataset(root, check="size")


@lru_cache(maxsize=8)
def _index(earlier: Earlier) -> npt.NDArray[np.void]:
    """Return the key and the number of every row, sorted by key."""
    dataset, parts, start = _opened(earlier.root, earlier.digest), [np.empty(0, dtype=_KEY)], 0
    more = ["caption_models"] if earlier.captioners else []
    for table in dataset.tables(list(dict.fromkeys(["uid", *earlier.inputs, *more]))):
        rows = earlier._usable(table)
        part = np.empty(len(rows), dtype=_KEY)
        part["key"], part["row"] = earlier._keys(table.take(rows)), start + np.array(rows, dtype=np.int64)
        parts.append(part)
        start += len(table)
    whole = np.concatenate(parts)
    return whole[np.argsort(whole["key"], kind="stable")]


def _shards(dataset: Dataset, rows: Rows) -> tuple[Rows, Rows]:
    """Return for each row the number of its shard, and its place among the shard's rows."""
    starts = np.cumsum([0, *(shard.rows for shard in dataset.shards)])
    shards = np.searchsorted(starts, rows, side="right") - 1
    return shards, rows - starts[shards]


def _values(dataset: Dataset, column: str, rows: Rows) -> Sequence[object]:
    shards, places = _shards(dataset, rows)
    found: list[object] = [None] * len(rows)
    for shard in np.unique(shards).tolist():
        here = np.flatnonzero(shards == shard)
        values = _table(dataset, shard)[column].take(places[here]).to_pylist()
        for place, value in zip(here.tolist(), values, strict=True):
            found[place] = value
    return found


@lru_cache(maxsize=2)
def _table(dataset: Dataset, shard: int) -> pa.Table:
    """Return what a shard's rows say of captions; rows come in an order in which one shard follows the other."""
    return dataset.table(shard, ["captions", "caption_models", "caption_seeds", "caption_scores"])


def _happened(dataset: Dataset, rows: Rows) -> list[list[str]]:
    """Return what happened to rows: what a shard's notes count of captions is told with its first row."""
    told: list[list[str]] = [[] for _ in rows]
    for row, (shard, place) in enumerate(zip(*(part.tolist() for part in _shards(dataset, rows)), strict=True)):
        if place == 0:
            notes = dataset.shards[shard].notes.items()
            counts = [(what, int(count)) for what, count in notes if what.startswith(_BY_CAPTIONERS)]
            told[row] = [what for what, count in counts for _ in range(count)]
    return told
