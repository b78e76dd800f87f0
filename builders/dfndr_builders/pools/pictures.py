"""A pool as a source of pictures alone: what is wrong with a text, or that there is none, is no problem here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from dfndr_builders.pools.base import Pool, PoolShard

__all__ = ["Pictures"]


@dataclass(frozen=True)
class Pictures:
    """The rows of a pool, with a `problem` only where it is the picture's."""

    pool: Pool

    def schema(self) -> pa.Schema:
        """Return the pool's schema."""
        return self.pool.schema()

    def shards(self) -> Sequence[PoolShard]:
        """Return the pool's shards."""
        return self.pool.shards()

    def read(self, shard: PoolShard) -> Iterator[pa.Table]:
        """Yield the shard's rows."""
        for table in self.pool.read(shard):
            of_text = pc.fill_null(pc.starts_with(table["problem"], "text_"), False)
            for name in ("problem", "detail"):
                place, kept = table.schema.get_field_index(name), pc.if_else(of_text, None, table[name])
                table = table.set_column(place, table.schema.field(place), kept)
            yield table
