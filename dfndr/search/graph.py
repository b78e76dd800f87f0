"""Candidates by following a graph of neighbours, from few far ones to many near ones (HNSW).

Yu. Malkov and D. Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small
World graphs", TPAMI 2020. FAISS links the vectors and follows the links, over the vectors as float16; scores are those
of the vectors as they are stored.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from dfndr.format.schema import StorageType
from dfndr.format.storage_types import decode
from dfndr.search.best import scan
from dfndr.search.candidates import Kind, faiss_module, only
from dfndr.search.unit_vectors import unit

if TYPE_CHECKING:
    from dfndr.search.inverted_lists import Mask, Positions, Stored, Take, Vectors
    from dfndr.search.measuring import Measured

__all__ = ["Graph"]

_MOST = 4096
_LOOKS = 16  # how many vectors a search looks at for each of the best so far, roughly


class Graph:
    """A FAISS index of n vectors; `take` gives them by position, as stored, which `dtype` says."""

    kind: Kind = "hnsw"
    batch = 2048

    def __init__(self, index: Any, take: Take, *, measured: Measured, dtype: StorageType) -> None:  # noqa: ANN401
        self.index, self._take, self.measured, self.dtype = index, take, measured, dtype
        self.error = index.d * 2.0**-22
        self._inner: Positions | None = None  # where rows were taken out: the vectors that are left

    @property
    def effort(self) -> str:
        """What a search looks at, in words."""
        return f"a graph of {self.links} links, {self.measured.probes:,} of the best followed"

    @property
    def links(self) -> int:
        """How many links a vector has on each level but the lowest, which has twice as many."""
        return int(self.index.hnsw.nb_neighbors(1))

    @property
    def is_whole(self) -> bool:
        """Whether all the vectors that are linked can be found."""
        return self._inner is None

    def __len__(self) -> int:
        return int(self.index.ntotal) if self._inner is None else len(self._inner)

    def stored(self, positions: Positions) -> Stored:
        """Return vectors of shape (n, stored_dim) as they are stored."""
        return self._take(positions if self._inner is None else self._inner[positions])

    def unit(self, positions: Positions) -> Vectors:
        """Return vectors of length one, shape (n, dim)."""
        return unit(decode(self.stored(positions), self.dtype))[0]

    def only(self, kept: Positions) -> Graph:
        """Return the same graph, of which some vectors alone are found: the others still lead to them."""
        other = copy(self)
        other._inner = kept if self._inner is None else self._inner[kept]
        return other

    def following(self, measured: Measured) -> Graph:
        """Return the same graph, followed from another number of the best so far."""
        other = copy(self)
        other.measured = measured
        return other

    def nearest(self, queries: Vectors, count: int, allowed: Mask | None = None) -> tuple[Vectors, Positions]:
        """Return positions that the graph led to; nothing is promised of what is left out.

        A filter makes a search wider by as much as it leaves out. Where it would be led to as many vectors as there
        are to be found, or very many are asked for, each of these is looked at instead.
        """
        import numpy as np

        rows = len(self) if allowed is None else int(allowed.sum())
        breadth = int(max(self.measured.probes, count) * self.index.ntotal / max(rows, 1))
        if count > _MOST or count >= rows or breadth * _LOOKS >= rows:
            every = np.arange(len(self)) if allowed is None else np.flatnonzero(allowed)
            return scan(queries, every, count, unit=self.unit)
        faiss = faiss_module()
        chosen = self._chosen(allowed)
        params = faiss.SearchParametersHNSW(efSearch=breadth, sel=None if chosen is None else only(chosen))
        positions = self.index.search(np.ascontiguousarray(queries), count, params=params)[1]
        if self._inner is not None:
            positions = np.where(positions < 0, -1, np.searchsorted(self._inner, positions))
        return np.full(len(queries), -np.inf, dtype=np.float32), positions

    def _chosen(self, allowed: Mask | None) -> Mask | None:
        """Return which of the linked vectors may be found, None for all."""
        import numpy as np

        if self._inner is None:
            return allowed
        chosen = np.zeros(self.index.ntotal, dtype=bool)
        chosen[self._inner] = True if allowed is None else allowed
        return chosen
