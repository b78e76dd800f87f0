"""Logistic regression by Newton's method, in float64 and pass by pass, so the vectors need not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from dfndr.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats: TypeAlias = npt.NDArray[np.float64]
    Bools: TypeAlias = npt.NDArray[np.bool_]

__all__ = ["Blocks", "Fit", "fit_logistic", "roc_auc", "sigmoid"]

Blocks: TypeAlias = "Callable[[], Iterator[tuple[Floats, Bools]]]"
"""Goes through the rows once more: vectors of shape (n, dim) and, for each, whether it is positive."""

_MOST_PASSES = 100
_DONE = 1e-12
"""How much lower the loss may still get, by Newton's own estimate, when the work is done."""


@dataclass(frozen=True, eq=False)
class Fit:
    """The weight of shape (dim,) and the bias, the mean loss with its penalty, the passes it took, and what it saw."""

    weight: Floats
    bias: float
    loss: float
    passes: int
    rows: int
    positives: int


@dataclass(frozen=True, eq=False)
class _Scale:
    """What brings vectors to mean 0 and, over all coordinates together, variance 1."""

    mean: Floats
    spread: float
    counts: tuple[int, int]
    """How many rows are negative, and how many positive."""
    shares: tuple[float, float]
    """What one negative and one positive row weigh in the loss; all rows together weigh 1."""

    def of(self, vectors: Floats) -> Floats:
        """Return vectors of shape (n, dim + 1), the last coordinate 1."""
        import numpy as np

        return np.hstack([(vectors - self.mean) / self.spread, np.ones((len(vectors), 1))])


def fit_logistic(blocks: Blocks, dim: int, *, l2: float, balanced: bool = False) -> Fit:
    """Minimise the mean of log(1 + exp(-y (w z + b))) plus l2 / 2 times |w|^2; return w and b for the vectors given.

    z are the vectors less their mean, over the root of their mean variance, so that `l2` means the same whatever the
    encoder; it is above 0, and 1 / (l2 n) is what other programs call C. With `balanced` both classes weigh the same.
    Raises UsageError where all rows are of one class.
    """
    import numpy as np

    scale = _scale_of(blocks, dim, balanced)
    place, passes = np.zeros(dim + 1), 1
    loss, slope, bend = _pass(blocks, scale, place, l2)
    step = np.linalg.solve(bend, slope)
    while slope @ step > 2 * _DONE and passes < _MOST_PASSES:
        found, passes = _pass(blocks, scale, place - step, l2), passes + 1
        if found[0] > loss:  # the step went too far; the loss is convex, so some part of it does not
            step /= 2
            continue
        place = place - step
        loss, slope, bend = found
        step = np.linalg.solve(bend, slope)
    weight = place[:-1] / scale.spread
    return Fit(weight, float(place[-1] - weight @ scale.mean), loss, passes, sum(scale.counts), scale.counts[1])


def _scale_of(blocks: Blocks, dim: int, balanced: bool) -> _Scale:
    import numpy as np

    total, squares, counts = np.zeros(dim), np.zeros(dim), np.zeros(2)
    for vectors, positive in blocks():
        total += vectors.sum(axis=0)
        squares += (vectors**2).sum(axis=0)
        counts += np.bincount(positive, minlength=2)
    negative, positives = (int(count) for count in counts)
    rows = negative + positives
    if not negative or not positives:
        found, do = f"{positives:,} positive and {negative:,} negative", "Check the labels."
        raise UsageError("training", expected="rows of both classes", found=found, do=do)
    mean = total / rows
    variance = float((squares / rows - mean**2).mean())
    shares = (0.5 / negative, 0.5 / positives) if balanced else (1 / rows, 1 / rows)
    return _Scale(mean, max(variance, 1e-12) ** 0.5, (negative, positives), shares)


def _pass(blocks: Blocks, scale: _Scale, place: Floats, l2: float) -> tuple[float, Floats, Floats]:
    """Return the loss at a place, its gradient, and its matrix of second derivatives."""
    import numpy as np

    penalty = np.append(np.full(len(place) - 1, l2), 0.0)
    loss, slope = float(penalty @ place**2) / 2, penalty * place
    bend = np.diag(penalty + 1e-12)  # the bias has no penalty: where every row is certain, nothing else holds it
    for vectors, positive in blocks():
        inputs = scale.of(vectors)
        logits = inputs @ place
        share = np.where(positive, scale.shares[1], scale.shares[0])
        loss += float(share @ np.logaddexp(0, np.where(positive, -logits, logits)))
        chance = sigmoid(logits)
        slope += (share * (chance - positive)) @ inputs
        bend += (inputs * (share * chance * (1 - chance))[:, None]).T @ inputs
    return loss, slope, bend


def sigmoid(logits: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)), which never overflows."""
    import numpy as np

    small = np.exp(-np.abs(logits))
    chances: Floats = np.where(logits >= 0, 1.0, small) / (1 + small)
    return chances


def roc_auc(scores: Floats, positive: Bools) -> float | None:
    """Return how often a positive row scores above a negative one, a tie being half; None without rows of both.

    This is the area under the ROC curve, by ranks (Mann and Whitney 1947; Hanley and McNeil 1982).
    """
    import numpy as np

    count = int(positive.sum())
    others = len(positive) - count
    if not count or not others:
        return None
    _, place, same = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(same) - (same - 1) / 2
    return float((ranks[place[positive]].sum() - count * (count + 1) / 2) / count / others)
