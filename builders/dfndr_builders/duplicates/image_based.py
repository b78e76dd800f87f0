"""DataComp's image-based filter: pictures that share a cluster with a reference picture (arXiv 2304.14108, 3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.dataset import Dataset
from dfndr.encoder import open_encoder
from dfndr.errors import PoolError, UsageError
from dfndr.models import EncoderSpec
from dfndr.progress import SILENT, Progress
from dfndr_builders.duplicates.cosine import Grid, blocks, on_grid
from dfndr_builders.duplicates.kmeans import Sample, nearest, train
from dfndr_builders.pools.base import Pool
from dfndr_builders.stage import good_rows

__all__ = ["ImageBasedScore"]

_ROUNDS = 20


@dataclass(frozen=True)
class ImageBasedScore:
    """Derive column `name`, float32: 1 where a row's cluster is that of a reference picture, else 0.

    The clusters are those of k-means over the pool's vectors, 20 rounds, seeded (see `kmeans`); a row and a reference
    picture lie in the cluster of the largest dot product. `encoder` is the model of the space, which embeds the
    reference pictures, and a row without a vector has a null.
    """

    name: str
    space: str
    clusters: int
    seed: int
    references: Pool
    encoder: EncoderSpec

    def fields(self) -> list[pa.Field]:
        """Return the column."""
        return [pa.field(self.name, pa.float32())]

    def tables(self, scores: Dataset, progress: Progress = SILENT) -> Iterator[pa.Table]:
        """Yield the column shard by shard; raises PoolError where no reference picture can be used."""
        if self.clusters < 1:
            raise UsageError("clusters", expected="at least 1", found=str(self.clusters), do="Ask for more.")
        sample = Sample.of(scores, self.space, self.seed, self.clusters, progress)
        centroids = train(sample.vectors, self.clusters, progress, rounds=_ROUNDS)
        chosen = self._chosen(centroids, progress)
        found, there = np.zeros(len(scores), dtype=np.float32), np.zeros(len(scores), dtype=np.bool_)
        with progress.task(f"cluster {self.space}", len(scores)) as task:
            for start, block in blocks(scores, self.space):
                rows = np.flatnonzero(block.any(axis=1))
                if len(rows):
                    own = nearest(on_grid(block[rows]), centroids, 1)[0][:, 0]
                    found[start + rows], there[start + rows] = chosen[own], True
                task.advance(len(block))
        start = 0
        for shard in scores.shards:
            here = slice(start, start + shard.rows)
            yield pa.table({self.name: pa.array(found[here], pa.float32(), mask=~there[here])})
            start += shard.rows

    def _chosen(self, centroids: Grid, progress: Progress) -> npt.NDArray[np.bool_]:
        """Say of each cluster whether it is the nearest one of some reference picture."""
        encoder, chosen = open_encoder(self.encoder), np.zeros(len(centroids), dtype=np.bool_)
        used, met = 0, 0
        with progress.task("embed the reference pictures", total=None) as task:
            for shard in self.references.shards():
                for table in self.references.read(shard):
                    rows = good_rows(table)
                    done = encoder.encode_images([table["image"][row].as_py() for row in rows])
                    usable = [place for place in range(len(rows)) if place not in done.problems]
                    if usable and len(centroids):
                        chosen[nearest(on_grid(done.vectors[usable]), centroids, 1)[0][:, 0]] = True
                    used, met = used + len(usable), met + len(table)
                    task.advance(len(table))
        if not used:
            do = f"Check the pool of [[score]] {self.name}."
            raise PoolError(self.name, expected="reference pictures", found=f"none of {met:,} can be used", do=do)
        progress.say(
            f"{self.name}: {used:,} reference pictures ({met - used:,} could not be used) lie in {int(chosen.sum()):,} "
            f"of {len(centroids):,} clusters"
        )
        return chosen
