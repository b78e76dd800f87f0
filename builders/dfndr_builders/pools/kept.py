"""A pool less what was not kept: the rows of a list of uids alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.format.uid import pack_uids, unpack_uids
from dfndr_builders.pools.base import TABLE_ROWS, Pool, PoolShard

__all__ = ["ABSENT", "Kept"]

ABSENT = "uid_not_in_pool"
"""The problem of a row that stands for a uid which the pool does not hold."""


@dataclass(frozen=True, eq=False, repr=False)
class Kept:
    """The rows of `pool` whose uid is among `uids`, packed, shape (n, 16), in any order and some perhaps twice.

    Every uid that no row has is a row of a last shard, with the problem `uid_not_in_pool`, so that whoever counts
    problems counts it. That shard is read after the others, or reads them itself.
    """

    pool: Pool
    uids: npt.NDArray[np.uint8]
    _sorted: npt.NDArray[np.bytes_] = field(init=False)
    _seen: npt.NDArray[np.bool_] = field(init=False)
    _read: set[int] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        distinct = np.unique(_as_bytes(self.uids))
        object.__setattr__(self, "_sorted", distinct)
        object.__setattr__(self, "_seen", np.zeros(len(distinct), dtype=bool))

    def __repr__(self) -> str:
        """Say what the rows depend on: trainings are named by it."""
        return f"Kept({self.pool!r}, uids={hashlib.sha256(self._sorted.tobytes()).hexdigest()})"

    def schema(self) -> pa.Schema:
        """Return the pool's schema."""
        return self.pool.schema()

    def shards(self) -> Sequence[PoolShard]:
        """List the pool's shards, and the one of what is not there."""
        given = list(self.pool.shards())
        return [*given, PoolShard(len(given), "not-in-the-pool")]

    def read(self, shard: PoolShard) -> Iterator[pa.Table]:
        """Yield the shard's rows that were kept."""
        given = self.pool.shards()
        if shard.index == len(given):
            for other in given:
                if other.index not in self._read:
                    for _ in self.read(other):
                        pass
            yield from self._absent()
            return
        for table in self.pool.read(shard):
            uids = _as_bytes(pack_uids(table["uid"].to_pylist(), shard.name))
            places = np.searchsorted(self._sorted, uids).clip(max=max(0, len(self._sorted) - 1))
            rows = np.flatnonzero(self._sorted[places] == uids) if len(self._sorted) else np.zeros(0, np.int64)
            self._seen[places[rows]] = True
            if len(rows):
                yield table.take(pa.array(rows))
        self._read.add(shard.index)

    def _absent(self) -> Iterator[pa.Table]:
        schema = self.schema()
        missing = self._sorted[~self._seen]
        for start in range(0, len(missing), TABLE_ROWS):
            block = np.frombuffer(missing[start : start + TABLE_ROWS].tobytes(), dtype=np.uint8).reshape(-1, 16)
            uids = unpack_uids(block).tolist()
            given = {"uid": uids, "key": uids, "problem": [ABSENT] * len(uids)}
            columns = [
                pa.array(given[name], schema.field(name).type)
                if name in given
                else pa.nulls(len(uids), schema.field(name).type)
                for name in schema.names
            ]
            yield pa.table(columns, schema=schema)


def _as_bytes(packed: npt.NDArray[np.uint8]) -> npt.NDArray[np.bytes_]:
    """Return packed uids as strings of 16 bytes, shape (n,), which sort as the uids do."""
    return np.ascontiguousarray(packed).view("S16").reshape(-1)
