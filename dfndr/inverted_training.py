"""Making inverted lists: centroids by k-means on a sample, the list of every vector, and how well that finds.

The number of lists a query looks into is the least that finds a wanted share of the ten nearest rows. It is chosen by
rows of the dataset that k-means did not see, against exact search, and measured on others of them.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, TypeAlias

from dfndr.dataset import Dataset
from dfndr.errors import MissingExtra, UsageError
from dfndr.format.schema import Space
from dfndr.inverted_lists import InvertedLists, Measured
from dfndr.progress import SILENT, Progress
from dfndr.seeds import rng_for
from dfndr.unit_vectors import unit, unit_blocks

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from dfndr.inverted_lists import Positions, Take, Vectors

    Packed: TypeAlias = npt.NDArray[np.uint8]

__all__ = ["invert"]

_QUERIES = 256
_NEAREST = 10
_PER_LIST = 64  # vectors of the sample for each centroid; FAISS asks for 39 at least
_PIECE = 1 << 16


def invert(
    dataset: Dataset, space: Space, *, recall: float = 0.95, progress: Progress = SILENT
) -> tuple[Packed, InvertedLists]:
    """Return the uid of each vector of a space, shape (n, 16), and its lists, about as many as the root of n.

    `recall` is the wanted share of the ten nearest rows. Raises FormatError as `unit_blocks` does, MissingExtra without
    FAISS, UsageError for a recall outside of (0, 1].
    """
    import numpy as np

    if not 0 < recall <= 1:
        raise UsageError("recall", expected="a share in (0, 1]", found=str(recall), do="Say 0.95, for example.")
    count = max(1, round((len(dataset) * space.per_row) ** 0.5))
    shuffled = rng_for(0, "ivf", space.name).permutation(len(dataset))
    asked = np.sort(shuffled[:_QUERIES])
    sample = shuffled[_QUERIES:][: ceil(count * _PER_LIST / space.per_row)]
    with progress.task(f"lists of {space.name}", len(dataset)) as task:
        task.note("k-means")
        centroids = _centroids(dataset, space, sample if len(sample) >= count else shuffled, count)
        exact = _Exact(dataset, space, asked)
        uids, places, assigned = [], [], []
        task.note(f"{len(centroids):,} lists")
        for block in unit_blocks(dataset, space):
            uids.append(block.uids)
            places.append(block.places)
            for start in range(0, len(block.vectors), _PIECE):
                piece = block.vectors[start : start + _PIECE]
                assigned.append((piece @ centroids.T).argmax(axis=1).astype(np.int32))
                exact.see(piece, block.places[start : start + _PIECE])
            task.advance(block.rows)
    every = np.concatenate([*places, np.empty(0, dtype=np.int64)])
    lists = np.concatenate([*assigned, np.empty(0, dtype=np.int32)])
    measured = exact.measured(centroids, lists, every, recall)
    packed = np.concatenate([*uids, np.empty((0, 16), dtype=np.uint8)])
    take = _take(dataset, space, every)
    return packed, InvertedLists(centroids, lists, take, measured=measured, dtype=space.dtype)


def _take(dataset: Dataset, space: Space, places: Positions) -> Take:
    """Return what reads vectors as they are stored from the dataset's own files, by their positions in an index."""

    def take(positions: Positions) -> npt.NDArray[Any]:
        import numpy as np

        rows, columns = np.divmod(places[positions], space.per_row)
        return dataset.stored(space.name, rows)[np.arange(len(rows)), columns]

    return take


def _centroids(dataset: Dataset, space: Space, rows: Positions, count: int) -> Vectors:
    """Return at most `count` centroids of unit length, by spherical k-means over the vectors of some rows."""
    import numpy as np

    try:
        import faiss
    except ImportError as error:
        raise MissingExtra.of("faiss", "search") from error
    given, fine = unit(dataset.vectors(space.name, np.sort(rows)))
    vectors = given[fine]
    if not len(vectors):
        return np.eye(1, space.dim, dtype=np.float32)
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


class _Exact:
    """The ten rows nearest to each of some rows, by looking at every vector; a row is not its own neighbour."""

    def __init__(self, dataset: Dataset, space: Space, rows: Positions) -> None:
        import numpy as np

        found, fine = unit(dataset.vectors(space.name, rows)[:, 0])
        self._rows, self._queries, self._per_row = rows[fine], found[fine], space.per_row
        self._scores = np.empty((len(self._rows), 0), dtype=np.float32)
        self._positions = np.empty((len(self._rows), 0), dtype=np.int64)
        self._seen = 0

    def see(self, vectors: Vectors, places: Positions) -> None:
        """Look at the next vectors of the index."""
        import numpy as np

        scores = self._queries @ vectors.T
        scores[self._rows[:, None] == places // self._per_row] = -np.inf
        here = np.broadcast_to(np.arange(self._seen, self._seen + len(places)), scores.shape)
        self._seen += len(places)
        keep = _NEAREST * self._per_row
        if scores.shape[1] > keep:
            best = np.argpartition(-scores, keep - 1, axis=1)[:, :keep]
            scores, here = np.take_along_axis(scores, best, 1), np.take_along_axis(here, best, 1)
        self._scores, self._positions = np.hstack([self._scores, scores]), np.hstack([self._positions, here])
        if self._scores.shape[1] > keep:
            best = np.argsort(-self._scores, axis=1, kind="stable")[:, :keep]
            self._scores = np.take_along_axis(self._scores, best, 1)
            self._positions = np.take_along_axis(self._positions, best, 1)

    def measured(
        self, centroids: Vectors, assigned: npt.NDArray[np.int32], places: Positions, recall: float
    ) -> Measured:
        """Return how many lists find the wanted share for half of the rows, and what they find for the others."""
        import numpy as np

        ranks = []
        for query, scores, positions in zip(self._queries, self._scores, self._positions, strict=True):
            order = np.lexsort((positions, -scores))[: np.isfinite(scores).sum()]
            _, firsts = np.unique(places[positions[order]] // self._per_row, return_index=True)
            nearest = positions[order[np.sort(firsts)[:_NEAREST]]]
            place = np.argsort(np.argsort(-(centroids @ query), kind="stable"))
            ranks.append(place[assigned[nearest]])
        chosen = np.sort(np.concatenate([*ranks[::2], np.empty(0, dtype=np.int64)]))
        others = np.concatenate([*(ranks[1::2] or ranks), np.empty(0, dtype=np.int64)])
        if not len(chosen) or not len(others):
            return Measured(len(centroids), 1.0, 0)
        probes = int(chosen[ceil(recall * len(chosen)) - 1]) + 1
        return Measured(probes, float((others < probes).mean()), len(ranks[1::2] or ranks))
