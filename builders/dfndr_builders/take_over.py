"""A stage that takes over the vectors that an earlier dataset holds of a row, and computes the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.dataset import Dataset, open_dataset
from dfndr.format.schema import Space
from dfndr_builders.stage import Stage, Step, good_rows
from dfndr_builders.vectors import vectors_column

__all__ = ["Earlier", "TakeOver"]

_KEY = np.dtype([("key", "S16"), ("row", "<i8")])

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Earlier:
    """The rows of a finished dataset, found by their uid and their values of `inputs`; of a list the first `most`.

    24 bytes a row are held in memory.
    """

    root: str
    digest: str
    inputs: tuple[str, ...]
    most: int | None = None

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

    def open(self) -> Dataset:
        """Open the dataset, once per worker."""
        return _opened(self.root, self.digest)


@dataclass(frozen=True)
class TakeOver:
    """A stage that embeds into a space, of which the vectors of some rows are known.

    Whoever makes it has seen to it that they depend on nothing but the uid, the inputs, and what is equal in both.
    """

    stage: Stage
    earlier: Earlier
    space: Space

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

    def taken(self, table: pa.Table) -> int:
        """Return of how many rows of a finished table vectors were taken over."""
        return int((self.earlier.find(table) >= 0).sum())

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
        return vectors_column(self.earlier.open().stored(self.space.name, rows), field.type)


@lru_cache(maxsize=4)
def _opened(root: str, digest: str) -> Dataset:
    return open_dataset(root, check="size")


@lru_cache(maxsize=8)
def _index(earlier: Earlier) -> npt.NDArray[np.void]:
    """Return the key and the number of every row, sorted by key."""
    parts, start = [np.empty(0, dtype=_KEY)], 0
    for table in earlier.open().tables(["uid", *earlier.inputs]):
        part = np.empty(len(table), dtype=_KEY)
        part["key"], part["row"] = earlier._keys(table), start + np.arange(len(table))
        parts.append(part)
        start += len(table)
    whole = np.concatenate(parts)
    return whole[np.argsort(whole["key"], kind="stable")]
