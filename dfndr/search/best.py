"""The best so far of each query, while its candidates come piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Positions = npt.NDArray[np.int64]
    Vectors = npt.NDArray[np.float32]

__all__ = ["Best", "scan", "stacked"]

_HELD = 1 << 16
_BLOCK = 1 << 14


class Best:
    """The `count` best scores of one query so far, and the best of those that were left out."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._scores: list[Vectors] = []
        self._positions: list[Positions] = []
        self._held, self._limit = 0, float("-inf")

    def add(self, scores: Vectors, positions: Positions) -> None:
        """Look at more candidates."""
        self._scores.append(scores)
        self._positions.append(positions)
        self._held += len(scores)
        if self._held > 4 * self._count + _HELD:
            self._cut()

    def _cut(self) -> None:
        import numpy as np

        scores = np.concatenate([*self._scores, np.empty(0, dtype=np.float32)])
        positions = np.concatenate([*self._positions, np.empty(0, dtype=np.int64)])
        if len(scores) > self._count:
            order = np.argpartition(-scores, self._count)
            self._limit = max(self._limit, float(scores[order[self._count]]))
            scores, positions = scores[order[: self._count]], positions[order[: self._count]]
        self._scores, self._positions, self._held = [scores], [positions], len(scores)

    def end(self) -> tuple[float, Positions]:
        """Return a bound on what was left out, and the positions of what was not."""
        self._cut()
        return self._limit, self._positions[0]


def stacked(found: Sequence[Best], count: int) -> tuple[Vectors, Positions]:
    """Return the bounds, shape (n,), and the positions, shape (n, count), -1 where there are fewer."""
    import numpy as np

    limits, positions = np.empty(len(found), dtype=np.float32), np.full((len(found), count), -1, dtype=np.int64)
    for place, best in enumerate(found):
        limits[place], mine = best.end()
        positions[place, : len(mine)] = mine
    return limits, positions


def scan(
    queries: Vectors, positions: Positions, count: int, *, unit: Callable[[Positions], Vectors]
) -> tuple[Vectors, Positions]:
    """Look at every one of some vectors, as `Candidates.nearest` does."""
    best = [Best(count) for _ in queries]
    for start in range(0, len(positions), _BLOCK):
        here = positions[start : start + _BLOCK]
        for one, scores in zip(best, queries @ unit(here).T, strict=True):
            one.add(scores, here)
    return stacked(best, count)
