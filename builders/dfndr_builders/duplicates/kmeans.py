"""Spherical k-means over a space, out of core: the same centroids and clusters for any order of the shards.

A sample of the vectors is chosen and ordered by a hash of their content, so neither rows nor uids matter. All dot
products are exact (see `cosine`), and so are the sums of a cluster's vectors, which are whole numbers; equal dot
products go to the cluster with the smaller number. So one seed gives one answer, whatever the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dfndr.dataset import Dataset
from dfndr.progress import Progress
from dfndr.seeds import hash_int
from dfndr_builders.duplicates.cosine import LENGTH, Grid, blocks, content_hashes, on_grid

__all__ = ["NO_VECTOR", "Sample", "nearest", "train"]

NO_VECTOR = np.uint64(2**64 - 1)
"""The content hash of a row whose vector is all zeros, which has no direction."""

_ROUNDS = 10
_PER_CENTROID = 50  # FAISS warns below 39
_BLOCK = 1 << 22  # dot products held at once


@dataclass(frozen=True)
class Sample:
    """The content hash of every row, and the distinct vectors on which k-means is trained, at most `most`."""

    hashes: npt.NDArray[np.uint64]
    vectors: Grid

    @classmethod
    def of(cls, scores: Dataset, space: str, seed: int, clusters: int, progress: Progress) -> Sample:
        """Read the space twice: for the hashes, and for the vectors whose mixed hashes are the smallest."""
        hashes = _all_hashes(scores, space, progress)
        most, salt = _PER_CENTROID * clusters, np.uint64(hash_int(seed, "k-means sample"))
        distinct = np.unique(hashes)
        mixed = _mixed(distinct[distinct != NO_VECTOR], salt)
        if len(mixed) > most:
            mixed = np.partition(mixed, most - 1)[:most]
        mixed = np.sort(mixed)
        vectors = np.zeros((len(mixed), scores.space(space).dim), dtype=np.float32)
        limit = mixed[-1] if len(mixed) else np.uint64(0)
        with progress.task(f"sample {space}", len(scores)) as task:
            for start, block in blocks(scores, space):
                here = hashes[start : start + len(block)]
                keys = _mixed(here, salt)
                rows = np.flatnonzero((keys <= limit) & (here != NO_VECTOR))
                vectors[np.searchsorted(mixed, keys[rows])] = on_grid(block[rows])
                task.advance(len(block))
        return cls(hashes, vectors)


def _all_hashes(scores: Dataset, space: str, progress: Progress) -> npt.NDArray[np.uint64]:
    found = np.empty(len(scores), dtype=np.uint64)
    with progress.task(f"hash {space}", len(scores)) as task:
        for start, block in blocks(scores, space):
            found[start : start + len(block)] = np.where(block.any(axis=1), content_hashes(block), NO_VECTOR)
            task.advance(len(block))
    return found


def _mixed(values: npt.NDArray[np.uint64], salt: np.uint64) -> npt.NDArray[np.uint64]:
    """Return a keyed bijection of the values: the finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""
    mixed = values ^ salt
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64)


def train(vectors: Grid, clusters: int, progress: Progress, *, rounds: int = _ROUNDS) -> Grid:
    """Return the centroids, shape (clusters or as many as there are vectors, dim), after some rounds of Lloyd's.

    The first vectors are the first centroids; a cluster that runs empty takes the vector least like its own centroid.
    """
    centroids = vectors[:clusters].copy()
    with progress.task("k-means", rounds, "rounds") as task:
        for _ in range(rounds if len(vectors) else 0):
            own, likeness = nearest(vectors, centroids, 1)
            order = np.argsort(own[:, 0], kind="stable")
            sizes = np.bincount(own[:, 0], minlength=len(centroids))
            filled, starts = np.flatnonzero(sizes), np.cumsum(sizes) - sizes
            for cluster in filled:
                members = order[starts[cluster] : starts[cluster] + sizes[cluster]]
                total = vectors[members].sum(axis=0, dtype=np.float64)
                if total.any():
                    centroids[cluster] = np.rint(total * (LENGTH / np.sqrt(_square(total))))
            empty = np.flatnonzero(sizes == 0)
            centroids[empty] = vectors[np.argsort(likeness[:, 0], kind="stable")[: len(empty)]]
            task.advance()
    return centroids


def _square(total: npt.NDArray[np.float64]) -> float:
    """Return the squared length of a vector of whole numbers; summed in order, since it may outgrow float64."""
    return float(np.add.accumulate(total * total)[-1])


def nearest(vectors: Grid, centroids: Grid, count: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return the `count` centroids of the largest dot products, best first, and those; both of shape (n, count)."""
    places = np.empty((len(vectors), count), dtype=np.int32)
    likeness = np.empty((len(vectors), count), dtype=np.float32)
    step = max(1, _BLOCK // max(1, len(centroids)))
    for start in range(0, len(vectors), step):
        products = vectors[start : start + step] @ centroids.T
        every = np.arange(len(products))
        for place in range(count):
            best = products.argmax(axis=1)
            places[start : start + step, place] = best
            likeness[start : start + step, place] = products[every, best]
            products[every, best] = -np.inf
    return places, likeness
