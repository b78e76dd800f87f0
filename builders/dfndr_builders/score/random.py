"""A score that is chance: what a filter has to beat, and how a random part of a pool is taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dfndr.dataset import Dataset
from dfndr.progress import Progress
from dfndr.seeds import hash_fraction

__all__ = ["RandomScore"]


@dataclass(frozen=True)
class RandomScore:
    """Derive column `name`: a uniform number in [0, 1), float32, by a hash of (seed, name, uid)."""

    name: str
    seed: int

    def fields(self) -> list[pa.Field]:
        """Return the column."""
        return [pa.field(self.name, pa.float32())]

    def tables(self, scores: Dataset, progress: Progress) -> Iterator[pa.Table]:
        """Yield the numbers of each shard's rows."""
        with progress.task(self.name, len(scores)) as task:
            for table in scores.tables(["uid"]):
                drawn = [hash_fraction(self.seed, self.name, uid) for uid in table["uid"].to_pylist()]
                yield pa.table([pa.array(np.array(drawn, dtype=np.float32))], schema=pa.schema(self.fields()))
                task.advance(len(table))
