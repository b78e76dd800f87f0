"""The links of a graph (HNSW) as arrays: taken from FAISS, checked, and given to FAISS again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dfndr.format.schema import StorageType
from dfndr.format.storage_types import decode
from dfndr.search.candidates import faiss_module
from dfndr.search.unit_vectors import unit

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Whole = npt.NDArray[np.int32]

__all__ = ["LINKS", "Links", "linked", "new_index", "widths"]

LINKS = 32
_CONSTRUCTION = 100  # how many of the best so far new vectors are linked from


def new_index(dim: int, *, width: int = LINKS) -> Any:  # noqa: ANN401
    """Return an index of FAISS that links what is added to it; raises MissingExtra without FAISS."""
    faiss = faiss_module()
    index = faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_fp16, width, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = _CONSTRUCTION
    index.keep_max_size_level0 = True  # else links between near neighbours are cut, and of clusters few are left
    return index


def widths(width: int = LINKS) -> Whole:
    """Return how many links a vector has in all, by the number of levels that it is on."""
    index = new_index(4, width=width)  # held by a name: what it owns goes with it
    found: Whole = faiss_module().vector_to_array(index.hnsw.cum_nneighbor_per_level)
    return found


class Links:
    """The links as arrays: of each vector the number of its levels, all links in one, and where a search begins."""

    def __init__(self, levels: Whole, neighbors: Whole, entry: int) -> None:
        self.levels, self.neighbors, self.entry = levels, neighbors, entry

    @classmethod
    def of(cls, index: Any) -> Links:  # noqa: ANN401
        """Return those of an index."""
        import numpy as np

        faiss, hnsw = faiss_module(), index.hnsw
        size = int(hnsw.neighbors.size())
        neighbors = faiss.rev_swig_ptr(hnsw.neighbors.data(), size).copy() if size else np.empty(0, dtype=np.int32)
        return cls(faiss.vector_to_array(hnsw.levels), neighbors, max(0, int(hnsw.entry_point)))

    def are_sound(self, reach: Whole) -> bool:
        """Say whether every link leads to a vector that is there on its level, so that following them is safe.

        `reach` are the widths of its number of links, and `neighbors` is as long as these and the levels say.
        """
        import numpy as np

        count = len(self.levels)
        if not count:
            return self.entry == 0
        if not 0 <= self.entry < count or self.levels[self.entry] != self.levels.max():
            return False
        starts = np.concatenate([[0], np.cumsum(reach[self.levels])])
        for levels in range(1, int(self.levels.max()) + 1):
            of = np.repeat(np.arange(levels), np.diff(reach[: levels + 1]))
            rows = np.flatnonzero(self.levels == levels)
            for start in range(0, len(rows), 1 << 16):
                links = self.neighbors[starts[rows[start : start + (1 << 16)], None] + np.arange(len(of))]
                if (links < -1).any() or (links >= count).any():
                    return False
                if not ((links < 0) | (self.levels[links] > of)).all():
                    return False
        return True


def linked(links: Links, vectors: Any, *, dim: int, dtype: StorageType, width: int) -> Any:  # noqa: ANN401
    """Return FAISS's index of vectors, shape (n, stored_dim) as they are stored, that are linked already."""
    import numpy as np

    faiss, index, count = faiss_module(), new_index(dim, width=width), len(links.levels)
    for start in range(0, count, 1 << 16):
        index.storage.add(unit(decode(np.asarray(vectors[start : start + (1 << 16)]), dtype))[0])
    index.ntotal = count
    faiss.copy_array_to_vector(np.ascontiguousarray(links.levels, dtype=np.int32), index.hnsw.levels)
    index.hnsw.prepare_level_tab(count, True)
    if len(links.neighbors):
        faiss.rev_swig_ptr(index.hnsw.neighbors.data(), len(links.neighbors))[:] = links.neighbors
    index.hnsw.entry_point = links.entry if count else -1
    index.hnsw.max_level = int(links.levels.max(initial=0)) - 1
    return index
