"""Candidates for approximate search: vectors in lists, of which a query looks into the nearest ones (IVF).

Each vector stands in the list of the centroid that it is most like (J. Sivic and A. Zisserman, "Video Google", ICCV
2003). The vectors themselves stay where they are, in their storage type; a list is read when a query looks into it.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from dfndr.format.schema import StorageType
from dfndr.format.storage_types import decode, widened
from dfndr.search.best import Best, stacked
from dfndr.search.candidates import Kind
from dfndr.search.measuring import Measured
from dfndr.search.unit_vectors import unit

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors: TypeAlias = npt.NDArray[np.float32]
    Positions: TypeAlias = npt.NDArray[np.int64]
    Mask: TypeAlias = npt.NDArray[np.bool_]
    Stored: TypeAlias = npt.NDArray[Any]
    Take: TypeAlias = Callable[[Positions], Stored]

__all__ = ["InvertedLists"]


class InvertedLists:
    """Vectors by list: `assigned` (n,) has the list of each, `take` gives vectors by their positions, as stored.

    `dtype` says how that is. `in_order` are all vectors, list after list, where they lie so.
    """

    kind: Kind = "ivf"
    batch = 256

    def __init__(
        self,
        centroids: Vectors,
        assigned: npt.NDArray[np.int32],
        take: Take,
        *,
        measured: Measured,
        dtype: StorageType,
        in_order: Stored | None = None,
    ) -> None:
        import numpy as np

        self.centroids, self.assigned, self.measured = centroids, assigned, measured
        self._take, self.dtype, self._in_order = take, dtype, in_order
        self.order = np.argsort(assigned, kind="stable")
        self._sizes = np.bincount(assigned, minlength=len(centroids))
        self.starts = np.concatenate([[0], np.cumsum(self._sizes)])
        self.error = centroids.shape[1] * 2.0**-22

    @property
    def effort(self) -> str:
        """What a search looks at, in words."""
        return f"{self.measured.probes:,} of {len(self.centroids):,} lists"

    def positions(self, number: int) -> Positions:
        """Return the positions of the vectors of one list, ascending."""
        return self.order[self.starts[number] : self.starts[number + 1]]

    def stored(self, positions: Positions) -> Stored:
        """Return vectors of shape (n, stored_dim) as they are stored."""
        return self._take(positions)

    def unit(self, positions: Positions) -> Vectors:
        """Return vectors of length one, shape (n, dim)."""
        return unit(decode(self._take(positions), self.dtype))[0]

    def only(self, kept: Positions) -> InvertedLists:
        """Return the same lists of some of the vectors."""

        def take(positions: Positions) -> Stored:
            return self._take(kept[positions])

        return InvertedLists(self.centroids, self.assigned[kept], take, measured=self.measured, dtype=self.dtype)

    def probing(self, probes: int) -> InvertedLists:
        """Return the same lists, of which a query looks into another number."""
        other = copy(self)
        other.measured = replace(self.measured, probes=probes)
        return other

    def near(self, queries: Vectors, count: int, allowed: Mask | None = None) -> tuple[Positions, Vectors]:
        """Return the numbers of the lists that each query looks into, nearest first, and their centroids' scores.

        Both have shape (n, m), the first with -1 where there are fewer. They are as many as were measured, and more
        until they hold `count` vectors that are allowed, and as many of these as the measured number of lists holds on
        average: a filter makes a search wider, not poorer.
        """
        import numpy as np

        probes, scores = min(self.measured.probes, len(self.centroids)), queries @ self.centroids.T
        if allowed is None:
            lists = np.argpartition(-scores, probes - 1, axis=1)[:, :probes]
            if (self._sizes[lists].sum(axis=1) >= count).all():
                return lists, np.take_along_axis(scores, lists, 1)
        sizes = self._sizes if allowed is None else np.bincount(self.assigned[allowed], minlength=len(self.centroids))
        usual = 0 if allowed is None else probes * len(self.assigned) // len(self.centroids)
        ranked = np.argsort(-scores, axis=1, kind="stable")
        enough = (np.cumsum(sizes[ranked], axis=1) < max(count, usual)).sum(axis=1) + 1
        wanted = np.minimum(np.maximum(enough, probes), len(self.centroids))
        lists = np.where(np.arange(wanted.max()) < wanted[:, None], ranked[:, : wanted.max()], -1)
        return lists, np.take_along_axis(scores, ranked[:, : wanted.max()], 1)

    def nearest(self, queries: Vectors, count: int, allowed: Mask | None = None) -> tuple[Vectors, Positions]:
        """Return, per query, a bound on what its lists hold beside, and the positions of `count` vectors at least."""
        import numpy as np

        wanted = self.near(queries, count, allowed)[0]
        asked, places = np.nonzero(wanted >= 0)
        lists = wanted[asked, places]
        by_list = np.argsort(lists, kind="stable")
        numbers, starts = np.unique(lists[by_list], return_index=True)
        best = [Best(count) for _ in queries]
        for number, asking in zip(numbers, np.split(asked[by_list], starts[1:]), strict=True):
            positions, scores = self._look(int(number), queries[asking], allowed)
            if len(positions):
                for query, found in zip(asking, scores, strict=True):
                    best[query].add(found, positions)
        return stacked(best, count)

    def _look(self, number: int, queries: Vectors, allowed: Mask | None) -> tuple[Positions, Vectors]:
        """Return the positions of what is allowed in a list, and the cosines in float32, shape (queries, positions)."""
        import numpy as np

        positions = self.positions(number)
        if allowed is not None and not (inside := allowed[positions]).all():
            positions = positions[inside]
            stored = self._take(positions)
        elif self._in_order is not None:
            stored = self._in_order[self.starts[number] : self.starts[number + 1]]
        else:
            stored = self._take(positions)
        block = widened(decode(stored, self.dtype))
        return positions, (queries @ block.T) / np.sqrt(np.einsum("ij,ij->i", block, block))
