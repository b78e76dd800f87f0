"""Inverted lists with a short code of each vector in memory, so that a search reads but few of the vectors (IVF-PQ).

What is left of a vector without its centroid is cut into pieces, and each piece coded by the nearest of 256 (H. Jégou,
M. Douze and C. Schmid, "Product Quantization for Nearest Neighbor Search", TPAMI 2011). FAISS scans the codes; a few
times as many vectors as were asked for are then read and compared exactly.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from dfndr.search.candidates import Kind, faiss_module, only
from dfndr.search.inverted_lists import InvertedLists

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from dfndr.search.inverted_lists import Mask, Positions, Vectors
    from dfndr.search.measuring import Measured

    Codes = npt.NDArray[np.uint8]

__all__ = ["ProductCodes", "bytes_of", "encoded", "learned"]

_VALUES = 256
_DIMS_A_BYTE = 4
_SAMPLE = _VALUES * 256  # as many as FAISS learns from
_MOST = 4096  # beyond so many candidates all of a list's vectors are read instead


class ProductCodes:
    """Lists, and of their vectors `codes` of shape (n, bytes), list after list.

    `codebooks`, float32 of shape (bytes, 256, dim / bytes), has the pieces that codes stand for; `fetched` says how
    many times as many vectors are read as are wanted.
    """

    kind: Kind = "ivfpq"
    batch = 256

    def __init__(
        self, lists: InvertedLists, codebooks: Vectors, codes: Codes, *, fetched: int, measured: Measured
    ) -> None:
        self.lists, self.codebooks, self.codes = lists, codebooks, codes
        self.fetched, self.measured, self.error = fetched, measured, lists.error
        self._index, self._quantizer = _faiss_of(lists, codebooks, codes)

    @property
    def effort(self) -> str:
        """What a search looks at, in words."""
        return f"{self.lists.effort}, {self.codes.shape[1]} bytes a vector, {self.fetched} x as many read"

    def unit(self, positions: Positions) -> Vectors:
        """Return vectors of length one, shape (n, dim)."""
        return self.lists.unit(positions)

    def only(self, kept: Positions) -> ProductCodes:
        """Return the same for some of the vectors."""
        import numpy as np

        by_position = np.empty_like(self.codes)
        by_position[self.lists.order] = self.codes
        lists = self.lists.only(kept)
        codes = by_position[kept][lists.order]
        return ProductCodes(lists, self.codebooks, codes, fetched=self.fetched, measured=self.measured)

    def fetching(self, fetched: int, measured: Measured) -> ProductCodes:
        """Return the same with another number of vectors read."""
        other = copy(self)
        other.fetched, other.measured = fetched, measured
        return other

    def nearest(self, queries: Vectors, count: int, allowed: Mask | None = None) -> tuple[Vectors, Positions]:
        """Return positions whose codes say that they are near; nothing is promised of what is left out."""
        import numpy as np

        wanted = min(count * self.fetched, len(self.codes))
        if count > _MOST:
            return self.lists.nearest(queries, count, allowed)
        faiss = faiss_module()
        lists, near = self.lists.near(queries, wanted, allowed)
        lists, near = np.ascontiguousarray(lists, dtype=np.int64), np.ascontiguousarray(near, dtype=np.float32)
        chosen = None if allowed is None else only(allowed)
        params = faiss.SearchParametersIVF(nprobe=lists.shape[1], sel=chosen)
        scores = np.empty((len(queries), wanted), dtype=np.float32)
        positions = np.empty((len(queries), wanted), dtype=np.int64)
        given, found = (
            [faiss.swig_ptr(one) for one in (lists, near)],
            [faiss.swig_ptr(scores), faiss.swig_ptr(positions)],
        )
        asked = np.ascontiguousarray(queries, dtype=np.float32)
        # What FAISS's method for Python does, which takes no parameters.
        self._index.search_preassigned_c(len(asked), faiss.swig_ptr(asked), wanted, *given, *found, False, params)
        return np.full(len(queries), -np.inf, dtype=np.float32), positions


def bytes_of(dim: int) -> int:
    """Return how long a code is: a byte for four numbers, or for as few more as divide them evenly."""
    return next(size for size in range(max(1, dim // _DIMS_A_BYTE), 0, -1) if dim % size == 0)


def learned(vectors: Vectors) -> Vectors:
    """Return codebooks learned from what is left of a sample of vectors without their centroids, shape (n, dim)."""
    import numpy as np

    dim = vectors.shape[1]
    quantizer = _quantizer(dim, bytes_of(dim))
    few = vectors[:_SAMPLE]
    # FAISS wants as many as there are values; where there are fewer they are learned more than once.
    given = np.ascontiguousarray(np.resize(few, (max(len(few), _VALUES), dim)), dtype=np.float32)
    quantizer.cp.niter, quantizer.cp.min_points_per_centroid = 10, 1
    quantizer.train(given)
    books: Vectors = faiss_module().vector_to_array(quantizer.centroids).reshape(quantizer.M, _VALUES, -1)
    return books


def encoded(codebooks: Vectors, vectors: Vectors) -> Codes:
    """Return the codes of what is left of vectors without their centroids, shape (n, bytes)."""
    import numpy as np

    quantizer = _quantizer(vectors.shape[1], len(codebooks))
    faiss_module().copy_array_to_vector(np.ascontiguousarray(codebooks).ravel(), quantizer.centroids)
    codes: Codes = quantizer.compute_codes(np.ascontiguousarray(vectors))
    return codes


def _quantizer(dim: int, size: int) -> Any:  # noqa: ANN401  FAISS has no types
    return faiss_module().ProductQuantizer(dim, size, 8)


def _faiss_of(lists: InvertedLists, codebooks: Vectors, codes: Codes) -> tuple[Any, Any]:
    """Return FAISS's index of these arrays, and the quantizer that it refers to."""
    import numpy as np

    faiss = faiss_module()
    count, dim = lists.centroids.shape
    quantizer = faiss.IndexFlatIP(dim)
    quantizer.add(lists.centroids)
    index = faiss.IndexIVFPQ(quantizer, dim, count, len(codebooks), 8, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(np.ascontiguousarray(codebooks, dtype=np.float32).ravel(), index.pq.centroids)
    index.is_trained, index.ntotal = True, len(codes)
    for number in range(count):
        ids = np.ascontiguousarray(lists.positions(number))
        if len(ids):
            mine = np.ascontiguousarray(codes[lists.starts[number] : lists.starts[number + 1]])
            index.invlists.add_entries(number, len(ids), faiss.swig_ptr(ids), faiss.swig_ptr(mine))
    return index, quantizer
