"""Candidates for approximate search: vectors in lists, of which a query looks into the nearest ones (IVF).

Each vector stands in the list of the centroid that it is most like (J. Sivic and A. Zisserman, "Video Google", ICCV
2003). The vectors themselves stay where they are, in their storage type; a list is read when a query looks into it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from dfndr.format.schema import StorageType
from dfndr.format.storage_types import decode
from dfndr.unit_vectors import unit

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors: TypeAlias = npt.NDArray[np.float32]
    Positions: TypeAlias = npt.NDArray[np.int64]
    Mask: TypeAlias = npt.NDArray[np.bool_]
    Take: TypeAlias = Callable[[Positions], npt.NDArray[Any]]

__all__ = ["InvertedLists", "Measured"]


@dataclass(frozen=True)
class Measured:
    """How many lists a query looks into, and the share of the ten nearest that it then found, over `queries` rows."""

    probes: int
    recall_at_10: float
    queries: int


class InvertedLists:
    """Vectors by list: `assigned` (n,) has the list of each, `take` gives vectors by their positions, as stored.

    `dtype` says how that is.
    """

    kind = "ivf"

    def __init__(
        self,
        centroids: Vectors,
        assigned: npt.NDArray[np.int32],
        take: Take,
        *,
        measured: Measured,
        dtype: StorageType,
    ) -> None:
        import numpy as np

        self.centroids, self.assigned, self.measured = centroids, assigned, measured
        self._take, self.dtype = take, dtype
        self.order = np.argsort(assigned, kind="stable")
        self._sizes = np.bincount(assigned, minlength=len(centroids))
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)])
        self.error = centroids.shape[1] * 2.0**-22

    def positions(self, number: int) -> Positions:
        """Return the positions of the vectors of one list, ascending."""
        return self.order[self._starts[number] : self._starts[number + 1]]

    def stored(self, positions: Positions) -> npt.NDArray[Any]:
        """Return vectors of shape (n, stored_dim) as they are stored."""
        return self._take(positions)

    def unit(self, positions: Positions) -> Vectors:
        """Return vectors of length one, shape (n, dim)."""
        return unit(decode(self._take(positions), self.dtype))[0]

    def nearest(self, queries: Vectors, count: int, allowed: Mask | None = None) -> tuple[Vectors, list[Positions]]:
        """Return, per query, a bound on what its lists hold beside, and the positions of `count` vectors at least.

        As many lists are read as were measured, and more until they hold `count` vectors that are allowed, and as many
        of these as the measured number of lists holds on average: a filter makes a search wider, not poorer.
        """
        import numpy as np

        ranked = np.argsort(-(queries @ self.centroids.T), axis=1, kind="stable")
        sizes = self._sizes if allowed is None else np.bincount(self.assigned[allowed], minlength=len(self.centroids))
        usual = self.measured.probes * len(self.assigned) // len(self.centroids)
        enough = (np.cumsum(sizes[ranked], axis=1) < max(count, usual if allowed is not None else 0)).sum(axis=1) + 1
        wanted = np.arange(ranked.shape[1]) < np.maximum(enough, self.measured.probes)[:, None]
        asked, places = np.nonzero(wanted)
        lists = ranked[asked, places]
        best = [_Best(count) for _ in queries]
        for number in np.unique(lists):
            positions = self.positions(number)
            positions = positions if allowed is None else positions[allowed[positions]]
            if len(positions):
                asking = asked[lists == number]
                for query, scores in zip(asking, self._scores(queries[asking], positions), strict=True):
                    best[query].add(scores, positions)
        found = [one.end() for one in best]
        return np.array([limit for limit, _ in found], dtype=np.float32), [positions for _, positions in found]

    def _scores(self, queries: Vectors, positions: Positions) -> Vectors:
        """Return cosines in float32, shape (queries, positions)."""
        import numpy as np

        block = decode(self._take(positions), self.dtype).astype(np.float32, copy=False)
        scores: Vectors = (queries @ block.T) / np.sqrt(np.einsum("ij,ij->i", block, block))
        return scores


class _Best:
    """The `count` best scores of one query so far, and the best of those that were left out."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._scores: list[Vectors] = []
        self._positions: list[Positions] = []
        self._held, self._limit = 0, float("-inf")

    def add(self, scores: Vectors, positions: Positions) -> None:
        self._scores.append(scores)
        self._positions.append(positions)
        self._held += len(scores)
        if self._held > 4 * self._count + (1 << 16):
            self._cut()

    def _cut(self) -> None:
        import numpy as np

        scores = np.concatenate([*self._scores, np.empty(0, dtype=np.float32)])
        positions = np.concatenate([*self._positions, np.empty(0, dtype=np.int64)])
        if len(scores) > self._count:
            order = np.argpartition(-scores, self._count)
            self._limit = max(self._limit, float(scores[order[self._count]]))
            scores, positions = scores[order[: self._count]], positions[order[: self._count]]
        self._scores, self._positions, self._held = [scores], [positions], len(scores)

    def end(self) -> tuple[float, Positions]:
        self._cut()
        return self._limit, self._positions[0]
