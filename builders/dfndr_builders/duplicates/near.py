"""Near duplicates: pictures whose perceptual hashes differ in a few bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.dataset import Dataset
from dfndr.progress import SILENT, Progress
from dfndr_builders.duplicates.groups import Groups, Rows, join_equal, require_column
from dfndr_builders.duplicates.hamming import Hashes, bits_apart, pairs_within

__all__ = ["NearDuplicates", "hashes_of"]


@dataclass(frozen=True)
class NearDuplicates:
    """Column `near_duplicate_group`: rows linked by pairs whose `phash` differ in at most `radius` bits, none missed.

    Links chain: two rows of a group may be further apart than the radius. About 90 bytes of memory a row.
    """

    radius: int = 4

    def fields(self) -> list[pa.Field]:
        """Return the column."""
        return [pa.field("near_duplicate_group", pa.int64())]

    def tables(self, scores: Dataset, progress: Progress = SILENT) -> Iterator[pa.Table]:
        """Yield the column shard by shard; null where the row is alone or has no hash."""
        hashes, is_there = hashes_of(scores)
        groups, rows = Groups(len(hashes)), np.flatnonzero(is_there)
        distinct, firsts = join_equal(groups, hashes[rows], rows)
        del hashes, is_there, rows
        with progress.task("near duplicates", None, "pairs") as task:
            for ones, others, _ in pairs_within(distinct, None, self.radius):
                groups.join(firsts[ones], firsts[others])
                task.advance(len(ones))
        yield from groups.tables(self.fields()[0].name, scores)

    def distance(self, scores: Dataset, removed: Rows, kept: Rows) -> npt.NDArray[np.float32]:
        """Return in how many bits the hashes of each pair differ; NaN where a row has none."""
        hashes, is_there = hashes_of(scores)
        apart = bits_apart(hashes[removed], hashes[kept]).astype(np.float32)
        return np.where(is_there[removed] & is_there[kept], apart, np.float32(np.nan))


def hashes_of(scores: Dataset) -> tuple[Hashes, npt.NDArray[np.bool_]]:
    """Return every row's `phash`, and whether it has one; raises DataError where the scores hold no such column."""
    require_column(scores, "phash", pa.uint64())
    hashes, is_there = np.zeros(len(scores), dtype=np.uint64), np.zeros(len(scores), dtype=bool)
    start = 0
    for table in scores.tables(["phash"]):
        stop, column = start + len(table), table["phash"]
        hashes[start:stop] = column.fill_null(0).to_numpy()
        is_there[start:stop] = column.is_valid().to_numpy()
        start = stop
    return hashes, is_there
