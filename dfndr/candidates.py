"""Candidates for exact search: unit vectors held by FAISS, on a GPU where it sees one, or by NumPy."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dfndr.errors import MissingExtra

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Vectors = npt.NDArray[np.float32]

__all__ = ["Candidates", "Exact", "Kind", "candidates_of"]

Kind = Literal["auto", "exact", "faiss", "numpy", "ivf"]
_BLOCK = 1 << 16
_GPU_MOST = 2048  # the most neighbours that FAISS gives on a GPU
_log = logging.getLogger(__name__)


class Candidates(Protocol):
    """Vectors, and the way to find those near a query."""

    kind: str
    error: float  # by how much a score of `nearest` may be off

    def nearest(
        self, queries: Vectors, count: int, allowed: Mask | None = None
    ) -> tuple[Vectors, Iterable[npt.NDArray[np.int64]]]:
        """Return, per query, a bound on the scores of what was left out, shape (n,), and the positions of what was not.

        `allowed` says for each vector whether it may be found. At least `count` positions each, in any order.
        """

    def unit(self, positions: npt.NDArray[np.int64]) -> Vectors:
        """Return some of the vectors, each of length one."""


class Exact(Candidates, Protocol):
    """Candidates that look at every vector; `vectors`, of length one, have shape (n, dim)."""

    vectors: Vectors


class _Numpy:
    kind = "numpy"

    def __init__(self, vectors: Vectors) -> None:
        self.vectors, self.error = vectors, vectors.shape[1] * 2.0**-23

    def unit(self, positions: npt.NDArray[np.int64]) -> Vectors:
        found: Vectors = self.vectors[positions]
        return found

    def nearest(
        self, queries: Vectors, count: int, allowed: Mask | None = None
    ) -> tuple[Vectors, npt.NDArray[np.int64]]:
        import numpy as np

        scores = np.empty((len(queries), 0), dtype=np.float32)
        positions = np.empty((len(queries), 0), dtype=np.int64)
        for start in range(0, len(self.vectors), _BLOCK):
            block = queries @ self.vectors[start : start + _BLOCK].T
            if allowed is not None:
                block[:, ~allowed[start : start + _BLOCK]] = -np.inf
            here = np.broadcast_to(np.arange(start, start + block.shape[1]), block.shape)
            scores, positions = np.hstack([scores, block]), np.hstack([positions, here])
            if scores.shape[1] > count:
                best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
                scores, positions = np.take_along_axis(scores, best, 1), np.take_along_axis(positions, best, 1)
        return scores.min(axis=1), positions


class _Faiss:
    kind = "faiss"

    def __init__(self, vectors: Vectors) -> None:
        import faiss
        import numpy as np

        count, dim = vectors.shape
        self._cpu = faiss.IndexFlatIP(dim)
        for start in range(0, count, _BLOCK):
            self._cpu.add(np.ascontiguousarray(vectors[start : start + _BLOCK]))
        # FAISS holds a copy; looking at that one lets the given one go.
        self.vectors = faiss.rev_swig_ptr(self._cpu.get_xb(), count * dim).reshape(count, dim) if count else vectors
        self._gpu = _on_gpu(self._cpu)
        # A GPU may multiply in TF32, which keeps 10 bits.
        self.error = dim * 2.0**-23 + (2.0**-9 if self._gpu is not None else 0)

    def unit(self, positions: npt.NDArray[np.int64]) -> Vectors:
        found: Vectors = self.vectors[positions]
        return found

    def nearest(
        self, queries: Vectors, count: int, allowed: Mask | None = None
    ) -> tuple[Vectors, npt.NDArray[np.int64]]:
        if allowed is not None:  # which FAISS knows on a CPU alone
            scores, positions = self._cpu.search(queries, count, params=_only(allowed))
        else:
            index = self._gpu if self._gpu is not None and count <= _GPU_MOST else self._cpu
            scores, positions = index.search(queries, count)
        return scores[:, -1], positions


def _only(allowed: Mask) -> Any:  # noqa: ANN401  FAISS's own types know neither keywords nor arrays
    import numpy as np

    faiss: Any = import_module("faiss")
    return faiss.SearchParameters(sel=faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little")))


def _on_gpu(index: Any) -> Any:  # noqa: ANN401  FAISS has no types
    """Return a copy of an index on all GPUs that FAISS sees; None without one, or where it does not fit."""
    import faiss

    if faiss.get_num_gpus() == 0:
        return None
    try:
        return faiss.index_cpu_to_all_gpus(index)
    except RuntimeError as error:
        _log.warning("The index stays on the CPU: %s", str(error).partition("\n")[0])
        return None


def candidates_of(kind: Kind, vectors: Vectors) -> Exact:
    """Return what searches unit vectors of shape (n, dim) exactly: FAISS where it is installed, unless one is named.

    Raises MissingExtra for "faiss" without FAISS.
    """
    if kind == "numpy":
        return _Numpy(vectors)
    try:
        return _Faiss(vectors)
    except ImportError as error:
        if kind == "faiss":
            raise MissingExtra.of("faiss", "search") from error
        return _Numpy(vectors)
