"""A score that the pool brought along: a column that somebody else computed, such as DataComp's CLIP similarities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dfndr.dataset import Dataset
from dfndr.progress import SILENT, Progress

__all__ = ["PrecomputedScore"]


@dataclass(frozen=True)
class PrecomputedScore:
    """Derive column `name` from the kept column `column`: float32, null for what is no finite number.

    Texts are read as numbers, since fields of a json are kept as texts. Selection counts a null as `score_not_finite`.
    """

    name: str
    column: str

    def fields(self) -> list[pa.Field]:
        """Return the column."""
        return [pa.field(self.name, pa.float32())]

    def tables(self, scores: Dataset, progress: Progress = SILENT) -> Iterator[pa.Table]:
        """Yield the numbers of each shard's rows; says at the end how many have none."""
        missing = 0
        with progress.task(self.name, len(scores)) as task:
            for table in scores.tables([self.column]):
                numbers = np.array([_number(value) for value in table[self.column].to_pylist()], dtype=np.float32)
                there = np.isfinite(numbers)
                missing += int((~there).sum())
                yield pa.table([pa.array(numbers, mask=~there)], schema=pa.schema(self.fields()))
                task.advance(len(table))
        if missing:
            progress.say(f"{self.name}: {missing:,} of {len(scores):,} rows have no number in {self.column!r}")


def _number(value: object) -> float:
    """Return a value as float32 has it, infinite beyond its range; NaN for what is no number."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return float("nan")
    return number if abs(number) <= np.finfo(np.float32).max else float("inf")
