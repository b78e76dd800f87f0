"""Whether a right candidate is among the k best, exactly, and with equal scores counted by the chance they leave."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Hits", "hits_at", "scores_of"]

Hits = npt.NDArray[np.float64]
"""A number in [0, 1] for each query."""


def scores_of(queries: npt.NDArray[np.float32], candidates: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the cosines of unit vectors, shape (queries, candidates).

    They are summed in float64 and rounded once, so that a score does not depend on the block it is computed in, and
    equal vectors score the same.
    """
    return (queries.astype(np.float64) @ candidates.T.astype(np.float64)).astype(np.float32)


def hits_at(k: int, scores: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> Hits:
    """Return the chance that at least one right candidate of each query is among its k best.

    `scores` and `right` are of shape (queries, candidates), and each query has a right one. It is 1 or 0 but where a
    wrong candidate scores exactly as the best right one does: their order is no merit of the model, so all orders count
    alike. (Picking one of them, as top-k functions do, gives a number that depends on the order of the candidates.)
    """
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    above = (scores > best).sum(axis=1)
    equal = scores == best
    equal_right = (equal & right).sum(axis=1)
    equal_wrong = equal.sum(axis=1) - equal_right
    miss = np.ones(len(scores))
    for drawn in range(k):
        left = equal_wrong - drawn
        factor = np.clip(left, 0, None) / np.clip(left + equal_right, 1, None)
        miss = np.where(above + drawn < k, miss * factor, miss)
    return 1.0 - miss
