"""Candidates for exact search: unit vectors held by FAISS, on a GPU where it sees one, or by NumPy."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dfndr.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]

__all__ = ["Candidates", "Kind", "candidates_of"]

Kind = Literal["auto", "faiss", "numpy"]
_BLOCK = 1 << 16
_GPU_MOST = 2048  # the most neighbours that FAISS gives on a GPU
_log = logging.getLogger(__name__)


class Candidates(Protocol):
    """Unit vectors, and the way to find those near a query."""

    kind: str
    vectors: Vectors
    error: float  # by how much a score of `nearest` may be off

    def nearest(self, queries: Vectors, count: int) -> tuple[Vectors, npt.NDArray[np.int64]]:
        """Return, per query, the lowest score found, shape (n,), and the positions of `count` vectors, in any order."""


class _Numpy:
    kind = "numpy"

    def __init__(self, vectors: Vectors) -> None:
        self.vectors, self.error = vectors, vectors.shape[1] * 2.0**-23

    def nearest(self, queries: Vectors, count: int) -> tuple[Vectors, npt.NDArray[np.int64]]:
        import numpy as np

        scores = np.empty((len(queries), 0), dtype=np.float32)
        positions = np.empty((len(queries), 0), dtype=np.int64)
        for start in range(0, len(self.vectors), _BLOCK):
            block = queries @ self.vectors[start : start + _BLOCK].T
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

    def nearest(self, queries: Vectors, count: int) -> tuple[Vectors, npt.NDArray[np.int64]]:
        index = self._gpu if self._gpu is not None and count <= _GPU_MOST else self._cpu
        scores, positions = index.search(queries, count)
        return scores[:, -1], positions


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


def candidates_of(kind: Kind, vectors: Vectors) -> Candidates:
    """Return the candidates of a kind over unit vectors of shape (n, dim); "auto" takes FAISS where it is installed.

    Raises MissingExtra for "faiss" without FAISS, UsageError for an unknown kind.
    """
    if kind not in ("auto", "faiss", "numpy"):
        raise UsageError("kind", expected="auto, faiss or numpy", found=repr(kind), do="Name one of them.")
    if kind == "numpy":
        return _Numpy(vectors)
    try:
        return _Faiss(vectors)
    except ImportError as error:
        if kind == "faiss":
            raise MissingExtra.of("faiss", "search") from error
        return _Numpy(vectors)
