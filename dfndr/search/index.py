"""Neighbours within one space, by cosine, answers in uids: exact, or approximate where there are very many vectors.

FAISS, on a GPU where it sees one, or NumPy finds more candidates than were asked for; their scores are then computed
once more in float64 and rounded to float32. Where rounding could have kept a better row out, more candidates are
fetched. So exact answers are the same, bit for bit, whichever engine found them, and ties go to the row that comes
first. An index that looks at some vectors only, by lists (inverted_lists.py, product_codes.py) or along a graph
(graph.py), gives scores that are as exact, and says what share of the nearest rows it finds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dfndr.errors import UsageError
from dfndr.format.uid import UID, pack_uids, unpack_uids
from dfndr.progress import SILENT, Progress
from dfndr.search.candidates import Kind
from dfndr.search.measuring import Measured
from dfndr.search.saved import Parts, read_index, write_index
from dfndr.search.unit_vectors import unit

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow.compute as pc

    from dfndr.dataset import Dataset
    from dfndr.show import Shown

    Mask = npt.NDArray[np.bool_]
    Positions = npt.NDArray[np.int64]
    Vectors = npt.NDArray[np.float32]

__all__ = ["Index", "Neighbors"]

_FETCHED = 1 << 22  # candidates of all queries at once
_PAIRS = 1024  # of queries and candidates, whose vectors are compared at once: they stay in the processor's cache


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
        if self.measured is not None:
            told += f", recall@10={self.recall_at_10:.3f}, {self._candidates.effort}"
        return f"{told})"

    @property
    def kind(self) -> str:
        """What searches: `faiss` or `numpy`, which are exact, or `ivf`, `ivfpq` or `hnsw`, which are not."""
        return self._candidates.kind

    @property
    def measured(self) -> Measured | None:
        """How an index was measured against exact search; None where the search is exact."""
        return self._candidates.measured

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
        max_memory: int | None = None,
        max_latency_ms: float | None = None,
        progress: Progress = SILENT,
    ) -> Index:
        """Index one space of a dataset, shard by shard.

        "exact" takes FAISS where it is installed, else NumPy; either can be named. It holds every vector in float32.
        "ivf" reads the vectors of some lists from the dataset's own files, "ivfpq" holds a short code of each as well,
        "hnsw" holds a graph and the vectors in float16 (docs/search.md); each is made as wide as it takes to find the
        share `recall` of a row's ten nearest, and measured on other rows: `recall_at_10` and `repr` tell.

        "auto" is exact up to 500,000 vectors and where FAISS is missing, else "ivf". With `max_memory`, bytes that the
        index may hold beside files that are mapped, or `max_latency_ms`, the median time of one query alone, on this
        machine, it is the first of exact, ivf, ivfpq and hnsw that keeps both; those before it are tried, and
        `progress` is told what was measured of each. Raises UsageError where none does, FormatError for a vector that
        is not finite or is zero, MissingExtra for a kind that needs FAISS where there is none.
        """
        from dfndr.search.choice import built

        return built(
            dataset,
            space,
            kind,
            recall=recall,
            max_memory=max_memory,
            max_latency_ms=max_latency_ms,
            progress=progress,
        )

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
        step = self._candidates.batch
        for start in range(0, len(queries) if k else 0, step):
            block = slice(start, start + step)
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

    def _search_block(self, queries: Vectors, found: Positions, scores: Vectors, allowed: Mask | None) -> None:
        import numpy as np

        count, k = len(self._uids) if allowed is None else int(allowed.sum()), found.shape[1]
        todo = [(np.arange(len(queries)), min(count, (k + 8) * self.space.per_row))]
        while todo:
            pending, fetch = todo.pop()
            if len(pending) > (most := max(1, _FETCHED // fetch)):
                todo.append((pending[most:], fetch))
                pending = pending[:most]
            limits, near = self._candidates.nearest(queries[pending], fetch, allowed)
            best, its_scores = self._best(queries[pending], near, k)
            # What was not fetched scores at most `limits`, give or take the engine's rounding.
            sure = its_scores[:, -1] > limits.astype(np.float64) + self._candidates.error
            sure = (best[:, -1] >= 0) & sure if fetch < count else np.ones(len(pending), dtype=bool)
            found[pending[sure]], scores[pending[sure]] = best[sure], its_scores[sure]
            if not sure.all():
                todo.append((pending[~sure], min(count, fetch * 4)))

    def _best(self, queries: Vectors, near: Positions, k: int) -> tuple[Positions, Vectors]:
        """Return the best vector of each of the k best rows among the candidates, and its score; -1 for none."""
        import numpy as np

        if near.shape[1] < k:
            near = np.pad(near, ((0, 0), (0, k - near.shape[1])), constant_values=-1)
        scores = np.full(near.shape, -np.inf, dtype=np.float32)
        asked, places = np.nonzero(near >= 0)
        for start in range(0, len(asked), _PAIRS):
            here = asked[start : start + _PAIRS], places[start : start + _PAIRS]
            block = self._candidates.unit(near[here]).astype(np.float64)
            block *= queries[here[0]]
            scores[here] = block.sum(axis=1)
        order = np.lexsort((near, -scores), axis=1)
        near, scores = np.take_along_axis(near, order, 1), np.take_along_axis(scores, order, 1)
        if self.rows < len(self._uids):
            again = _again(np.where(near < 0, -1, self._owners[near]))
            near[again], scores[again] = -1, -np.inf
            order = np.argsort(near < 0, axis=1, kind="stable")
            near, scores = np.take_along_axis(near, order, 1), np.take_along_axis(scores, order, 1)
        return near[:, :k], scores[:, :k]

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

        What was saved exact is searched by the engine of a kind; all else is what it is. What was saved before rows
        were taken out of `dataset` is opened without them; its files still hold them.
        """
        parts = read_index(path, kind)
        if dataset is not None and dataset.manifest.descends_from(parts.dataset_digest):
            parts = replace(parts.only(_there(parts.uids, dataset)), dataset_digest=dataset.digest)
        index = cls(parts, dataset=dataset)
        if dataset is not None:
            index.check(dataset)
        return index


def _again(owners: Positions) -> Mask:
    """Say for each place of each line, shape (n, m), whether its owner had a place before it."""
    import numpy as np

    by_owner = np.argsort(owners, axis=1, kind="stable")
    ordered = np.take_along_axis(owners, by_owner, 1)
    again = np.zeros(owners.shape, dtype=bool)
    np.put_along_axis(again, by_owner[:, 1:], ordered[:, 1:] == ordered[:, :-1], 1)
    return again


def _there(uids: npt.NDArray[np.uint8], dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Say which packed uids, shape (n, 16), a dataset has, in any of its splits."""
    import numpy as np

    whole = dataset.only(dataset.manifest.shards)
    parts = [pack_uids(table["uid"].to_pylist(), dataset.root) for table in whole.tables(["uid"])]
    rows = np.concatenate([np.empty((0, 16), dtype=np.uint8), *parts])
    return np.isin(uids.view("S16")[:, 0], rows.view("S16")[:, 0])
