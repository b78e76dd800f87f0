"""Figures of agreement between scores and labels or ratings; None where one is not defined, never NaN."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dfndr.errors import MissingExtra
from dfndr.heads.logistic import roc_auc

__all__ = ["Measure", "average_precision", "kendall", "of_labels", "precision_at"]

Floats: TypeAlias = npt.NDArray[np.float64]
Measure: TypeAlias = Callable[[Floats, Floats], "dict[str, float | None]"]
"""From scores and truth, a row for each, to figures by name."""


def of_labels(fraction: float) -> Measure:
    """Return what measures scores against labels (1 and 0); precision is that of the best `fraction`."""

    def measure(scores: Floats, labels: Floats) -> dict[str, float | None]:
        return {
            "roc_auc": roc_auc(scores, labels > 0),
            "average_precision": average_precision(scores, labels),
            f"precision_at_{fraction:g}": precision_at(scores, labels, fraction),
        }

    return measure


def average_precision(scores: Floats, labels: Floats) -> float | None:
    """Return the precision at each distinct score, weighted by the recall gained there; None without a match.

    Rows that score the same are taken together, as scikit-learn's `average_precision_score` does.
    """
    matches = labels.sum()
    if not matches:
        return None
    kept, right = _kept_and_right(scores, labels)
    return float((np.diff(right, prepend=0.0) / matches) @ (right / kept))


def precision_at(scores: Floats, labels: Floats, fraction: float) -> float | None:
    """Return the share of matches among the best `fraction` of the rows, floored as selection does; None if none is.

    Of rows that tie at the cut each counts by the share of them that is kept.
    """
    count = int(Decimal(str(fraction)) * len(scores))
    if not count:
        return None
    kept, right = _kept_and_right(scores, labels)
    place = int(np.searchsorted(kept, count))
    before = (kept[place - 1], right[place - 1]) if place else (0.0, 0.0)
    share = (count - before[0]) / (kept[place] - before[0])
    return float((before[1] + share * (right[place] - before[1])) / count)


def _kept_and_right(scores: Floats, labels: Floats) -> tuple[Floats, Floats]:
    """Return how many rows score at least each distinct score, the highest first, and how many of them match."""
    _, place, count = np.unique(-scores, return_inverse=True, return_counts=True)
    right = np.bincount(place, weights=labels, minlength=len(count))
    return np.cumsum(count).astype(np.float64), np.cumsum(right)


def kendall(scores: Floats, ratings: Floats) -> dict[str, float | None]:
    """Return Kendall's tau-b and Stuart's tau-c; None where scores or ratings are all the same.

    Both compare C, pairs of rows in one order less pairs in opposite orders: tau-b with the root of the pairs that do
    not tie in scores times those that do not tie in ratings, tau-c with n^2 (m - 1) / 2m, m being the smaller number of
    distinct values (Kendall 1945; Stuart 1953).
    """
    try:
        from scipy.stats import kendalltau
    except ImportError as error:
        raise MissingExtra.of("scipy", "build") from error
    counts = [np.unique(values, return_counts=True)[1].astype(np.float64) for values in (scores, ratings)]
    distinct, rows = min(map(len, counts)), len(scores)
    if distinct < 2:
        return {"kendall_tau_b": None, "kendall_tau_c": None}
    tau_b = float(kendalltau(scores, ratings, method="asymptotic").statistic)
    untied = [rows * (rows - 1) / 2 - float(count @ (count - 1)) / 2 for count in counts]
    concordant = tau_b * math.sqrt(untied[0]) * math.sqrt(untied[1])
    return {"kendall_tau_b": tau_b, "kendall_tau_c": 2 * concordant * distinct / (rows**2 * (distinct - 1))}
