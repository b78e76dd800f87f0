"""Semantic duplicates: rows whose vectors in a space have a cosine of at least a limit (after arXiv 2303.09540).

The idea is SemDeDup's: k-means first, then only vectors of one cluster are compared. A pair that a border parts would
be missed there, so each vector is also compared with its next nearest clusters. Vectors that are the same bit for bit
are found by their hash and compared once. Sorted by cluster, the vectors lie in a temporary file as large as the space.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr.progress import SILENT, Progress
from dfndr_builders.duplicates.cosine import (
    Stored,
    blocks,
    candidates,
    cosines,
    cosines_of_rows,
    on_grid,
)
from dfndr_builders.duplicates.groups import Groups, Rows, join_equal
from dfndr_builders.duplicates.kmeans import NO_VECTOR, Sample, nearest, train
from dfndr_builders.duplicates.spilled import Spilled

__all__ = ["SemanticDuplicates"]

_ALL_PAIRS = 4096  # up to so many rows, one cluster is fastest, and misses nothing
_LEFT, _RIGHT = 2048, 4096  # vectors compared at once
_PAIRS = 1 << 14


@dataclass(frozen=True)
class SemanticDuplicates:
    """Column `semantic_duplicate_group`: rows linked by pairs whose cosine in `space` is at least `cosine`.

    `clusters` is how many k-means makes (by default the root of rows x probes), `probes` how many of the nearest ones
    each vector is compared with. Links chain. Of several vectors in a row the first counts. About 170 bytes of memory
    a row at the peak, and the sample that k-means is trained on.
    """

    space: str
    cosine: float
    clusters: int | None = None
    seed: int = 0
    probes: int = 4

    def fields(self) -> list[pa.Field]:
        """Return the column."""
        return [pa.field("semantic_duplicate_group", pa.int64())]

    def tables(self, scores: Dataset, progress: Progress = SILENT) -> Iterator[pa.Table]:
        """Yield the column shard by shard; null where the row is alone or has no vector.

        Raises UsageError for a cosine outside of (0, 1], for less than one cluster or probe, and for a space that is
        not there.
        """
        self._check()
        groups = Groups(len(scores))
        wanted = self.clusters or _usual(len(scores), self.probes)
        sample = Sample.of(scores, self.space, self.seed, wanted, progress)
        there = np.flatnonzero(sample.hashes != NO_VECTOR)
        _, firsts = join_equal(groups, sample.hashes[there], there)
        firsts = np.sort(firsts)
        centroids = train(sample.vectors, wanted, progress)
        del sample, there
        if len(firsts):
            self._compare(scores, groups, firsts, centroids, progress)
        yield from groups.tables(self.fields()[0].name, scores)

    def distance(self, scores: Dataset, removed: Rows, kept: Rows) -> npt.NDArray[np.float32]:
        """Return 1 - cosine of each pair; NaN where a row has no vector."""
        return np.maximum(1 - cosines_of_rows(scores, self.space, removed, kept), 0).astype(np.float32)

    def _check(self) -> None:
        if not 0 < self.cosine <= 1:
            raise UsageError("cosine", expected="above 0, at most 1", found=str(self.cosine), do="Try 0.95.")
        if self.probes < 1 or (self.clusters is not None and self.clusters < 1):
            found = f"{self.clusters} clusters, {self.probes} probes"
            raise UsageError("semantic duplicates", expected="at least 1 of each", found=found, do="Ask for more.")

    def _compare(
        self, scores: Dataset, groups: Groups, rows: Rows, centroids: npt.NDArray[np.float32], progress: Progress
    ) -> None:
        """Join the given rows, whose vectors are distinct, with what is near them in their nearest clusters."""
        probes = np.empty((len(rows), min(self.probes, len(centroids))), dtype=np.int32)
        with progress.task(f"assign {self.space}", len(rows)) as task:
            for first, vectors in _chosen(scores, self.space, rows):
                here = slice(first, first + len(vectors))
                probes[here] = nearest(on_grid(vectors), centroids, probes.shape[1])[0]
                task.advance(len(vectors))
        space = scores.space(self.space)
        with tempfile.TemporaryDirectory() as folder:
            path, kind = Path(folder) / "vectors", np.dtype(space.dtype)
            spilled = Spilled(path, space.dim, kind, probes[:, 0].copy(), len(centroids))
            try:
                for first, vectors in _chosen(scores, self.space, rows):
                    spilled.put(first, vectors)
                self._in_clusters(groups, rows[spilled.order], spilled, _Guests(spilled, probes), progress)
            finally:
                spilled.close()

    def _in_clusters(self, groups: Groups, rows: Rows, spilled: Spilled, guests: _Guests, progress: Progress) -> None:
        """Compare, cluster by cluster, its own vectors with each other and with its guests; `rows` is by place."""
        with _one_thread(), progress.task("compare", len(rows)) as task:
            for cluster in range(guests.clusters):
                own, visiting = spilled.span(cluster), guests.of(cluster)
                for start in range(own.start, own.stop, _LEFT):
                    left = range(start, min(start + _LEFT, own.stop))
                    vectors = spilled.run(left)
                    grid = on_grid(vectors)
                    for other in range(start, own.stop, _RIGHT):
                        right = range(other, min(other + _RIGHT, own.stop))
                        self._join(groups, rows, (np.array(left), vectors, grid), (np.array(right), spilled.run(right)))
                    for other in range(0, len(visiting), _RIGHT):
                        places = visiting[other : other + _RIGHT]
                        self._join(groups, rows, (np.array(left), vectors, grid), (places, spilled.gather(places)))
                    task.advance(len(left))

    def _join(
        self,
        groups: Groups,
        rows: Rows,
        left: tuple[Rows, Stored, npt.NDArray[np.float32]],
        right: tuple[Rows, Stored],
    ) -> None:
        """Join the pairs whose cosine is at least the limit; those already in one group are not looked at again."""
        all_ones, all_others = candidates(left[2], on_grid(right[1]), self.cosine)
        for start in range(0, len(all_ones), _PAIRS):
            ones, others = all_ones[start : start + _PAIRS], all_others[start : start + _PAIRS]
            first, second = rows[left[0][ones]], rows[right[0][others]]
            differ = np.flatnonzero(groups.roots(first) != groups.roots(second))
            near = differ[cosines(left[1][ones[differ]], right[1][others[differ]]) >= self.cosine]
            groups.join(first[near], second[near])


class _Guests:
    """The vectors for which a cluster is near, but not the nearest."""

    def __init__(self, spilled: Spilled, probes: npt.NDArray[np.int32]) -> None:
        self.clusters = spilled.clusters
        kind = np.dtype(np.uint32 if len(probes) < 2**32 else np.int64)
        self._probes: list[tuple[npt.NDArray[Any], Rows]] = []
        for probe in range(1, probes.shape[1]):
            clusters = probes[spilled.order, probe]
            places = np.argsort(clusters, kind="stable").astype(kind)
            stops = np.cumsum(np.bincount(clusters, minlength=self.clusters))
            self._probes.append((places, np.concatenate([[0], stops])))

    def of(self, cluster: int) -> Rows:
        """Return their places, ascending."""
        parts = [places[stops[cluster] : stops[cluster + 1]] for places, stops in self._probes]
        return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *parts])).astype(np.int64, copy=False)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let products use one thread, where threadpoolctl is there to say so.

    Those of single clusters are small: where other programs run too, two threads that wait for each other took eight
    times as long as one.
    """
    try:
        threads = import_module("threadpoolctl")  # which comes with scikit-learn
    except ImportError:
        yield
    else:
        with threads.threadpool_limits(limits=1, user_api="blas"):
            yield


def _usual(rows: int, probes: int) -> int:
    """Return the number of clusters where assigning, rows x clusters, costs as much as comparing."""
    return 1 if rows <= _ALL_PAIRS else ceil(sqrt(rows * probes))


def _chosen(scores: Dataset, space: str, rows: Rows) -> Iterator[tuple[int, Stored]]:
    """Yield the vectors of the given rows, which ascend, block by block, each with the position of its first."""
    for start, block in blocks(scores, space):
        low, high = np.searchsorted(rows, (start, start + len(block)))
        if low < high:
            yield int(low), block[rows[low:high] - start]
