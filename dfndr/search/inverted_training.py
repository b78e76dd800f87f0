"""Making inverted lists: centroids by k-means on a sample, the list of every vector, and how well that finds.

The number of lists a query looks into is the least that finds a wanted share of the ten nearest rows. It is chosen by
rows of the dataset that k-means did not see, against exact search, and measured on others of them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING, TypeAlias

from dfndr.dataset import Dataset
from dfndr.format.schema import Space
from dfndr.progress import SILENT, Progress
from dfndr.search.candidates import faiss_module, on_gpu
from dfndr.search.inverted_lists import InvertedLists
from dfndr.search.measuring import Measured, Truth
from dfndr.search.unit_vectors import taking, unit, unit_blocks
from dfndr.seeds import rng_for

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from dfndr.search.inverted_lists import Positions, Vectors

    Packed: TypeAlias = npt.NDArray[np.uint8]

__all__ = ["asked_rows", "invert", "lists_needed"]

_QUERIES = 256
_PER_LIST = 64  # vectors of the sample for each centroid; FAISS asks for 39 at least
_PIECE = 1 << 16


def asked_rows(dataset: Dataset, space: Space, more: int = 0) -> tuple[Positions, Positions]:
    """Return the numbers of 256 rows that an index is measured by, and of `more` others to learn from, at random."""
    rng, rows = rng_for(0, "ivf", space.name), len(dataset)
    drawn = rng.choice(rows, size=min(rows, _QUERIES + more), replace=False)
    return drawn[:_QUERIES], drawn[_QUERIES:]


def invert(
    dataset: Dataset, space: Space, *, recall: float = 0.95, progress: Progress = SILENT
) -> tuple[Packed, InvertedLists, Truth]:
    """Return the uid of each vector of a space, shape (n, 16), and its lists, about as many as the root of n.

    `recall` is the wanted share of the ten nearest rows; what they truly are comes with it. Raises FormatError as
    `unit_blocks` does, MissingExtra without FAISS.
    """
    import numpy as np

    count = max(1, round((len(dataset) * space.per_row) ** 0.5))
    asked, sample = asked_rows(dataset, space, ceil(count * _PER_LIST / space.per_row))
    faiss_module()
    with progress.task(f"lists of {space.name}", len(dataset)) as task:
        task.note("k-means")
        rows = sample if len(sample) >= count else np.concatenate([asked, sample])
        centroids = _centroids(dataset, space, rows, count)
        truth = Truth(dataset, space, np.sort(asked))
        find = _nearest_of(centroids)
        uids, places, assigned = [], [], []
        task.note(f"{len(centroids):,} lists")
        for block in unit_blocks(dataset, space):
            uids.append(block.uids)
            places.append(block.places)
            for start in range(0, len(block.vectors), _PIECE):
                piece = block.vectors[start : start + _PIECE]
                assigned.append(find(piece))
                truth.see(piece, block.places[start : start + _PIECE])
            task.advance(block.rows)
    every = np.concatenate([*places, np.empty(0, dtype=np.int64)])
    lists = np.concatenate([*assigned, np.empty(0, dtype=np.int32)])
    measured = lists_needed(truth, centroids, lists, recall)
    packed = np.concatenate([*uids, np.empty((0, 16), dtype=np.uint8)])
    take = taking(dataset, space, every)
    return packed, InvertedLists(centroids, lists, take, measured=measured, dtype=space.dtype), truth


def _nearest_of(centroids: Vectors) -> Callable[[Vectors], npt.NDArray[np.int32]]:
    """Return what finds the number of the centroid that each vector is most like."""
    import numpy as np

    index = faiss_module().IndexFlatIP(centroids.shape[1])
    index.add(centroids)
    index = on_gpu(index) or index

    def find(vectors: Vectors) -> npt.NDArray[np.int32]:
        return index.search(vectors, 1)[1][:, 0].astype(np.int32) if len(vectors) else np.empty(0, dtype=np.int32)

    return find


def _centroids(dataset: Dataset, space: Space, rows: Positions, count: int) -> Vectors:
    """Return at most `count` centroids of unit length, by spherical k-means over the vectors of some rows."""
    import numpy as np

    given, fine = unit(dataset.vectors(space.name, np.sort(rows)))
    vectors = given[fine]
    if not len(vectors):
        return np.eye(1, space.dim, dtype=np.float32)
    faiss = faiss_module()
    found = faiss.Kmeans(
        space.dim,
        min(count, len(vectors)),
        niter=10,
        seed=1234,
        spherical=True,
        gpu=faiss.get_num_gpus() > 0,
        min_points_per_centroid=1,
        max_points_per_centroid=1 << 30,
    )
    found.train(vectors)
    centroids: Vectors = np.ascontiguousarray(found.centroids, dtype=np.float32)
    return centroids


def lists_needed(truth: Truth, centroids: Vectors, assigned: npt.NDArray[np.int32], recall: float) -> Measured:
    """Return how many lists find the wanted share for half of the rows, and what they find for the others."""
    import numpy as np

    ranks = []
    for query, nearest in zip(truth.queries, truth.nearest(), strict=True):
        place = np.argsort(np.argsort(-(centroids @ query), kind="stable"))
        ranks.append(place[assigned[nearest]])
    chosen = np.sort(np.concatenate([*ranks[::2], np.empty(0, dtype=np.int64)]))
    others = np.concatenate([*(ranks[1::2] or ranks), np.empty(0, dtype=np.int64)])
    if not len(chosen) or not len(others):
        return Measured(len(centroids), 1.0, 0)
    probes = int(chosen[ceil(recall * len(chosen)) - 1]) + 1
    return Measured(probes, float((others < probes).mean()), len(ranks[1::2] or ranks))
