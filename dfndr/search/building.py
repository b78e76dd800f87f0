"""Making an index of one kind: its vectors, how wide it has to be for a wanted recall, and what it then finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr.format.schema import Space
from dfndr.format.uid import unpack_uids
from dfndr.progress import Progress
from dfndr.search.candidates import Candidates, Kind, candidates_of
from dfndr.search.graph import Graph
from dfndr.search.index import Index
from dfndr.search.inverted_lists import InvertedLists
from dfndr.search.inverted_training import asked_rows, invert, lists_needed
from dfndr.search.links import new_index
from dfndr.search.measuring import Measured, Truth
from dfndr.search.product_codes import ProductCodes, encoded, learned
from dfndr.search.saved import Parts
from dfndr.search.unit_vectors import taking, unit_blocks
from dfndr.seeds import rng_for

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Packed = npt.NDArray[np.uint8]

__all__ = ["Building"]

_BREADTHS = tuple(16 << step for step in range(9))  # up to 4,096
_FETCHES = (1, 2, 4, 8, 16, 32)
_PIECE = 1 << 16


class Building:
    """The indexes of one space of a dataset; the lists are made once for those that have them.

    Raises UsageError for a recall outside of (0, 1].
    """

    def __init__(self, dataset: Dataset, space: Space, *, recall: float, progress: Progress) -> None:
        if not 0 < recall <= 1:
            raise UsageError("recall", expected="a share in (0, 1]", found=str(recall), do="Say 0.95, for example.")
        self.dataset, self.space, self._recall, self._progress = dataset, space, recall, progress
        self._inverted: tuple[Packed, InvertedLists, Truth] | None = None
        self.truth: Truth | None = None
        """What is truly nearest to some rows, once an index that has to be measured was made."""

    def of(self, kind: Kind) -> Index:
        """Return an index of one kind; "exact" is the engine that is there."""
        makers: dict[str, Callable[[], Index]] = {"ivf": self._ivf, "ivfpq": self._ivfpq, "hnsw": self._hnsw}
        return makers[kind]() if kind in makers else self._exact(kind)

    def _index(self, uids: Packed, candidates: Candidates) -> Index:
        return Index(Parts(self.space, self.dataset.digest, uids, candidates), dataset=self.dataset)

    def _exact(self, kind: Kind) -> Index:
        import numpy as np

        uids = np.empty((len(self.dataset) * self.space.per_row, 16), dtype=np.uint8)
        vectors = np.empty((len(uids), self.space.dim), dtype=np.float32)
        filled = 0
        with self._progress.task(f"index {self.space.name}", len(self.dataset)) as task:
            for block in unit_blocks(self.dataset, self.space):
                here = slice(filled, filled + len(block.vectors))
                uids[here], vectors[here] = block.uids, block.vectors
                filled = here.stop
                task.advance(block.rows)
        return self._index(uids[:filled], candidates_of(kind, vectors[:filled]))

    def _lists(self, recall: float) -> tuple[Packed, InvertedLists, Truth]:
        if self._inverted is None:
            self._inverted = invert(self.dataset, self.space, recall=recall, progress=self._progress)
            self.truth = self._inverted[2]
        return self._inverted

    def _ivf(self) -> Index:
        uids, lists, _ = self._lists(self._recall)
        return self._index(uids, lists)

    def _ivfpq(self) -> Index:
        """Of what may be missed, the lists get half, and the codes the other."""
        import numpy as np

        uids, lists, truth = self._lists(self._recall)
        lists = lists.probing(lists_needed(truth, lists.centroids, lists.assigned, (1 + self._recall) / 2).probes)
        places = np.empty(len(uids), dtype=np.int64)
        places[lists.order] = np.arange(len(uids))
        drawn = rng_for(0, "ivfpq", self.space.name).choice(len(uids), min(len(uids), _PIECE), replace=False)
        drawn, start = np.sort(drawn), 0
        with self._progress.task(f"codes of {self.space.name}", len(self.dataset)) as task:
            task.note("learning")
            books = learned(lists.unit(drawn) - lists.centroids[lists.assigned[drawn]])
            codes = np.empty((len(uids), len(books)), dtype=np.uint8)
            for block in unit_blocks(self.dataset, self.space):
                for first in range(0, len(block.vectors), _PIECE):
                    piece = block.vectors[first : first + _PIECE]
                    left = piece - lists.centroids[lists.assigned[start : start + len(piece)]]
                    codes[places[start : start + len(piece)]] = encoded(books, left)
                    start += len(piece)
                task.advance(block.rows)
        codes_of = ProductCodes(lists, books, codes, fetched=1, measured=lists.measured)
        return self._tuned(uids, (codes_of.fetching(fetched, lists.measured) for fetched in _FETCHES), truth)

    def _hnsw(self) -> Index:
        import numpy as np

        index, uids, places = (
            new_index(self.space.dim),
            [np.empty((0, 16), dtype=np.uint8)],
            [np.empty(0, dtype=np.int64)],
        )
        truth = Truth(self.dataset, self.space, np.sort(asked_rows(self.dataset, self.space)[0]))
        with self._progress.task(f"graph of {self.space.name}", len(self.dataset)) as task:
            for block in unit_blocks(self.dataset, self.space):
                uids.append(block.uids)
                places.append(block.places)
                for start in range(0, len(block.vectors), _PIECE):
                    piece = np.ascontiguousarray(block.vectors[start : start + _PIECE])
                    index.add(piece)
                    truth.see(piece, block.places[start : start + _PIECE])
                task.advance(block.rows)
        self.truth = truth
        take = taking(self.dataset, self.space, np.concatenate(places))
        graph = Graph(index, take, measured=Measured(_BREADTHS[0], 1.0, 0), dtype=self.space.dtype)
        tries = (graph.following(replace(graph.measured, probes=breadth)) for breadth in _BREADTHS)
        return self._tuned(np.concatenate(uids), tries, truth)

    def _tuned(self, uids: Packed, tries: Iterable[ProductCodes | Graph], truth: Truth) -> Index:
        """Return the first try that surely finds the wanted share for half of the rows, measured by the others."""
        for found in tries:
            index = self._index(uids, found)
            if _is_enough(_shares(index, uids, truth, slice(None, None, 2)), self._recall):
                break
        shares = _shares(index, uids, truth, slice(1, None, 2) if len(truth.rows) > 1 else slice(None))
        recall = float(shares.mean()) if len(shares) else 1.0
        measured = replace(found.measured, recall_at_10=recall, queries=len(shares))
        if isinstance(found, ProductCodes):
            return self._index(uids, found.fetching(found.fetched, measured))
        return self._index(uids, found.following(measured))


def _is_enough(shares: npt.NDArray[np.float64], recall: float) -> bool:
    """Say whether the mean share is as high as it is to be, and a standard error more: few queries may be lucky."""
    return not len(shares) or float(shares.mean() - shares.std() / len(shares) ** 0.5) >= recall


def _shares(index: Index, uids: Packed, truth: Truth, some: slice) -> npt.NDArray[np.float64]:
    """Return, for some of the rows, the share of their ten nearest that an index finds, where there are any."""
    import numpy as np

    queries, shares = truth.queries[some], []
    found = index.search(queries, k=11).uids
    for names, own, nearest in zip(found, truth.own[some], truth.nearest()[some], strict=True):
        others = [name for name in names if name != unpack_uids(uids[own])][:10]
        if len(nearest):
            shares.append(len(set(unpack_uids(uids[nearest])) & set(others)) / len(nearest))
    return np.array(shares)
