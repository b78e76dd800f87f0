"""Neighbours within one space, by cosine, answers in uids: exact, or by lists where there are very many vectors.

FAISS, on a GPU where it sees one, or NumPy finds more candidates than were asked for; their scores are then computed
once more in float64 and rounded to float32. Where rounding could have kept a better row out, more candidates are
fetched. So exact answers are the same, bit for bit, whichever engine found them, and ties go to the row that comes
first. An index of kind `ivf` looks into some lists of vectors only (inverted_lists.py); its scores are as exact, and it
says what share of the nearest rows it finds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dfndr.candidates import Kind, candidates_of
from dfndr.errors import UsageError
from dfndr.format.schema import Space
from dfndr.format.uid import UID, pack_uids, unpack_uids
from dfndr.inverted_lists import InvertedLists, Measured
from dfndr.inverted_training import invert
from dfndr.progress import SILENT, Progress
from dfndr.saved_index import Parts, read_index, write_index
from dfndr.unit_vectors import unit, unit_blocks

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow.compute as pc

    from dfndr.dataset import Dataset
    from dfndr.show import Shown

    Mask = npt.NDArray[np.bool_]
    Vectors = npt.NDArray[np.float32]

__all__ = ["Index", "Kind", "Neighbors"]

_KINDS = ("auto", "exact", "faiss", "numpy", "ivf")
_EXACT_MOST = 500_000
_QUERIES = 256


@dataclass(frozen=True)
class Neighbors:
    """The nearest rows of each query, best first: `uids` and cosine `scores` (float32), both of shape (queries, k)."""

    uids: npt.NDArray[np.str_]
    scores: Vectors


class Index:
    """Every vector of one space, made unit length in float32, with the uid of its row.

    Of a space with several vectors per row all are searched and a row is found once, by its best one; the places that
    a row with fewer captions leaves free are left out. `rows` counts the rows that can be found.
    """

    def __init__(self, parts: Parts, *, dataset: Dataset | None = None) -> None:
        import numpy as np

        self.space, self.dataset_digest = parts.space, parts.dataset_digest
        self._parts, self._dataset = parts, dataset
        self._uids, self._candidates = parts.uids, parts.candidates
        starts = np.ones(len(self._uids), dtype=bool)
        starts[1:] = (self._uids[1:] != self._uids[:-1]).any(axis=1)
        self._owners = np.cumsum(starts) - 1
        self._firsts = np.flatnonzero(starts)
        self.rows = len(self._firsts)

    def __len__(self) -> int:
        return self.rows

    def __repr__(self) -> str:
        told = f"Index({self.space.name!r}, {self.rows:,} rows, kind={self.kind!r}"
        if isinstance(self._candidates, InvertedLists):
            told += f", recall@10={self.recall_at_10:.3f}, {self._candidates.measured.probes:,} of "
            told += f"{len(self._candidates.centroids):,} lists"
        return f"{told})"

    @property
    def kind(self) -> str:
        """Which engine searches: `faiss` or `numpy`, which are exact, or `ivf`, which is not."""
        return self._candidates.kind

    @property
    def measured(self) -> Measured | None:
        """How an `ivf` index was measured against exact search; None where the search is exact."""
        return self._candidates.measured if isinstance(self._candidates, InvertedLists) else None

    @property
    def recall_at_10(self) -> float:
        """The share of a row's ten nearest that a search finds; 1 where the search is exact."""
        return 1.0 if self.measured is None else self.measured.recall_at_10

    @property
    def packed_uids(self) -> npt.NDArray[np.uint8]:
        """The uids of the rows that can be found, 16 bytes each, shape (rows, 16), in the dataset's order."""
        return self._uids[self._firsts]

    @classmethod
    def build(
        cls,
        dataset: Dataset,
        space: str,
        *,
        kind: Kind = "auto",
        recall: float = 0.95,
        progress: Progress = SILENT,
    ) -> Index:
        """Index one space of a dataset, shard by shard.

        "exact" takes FAISS where it is installed, else NumPy; either can be named. It holds every vector in float32.
        "ivf" holds 44 bytes a vector and reads the dataset's own files; it looks into as many lists as it takes to find
        the share `recall` of a row's ten nearest. "auto" is exact up to 500,000 vectors and where FAISS is missing,
        which makes the lists; else "ivf": `kind`, `recall_at_10` and `repr` tell. Raises FormatError for a vector that
        is not finite or is zero, MissingExtra for "faiss" and "ivf" without FAISS.
        """
        if kind not in _KINDS:
            raise UsageError("kind", expected=f"one of {', '.join(_KINDS)}", found=repr(kind), do="Name one of them.")
        wanted = dataset.space(space)
        dataset.mapped(space)  # checks every file before memory is taken for its vectors
        many = len(dataset) * wanted.per_row > _EXACT_MOST
        if kind == "ivf" or (kind == "auto" and many and _has_faiss()):
            uids, lists = invert(dataset, wanted, recall=recall, progress=progress)
            return cls(Parts(wanted, dataset.digest, uids, lists), dataset=dataset)
        uids, vectors = _gathered(dataset, wanted, progress)
        return cls(Parts(wanted, dataset.digest, uids, candidates_of(kind, vectors)), dataset=dataset)

    def search(self, vectors: npt.NDArray[np.floating[Any]], k: int = 10, *, mask: Mask | None = None) -> Neighbors:
        """Return the k nearest rows of each query, or all rows where there are fewer.

        `vectors` has shape (queries, dim), any float type; each query is made unit length first. Scores are cosines.
        `mask` says for each of the `rows` of this index whether it may be found; see `mask`. Raises UsageError for
        another shape, a query that is not finite or is zero, and k < 1.
        """
        import numpy as np

        queries = self._queries(vectors)
        if k < 1:
            raise UsageError("k", expected="at least 1", found=str(k), do="Ask for one neighbour or more.")
        allowed = None if mask is None else self._allowed(mask)
        k = min(k, self.rows if mask is None else int(mask.sum()))
        found = np.empty((len(queries), k), dtype=np.int64)
        scores = np.empty((len(queries), k), dtype=np.float32)
        for start in range(0, len(queries) if k else 0, _QUERIES):
            block = slice(start, start + _QUERIES)
            self._search_block(queries[block], found[block], scores[block], allowed)
        return Neighbors(unpack_uids(self._uids[found]), scores)

    def mask(self, where: pc.Expression) -> Mask:
        """Return which rows of this index meet a pyarrow expression over the dataset's columns, for `search`.

        Raises UsageError where the index was loaded without its dataset.
        """
        import numpy as np

        if self._dataset is None:
            do = "Load the index with dataset=..., or build it."
            raise UsageError(f"index of {self.space.name}", expected="its dataset", found="none", do=do)
        wanted = pack_uids(self._dataset.rows(["uid"], where)["uid"].to_pylist(), self._dataset.root)
        mine = np.ascontiguousarray(self.packed_uids).view("S16")[:, 0]
        return np.isin(mine, np.ascontiguousarray(wanted).view("S16")[:, 0])

    def _allowed(self, mask: Mask) -> Mask:
        import numpy as np

        if not isinstance(mask, np.ndarray) or mask.shape != (self.rows,) or mask.dtype != bool:
            found = f"{mask.dtype} of shape {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
            raise UsageError("mask", expected=f"{self.rows:,} booleans", found=found, do="Make it with `index.mask`.")
        allowed: Mask = mask[self._owners]
        return allowed

    def _search_block(
        self, queries: Vectors, found: npt.NDArray[np.int64], scores: Vectors, allowed: Mask | None
    ) -> None:
        import numpy as np

        count, k = len(self._uids) if allowed is None else int(allowed.sum()), found.shape[1]
        pending, fetch = np.arange(len(queries)), min(count, (k + 8) * self.space.per_row)
        while len(pending):
            limits, candidates = self._candidates.nearest(queries[pending], fetch, allowed)
            left = []
            for query, limit, near in zip(pending, limits, candidates, strict=True):
                best, its_scores = self._fold(queries[query], near, k)
                # What was not fetched scores at most `limit`, give or take the engine's rounding.
                if fetch == count or (len(best) == k and its_scores[-1] > float(limit) + self._candidates.error):
                    found[query], scores[query] = best, its_scores
                else:
                    left.append(query)
            pending, fetch = np.asarray(left, dtype=np.int64), min(count, fetch * 4)

    def _fold(self, query: Vectors, near: npt.NDArray[np.int64], k: int) -> tuple[npt.NDArray[np.int64], Vectors]:
        """Return the best vector of each of the k best rows among the candidates, and its score."""
        import numpy as np

        scores = np.empty(len(near), dtype=np.float32)
        for start in range(0, len(near), 4096):
            block = self._candidates.unit(near[start : start + 4096]).astype(np.float64)
            scores[start : start + 4096] = (block * query).sum(axis=1)
        order = np.lexsort((near, -scores))
        _, firsts = np.unique(self._owners[near[order]], return_index=True)
        best = order[np.sort(firsts)[:k]]
        return near[best], scores[best]

    def _queries(self, vectors: npt.NDArray[np.floating[Any]]) -> Vectors:
        import numpy as np

        given = np.asarray(vectors)
        where, do = f"queries for {self.space.name}", "Embed them with the encoder of the space."
        if given.ndim != 2 or given.shape[1] != self.space.dim or given.dtype.kind != "f":
            found = f"{given.dtype} of shape {given.shape}"
            raise UsageError(where, expected=f"floats of shape (queries, {self.space.dim})", found=found, do=do)
        unit_length, fine = unit(given)
        if not fine.all():
            found = f"something else in query {int(np.argmin(fine))}"
            raise UsageError(where, expected="finite numbers, not all zero", found=found, do=do)
        return unit_length

    def vectors_of(self, uid: str) -> Vectors:
        """Return a row's own unit vectors, shape (its views or captions, dim); raises UsageError for an unknown uid."""
        import numpy as np

        uid = uid.lower()
        mine = (self._uids == pack_uids([uid], "uid")).all(axis=1) if UID.fullmatch(uid) else np.empty(0, dtype=bool)
        if not np.any(mine):
            raise UsageError(f"uid {uid}", expected="a row of this index", found="no such row", do="Check the uid.")
        return self._candidates.unit(np.flatnonzero(mine))

    def check(self, dataset: Dataset) -> None:
        """Raise UsageError where the index was built from another dataset than this one."""
        if dataset.digest != self.dataset_digest:
            expected = f"an index of this dataset, {dataset.digest[:16]}..."
            found, do = f"one of {self.dataset_digest[:16]}...", "Build the index again from this dataset."
            raise UsageError(f"index of {self.space.name}", expected=expected, found=found, do=do)

    def show(self, query: str | bytes | npt.NDArray[np.floating[Any]], k: int = 10) -> Shown:
        """Return the k nearest rows to a query as a notebook shows them, each with its cosine.

        The query is a uid of this index (which is then left out), words, the bytes of a picture's file, or vectors of
        shape (dim,) or (queries, dim), each query under a title of its own. Words and pictures go through the encoder
        that made the space. Raises UsageError where the index was loaded without its dataset.
        """
        from dfndr.querying import shown_nearest

        return shown_nearest(self, self._dataset, query, k)

    def save(self, path: str) -> None:
        """Write the index to a local folder of `.npy` files and, last, `index.json` with their sha256."""
        write_index(path, self._parts)

    @classmethod
    def load(cls, path: str, *, dataset: Dataset | None = None, kind: Kind = "auto") -> Index:
        """Open a saved index; raises FormatError where it was altered, UsageError where it is not of `dataset`.

        What was saved exact is searched by the engine of a kind; what was saved as lists is `ivf`. What was saved
        before rows were taken out of `dataset` is opened without them; its files still hold them.
        """
        parts = read_index(path, kind)
        if dataset is not None and dataset.manifest.descends_from(parts.dataset_digest):
            parts = replace(parts.only(_there(parts.uids, dataset)), dataset_digest=dataset.digest)
        index = cls(parts, dataset=dataset)
        if dataset is not None:
            index.check(dataset)
        return index


