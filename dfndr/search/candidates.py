"""What finds candidates near a query, and the two ways to look at every vector: FAISS (on a GPU too) and NumPy."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dfndr.errors import MissingExtra
from dfndr.search.measuring import Measured

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Positions = npt.NDArray[np.int64]
    Vectors = npt.NDArray[np.float32]

__all__ = ["Candidates", "Exact", "Kind", "candidates_of", "faiss_module", "on_gpu", "only"]

Kind = Literal["auto", "exact", "faiss", "numpy", "ivf", "ivfpq", "hnsw"]
_BLOCK = 1 << 16
_SCORES = 1 << 24  # of one block, so that it stays small however many queries there are
_GPU_MOST = 2048  # the most neighbours that FAISS gives on a GPU
_log = logging.getLogger(__name__)


class Candidates(Protocol):
    """Vectors, and the way to find those near a query."""

    @property
    def kind(self) -> Kind:
        """What it is called."""

    @property
    def error(self) -> float:
        """By how much a bound of `nearest` may be off."""

    @property
    def batch(self) -> int:
        """How many queries are best asked at once."""

    @property
    def measured(self) -> Measured | None:
        """How it was measured; None where every vector is looked at."""

    @property
    def effort(self) -> str:
        """What a search looks at, in words."""

    def nearest(self, queries: Vectors, count: int, allowed: Mask | None = None) -> tuple[Vectors, Positions]:
        """Return, per query, a bound on the scores of what was left out, shape (n,), and positions of what was not.

        The bound is -inf where nothing is promised. Positions have shape (n, m), in any order, with -1 where there are
        fewer. `allowed` says for each vector whether it may be found. Whoever asks for `count` of all gets all.
        """

    def unit(self, positions: Positions) -> Vectors:
        """Return some of the vectors, each of length one."""

    def only(self, kept: Positions) -> Candidates:
        """Return the same for some of the vectors alone, given by ascending positions."""


class Exact(Candidates, Protocol):
    """Candidates that look at every vector; `vectors`, of length one, have shape (n, dim)."""

    vectors: Vectors


class _Held:
    """Vectors in memory, all of which are looked at."""

    kind: Kind
    batch = 2048
    measured = None
    effort = "every vector"

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors

    def unit(self, positions: Positions) -> Vectors:
        found: Vectors = self.vectors[positions]
        return found

    def only(self, kept: Positions) -> Exact:
        return candidates_of(self.kind, self.vectors[kept])


class _Numpy(_Held):
    kind: Kind = "numpy"

    def __init__(self, vectors: Vectors) -> None:
        super().__init__(vectors)
        self.error = vectors.shape[1] * 2.0**-23

    def nearest(self, queries: Vectors, count: int, allowed: Mask | None = None) -> tuple[Vectors, Positions]:
        import numpy as np

        scores = np.empty((len(queries), 0), dtype=np.float32)
        positions = np.empty((len(queries), 0), dtype=np.int64)
        rows = max(1, min(_BLOCK, _SCORES // max(len(queries), 1)))
        for start in range(0, len(self.vectors), rows):
            block = queries @ self.vectors[start : start + rows].T
            if allowed is not None:
                block[:, ~allowed[start : start + rows]] = -np.inf
            here = np.broadcast_to(np.arange(start, start + block.shape[1]), block.shape)
            if block.shape[1] > count:
                best = np.argpartition(-block, count - 1, axis=1)[:, :count]
                block, here = np.take_along_axis(block, best, 1), np.take_along_axis(here, best, 1)
            scores, positions = np.hstack([scores, block]), np.hstack([positions, here])
            if scores.shape[1] > count:
                best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
                scores, positions = np.take_along_axis(scores, best, 1), np.take_along_axis(positions, best, 1)
        return scores.min(axis=1), positions


class _Faiss(_Held):
    kind: Kind = "faiss"

    def __init__(self, vectors: Vectors) -> None:
        import faiss
        import numpy as np

        count, dim = vectors.shape
        self._cpu = faiss.IndexFlatIP(dim)
        for start in range(0, count, _BLOCK):
            self._cpu.add(np.ascontiguousarray(vectors[start : start + _BLOCK]))
        # FAISS holds a copy; looking at that one lets the given one go.
        held = faiss.rev_swig_ptr(self._cpu.get_xb(), count * dim).reshape(count, dim) if count else vectors
        super().__init__(held)
        self._gpu = on_gpu(self._cpu)
        # A GPU may multiply in TF32, which keeps 10 bits.
        self.error = dim * 2.0**-23 + (2.0**-9 if self._gpu is not None else 0)

    def nearest(self, queries: Vectors, count: int, allowed: Mask | None = None) -> tuple[Vectors, Positions]:
        if allowed is not None:  # which FAISS knows on a CPU alone
            params = faiss_module().SearchParameters(sel=only(allowed))
            scores, positions = self._cpu.search(queries, count, params=params)
        else:
            index = self._gpu if self._gpu is not None and count <= _GPU_MOST else self._cpu
            scores, positions = index.search(queries, count)
        return scores[:, -1], positions


def faiss_module() -> Any:  # noqa: ANN401  FAISS's own types know neither keywords nor arrays
    """Return FAISS; raises MissingExtra where it is not installed."""
    try:
        return import_module("faiss")
    except ImportError as error:
        raise MissingExtra.of("faiss", "search") from error


def only(allowed: Mask) -> Any:  # noqa: ANN401
    """Return what keeps FAISS to the vectors that are allowed."""
    import numpy as np

    return faiss_module().IDSelectorBitmap(np.packbits(allowed, bitorder="little"))


def on_gpu(index: Any) -> Any:  # noqa: ANN401
    """Return a copy of an index on all GPUs that FAISS sees; None without one, or where it does not fit."""
    faiss = faiss_module()
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
