"""A pool with texts swapped on purpose: noise whose truth is known, to measure a filter by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dfndr.errors import RecipeError
from dfndr.seeds import hash_fraction, rng_for
from dfndr_builders.pools.base import Pool, PoolShard, uid_of

__all__ = ["SWAPPED", "Swapped"]

SWAPPED = "swapped"
"""The boolean column that says whether a row's text is another row's."""


@dataclass(frozen=True)
class Swapped:
    """`pool`, with the texts of about `fraction` of each shard's rows moved round by one among them, in a seeded order.

    Which rows take part depends on (seed, uid) alone. The column `swapped` is true where the text really differs from
    the row's own, so two rows with one text may stay as they are. A uid that was made from image and text is made
    again from image and new text, and the pool's own uid stays. Rows with a problem take no part.

    A shard is read twice: once for its texts, which are held in memory where they take part, and once for its rows.
    """

    pool: Pool
    fraction: float
    seed: int

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            found, do = str(self.fraction), "Give the share of rows to swap."
            raise RecipeError("pool: swap_texts", expected="a fraction from 0 to 1", found=found, do=do)

    def schema(self) -> pa.Schema:
        """Return the pool's schema followed by `swapped`; raises RecipeError where the pool has such a column."""
        given = self.pool.schema()
        if SWAPPED in given.names:
            do = f"Leave {SWAPPED!r} out of `keep`, or `swap_texts` out of the recipe."
            raise RecipeError("pool: swap_texts", expected=f"no column {SWAPPED!r}", found="one", do=do)
        return given.append(pa.field(SWAPPED, pa.bool_()))

    def shards(self) -> Sequence[PoolShard]:
        """List the pool's shards."""
        return self.pool.shards()

    def read(self, shard: PoolShard) -> Iterator[pa.Table]:
        """Yield the shard's rows with their new texts."""
        schema, new_texts, first = self.schema(), self._new_texts(shard), 0
        for table in self.pool.read(shard):
            uids: list[Any] = table["uid"].to_pylist()
            texts: list[Any] = table["text"].to_pylist()
            swapped = [False] * len(table)
            for row in range(len(table)):
                new = new_texts.get(first + row)
                if new is None or new == texts[row]:
                    continue
                image = table["image"][row].as_py()
                if uids[row] == uid_of(image, texts[row].encode()):
                    uids[row] = uid_of(image, new.encode())
                texts[row], swapped[row] = new, True
            first += len(table)
            changed: dict[str, list[Any]] = {"uid": uids, "text": texts, SWAPPED: swapped}
            columns = [
                pa.array(changed[field.name], field.type) if field.name in changed else table[field.name]
                for field in schema
            ]
            yield pa.table(columns, schema=schema)

    def _new_texts(self, shard: PoolShard) -> dict[int, str]:
        """Return the new text of each row that takes part, by its place in the shard."""
        places: list[int] = []
        texts: list[str] = []
        first = 0
        for table in self.pool.read(shard):
            columns = (table[name].to_pylist() for name in ("uid", "text", "problem"))
            for row, (uid, text, problem) in enumerate(zip(*columns, strict=True)):
                if problem is None and hash_fraction(self.seed, "swap", uid) < self.fraction:
                    places.append(first + row)
                    texts.append(text)
            first += len(table)
        order = rng_for(self.seed, "swap", shard.index).permutation(len(places)).tolist()
        return {places[to]: texts[own] for to, own in zip(order, order[1:] + order[:1], strict=True)}
