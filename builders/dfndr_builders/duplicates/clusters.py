"""Clusters of a space as a column: what a selection that keeps a balance between kinds of pictures goes by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr.progress import SILENT, Progress
from dfndr_builders.duplicates.cosine import blocks, on_grid
from dfndr_builders.duplicates.kmeans import Sample, nearest, train

__all__ = ["Clusters"]


@dataclass(frozen=True)
class Clusters:
    """Column `cluster`, int32 from 0 to count - 1: the nearest centroid by cosine; null where a row has no vector.

    Spherical k-means on at most 50 distinct vectors for each cluster, chosen by the seed and their content; where there
    are fewer vectors than clusters, each is one. About 40 bytes of memory a row at the peak, and the sample.
    """

    space: str
    count: int
    seed: int = 0

    def fields(self) -> list[pa.Field]:
        """Return the column."""
        return [pa.field("cluster", pa.int32())]

    def tables(self, scores: Dataset, progress: Progress = SILENT) -> Iterator[pa.Table]:
        """Yield the column shard by shard; raises UsageError for a count below one or a space that is not there."""
        if self.count < 1:
            raise UsageError("clusters", expected="at least 1", found=str(self.count), do="Ask for more.")
        centroids = train(Sample.of(scores, self.space, self.seed, self.count, progress).vectors, self.count, progress)
        found = np.full(len(scores), -1, dtype=np.int32)
        with progress.task(f"cluster {self.space}", len(scores)) as task:
            for start, block in blocks(scores, self.space):
                rows = np.flatnonzero(block.any(axis=1))
                if len(rows):
                    found[start + rows] = nearest(on_grid(block[rows]), centroids, 1)[0][:, 0]
                task.advance(len(block))
        start = 0
        for shard in scores.shards:
            here = found[start : start + shard.rows]
            yield pa.table({"cluster": pa.array(here, pa.int32(), mask=here < 0)})
            start += shard.rows
