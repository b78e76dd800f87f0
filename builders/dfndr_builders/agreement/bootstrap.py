"""Intervals of figures by resampling pictures: pairs of one picture are no independent observations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dfndr.seeds import rng_for
from dfndr_builders.agreement.figures import Measure

__all__ = ["LEVEL", "Figure", "measured"]

LEVEL = 0.95


@dataclass(frozen=True)
class Figure:
    """A figure and the interval that holds `LEVEL` of its values over the resamples; `why` where it is undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None
    why: str = ""


def measured(
    measure: Measure,
    scores: npt.NDArray[np.float64],
    truth: npt.NDArray[np.float64],
    groups: npt.NDArray[np.int64],
    *,
    resamples: int,
    seed: int,
    why: str,
) -> dict[str, Figure]:
    """Return each figure of the rows, with a percentile interval; `groups` numbers the picture of each row from 0.

    A resample draws as many pictures as there are, with replacement, and takes all rows of each as often as it was
    drawn (the cluster bootstrap: Davison and Hinkley 1997, section 3.8). One in which a figure is undefined tells
    nothing of it. `why` is said of a figure that the rows do not define.
    """
    order = np.argsort(groups, kind="stable")
    pictures = int(groups.max()) + 1
    starts = np.searchsorted(groups[order], np.arange(pictures + 1))
    values = measure(scores, truth)
    drawn: dict[str, list[float]] = {name: [] for name in values}
    generator = rng_for(seed, "bootstrap of pictures")
    for _ in range(resamples):
        rows = order[_rows_of(generator.integers(0, pictures, pictures), starts)]
        for name, value in measure(scores[rows], truth[rows]).items():
            if value is not None:
                drawn[name].append(value)
    return {name: _figure(value, drawn[name], why) for name, value in values.items()}


def _rows_of(pictures: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the places starts[p], ..., starts[p + 1] - 1 for each picture p, one after the other."""
    counts = starts[pictures + 1] - starts[pictures]
    firsts = np.repeat(starts[pictures] - (np.cumsum(counts) - counts), counts)
    places: npt.NDArray[np.int64] = firsts + np.arange(len(firsts))
    return places


def _figure(value: float | None, drawn: list[float], why: str) -> Figure:
    if value is None:
        return Figure(None, why=why)
    if not drawn:
        return Figure(value, why="no resample defines it")
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Figure(value, low, high)
