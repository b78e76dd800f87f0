"""Several pools as one: shard after shard in the recipe's order, under the union of their columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa

from dfndr.errors import PoolError
from dfndr_builders.pools.base import Pool, PoolShard

__all__ = ["Joined"]


@dataclass(frozen=True)
class Joined:
    """A pool made of pools; a column that one of them lacks is null in its rows."""

    pools: tuple[Pool, ...]

    @cached_property
    def _places(self) -> tuple[tuple[Pool, PoolShard], ...]:
        return tuple((pool, shard) for pool in self.pools for shard in pool.shards())

    def schema(self) -> pa.Schema:
        """Return the union of the schemas; raises PoolError where two pools type one column differently."""
        try:
            return pa.unify_schemas([pool.schema() for pool in self.pools])
        except pa.ArrowException as error:
            do = "Give the column another name in one of the pools, or keep it in one of them only."
            raise PoolError("pools", expected="one type for each kept column", found=str(error), do=do) from error

    def shards(self) -> tuple[PoolShard, ...]:
        """List every pool's shards, numbered through."""
        return tuple(replace(shard, index=number) for number, (_, shard) in enumerate(self._places))

    def read(self, shard: PoolShard) -> Iterator[pa.Table]:
        """Yield the shard's rows."""
        schema = self.schema()
        pool, inner = self._places[shard.index]
        for table in pool.read(inner):
            columns = [
                table[name] if name in table.column_names else pa.nulls(len(table), schema.field(name).type)
                for name in schema.names
            ]
            yield pa.table(columns, schema=schema)