def _has_faiss() -> bool:
    try:
        import faiss  # noqa: F401
    except ImportError:
        return False
    return True


def _gathered(dataset: Dataset, space: Space, progress: Progress) -> tuple[npt.NDArray[np.uint8], Vectors]:
    """Return the uids of all vectors, shape (n, 16), and the vectors of unit length, shape (n, dim)."""
    import numpy as np

    uids = np.empty((len(dataset) * space.per_row, 16), dtype=np.uint8)
    vectors = np.empty((len(uids), space.dim), dtype=np.float32)
    filled = 0
    with progress.task(f"index {space.name}", len(dataset)) as task:
        for block in unit_blocks(dataset, space):
            here = slice(filled, filled + len(block.vectors))
            uids[here], vectors[here] = block.uids, block.vectors
            filled = here.stop
            task.advance(block.rows)
    return uids[:filled], vectors[:filled]


def _there(uids: npt.NDArray[np.uint8], dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Say which packed uids, shape (n, 16), a dataset has, in any of its splits."""
    import numpy as np

    whole = dataset.only(dataset.manifest.shards)
    parts = [pack_uids(table["uid"].to_pylist(), dataset.root) for table in whole.tables(["uid"])]
    rows = np.concatenate([np.empty((0, 16), dtype=np.uint8), *parts])
    return np.isin(uids.view("S16")[:, 0], rows.view("S16")[:, 0])
