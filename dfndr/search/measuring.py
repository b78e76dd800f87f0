"""The ten rows that are truly nearest to some rows, found by looking at every vector as it passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dfndr.dataset import Dataset
from dfndr.format.schema import Space
from dfndr.search.unit_vectors import unit

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Positions = npt.NDArray[np.int64]
    Vectors = npt.NDArray[np.float32]

__all__ = ["Measured", "Truth"]

_NEAREST = 10


@dataclass(frozen=True)
class Measured:
    """The share of the ten nearest that a search found, over `queries` rows that did not decide how wide it is.

    `probes` is how wide: into how many lists a query looks, or how many of the best so far a graph is followed from.
    """

    probes: int
    recall_at_10: float
    queries: int


class Truth:
    """The ten rows nearest to each of some rows; a row is not its own neighbour.

    `queries` are those rows' first vectors, shape (n, dim), `rows` their numbers in the dataset, `own` the position of
    a vector of each.
    """

    def __init__(self, dataset: Dataset, space: Space, rows: Positions) -> None:
        import numpy as np

        found, fine = unit(dataset.vectors(space.name, rows)[:, 0])
        self.rows, self.queries, self._per_row = rows[fine], found[fine], space.per_row
        self.own = np.full(len(self.rows), -1, dtype=np.int64)
        self._scores = np.empty((len(self.rows), 0), dtype=np.float32)
        self._positions = np.empty((len(self.rows), 0), dtype=np.int64)
        self._owners = np.empty((len(self.rows), 0), dtype=np.int64)
        self._seen = 0

    def see(self, vectors: Vectors, places: Positions) -> None:
        """Look at the next vectors of the index; `places` are theirs among all the space's places."""
        import numpy as np

        scores, owners = self.queries @ vectors.T, places // self._per_row
        asked, own = np.nonzero(self.rows[:, None] == owners)
        scores[asked, own], self.own[asked] = -np.inf, self._seen + own
        here = np.broadcast_to(np.arange(self._seen, self._seen + len(places)), scores.shape)
        self._seen += len(places)
        keep = _NEAREST * self._per_row
        if scores.shape[1] > keep:
            best = np.argpartition(-scores, keep - 1, axis=1)[:, :keep]
            scores, here = np.take_along_axis(scores, best, 1), np.take_along_axis(here, best, 1)
            mine = owners[best]
        else:
            mine = np.broadcast_to(owners, scores.shape)
        self._scores, self._positions = np.hstack([self._scores, scores]), np.hstack([self._positions, here])
        self._owners = np.hstack([self._owners, mine])
        if self._scores.shape[1] > keep:
            best = np.argsort(-self._scores, axis=1, kind="stable")[:, :keep]
            self._scores = np.take_along_axis(self._scores, best, 1)
            self._positions = np.take_along_axis(self._positions, best, 1)
            self._owners = np.take_along_axis(self._owners, best, 1)

    def nearest(self) -> list[Positions]:
        """Return, per query, the positions of the best vector of each of its ten nearest rows, in any order."""
        import numpy as np

        found = []
        for scores, positions, owners in zip(self._scores, self._positions, self._owners, strict=True):
            order = np.lexsort((positions, -scores))[: np.isfinite(scores).sum()]
            _, firsts = np.unique(owners[order], return_index=True)
            found.append(positions[order[np.sort(firsts)[:_NEAREST]]])
        return found
