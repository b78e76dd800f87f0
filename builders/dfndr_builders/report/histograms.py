"""Distributions of columns before and after, streamed shard by shard: what is held is the bars, never the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["Histogram", "Values", "column_values", "histograms"]

_BARS = (8, 60)
"""The fewest and the most bars; in between they are twice the root of the number of values."""

_SEEN_PER_TABLE = 4_096
_TAILS = (0.001, 0.999)
_LOG_RATIO = 200.0
"""From which ratio of the largest value to the smallest the bars are spaced by powers."""
_MOST_RATIO = 1e8
"""Below so much less than the largest value, bars spaced by powers end: what is smaller is counted in the first."""

Numbers = npt.NDArray[np.float64]
Values = Callable[[], Iterable[Mapping[str, Numbers]]]
"""What gives, each time it is called, the finite values of some columns, table by table."""


@dataclass(frozen=True)
class Histogram:
    """Bars between `edges` (one more than bars): of all rows (None where they are gone) and of those that were kept.

    The first of `marks`, which are limits, is an edge itself, so no bar holds both sides. `is_cut_off` says that
    the first or the last bar also holds the values beyond it.
    """

    column: str
    edges: Numbers
    before: npt.NDArray[np.int64] | None
    after: npt.NDArray[np.int64]
    marks: tuple[float, ...] = ()
    is_log: bool = False
    is_cut_off: bool = False
    lowest: float = 0.0
    highest: float = 0.0


@dataclass
class _Range:
    """What the first pass learns of a column."""

    low: float = np.inf
    high: float = -np.inf
    is_whole: bool = True
    count: int = 0
    seen: list[Numbers] = field(default_factory=list)

    def add(self, values: Numbers) -> None:
        if not len(values):
            return
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        self.count += len(values)
        some = values[:: max(1, len(values) // _SEEN_PER_TABLE)]
        self.is_whole = self.is_whole and bool(np.all(some == np.floor(some)))
        self.seen.append(some)


def histograms(
    before: Values | None, after: Values, columns: Iterable[str], *, marks: Mapping[str, Sequence[float]] | None = None
) -> list[Histogram]:
    """Return a histogram of each column that has a finite value; two passes over what is given.

    `marks` are limits by column; those far from every value are left out. Ends that reach far beyond the
    middle 99.8 % of the values are cut off.
    """
    ranges = {column: _Range() for column in columns}
    for source in (before, after):
        for table in source() if source else ():
            for column, values in table.items():
                ranges[column].add(values)
    near = {column: _near(found, (marks or {}).get(column, ())) for column, found in ranges.items()}
    shapes = {
        column: _edges(found, next(iter(near[column]), None))
        for column, found in ranges.items()
        if found.high >= found.low
    }
    counted = [_counted(source, {name: edges for name, (edges, _) in shapes.items()}) for source in (before, after)]
    return [
        Histogram(
            column,
            edges,
            counted[0][column] if before else None,
            counted[1][column],
            near[column],
            is_log,
            bool(ranges[column].low < edges[0] or ranges[column].high > edges[-1]),
            ranges[column].low,
            ranges[column].high,
        )
        for column, (edges, is_log) in shapes.items()
    ]


def _near(found: _Range, marks: Sequence[float]) -> tuple[float, ...]:
    """Return the marks that lie among the values, or no further from them than they are from one another."""
    room = max(found.high - found.low, 1e-6 * abs(found.high))
    return tuple(mark for mark in marks if found.low - room <= mark <= found.high + room)


def _edges(found: _Range, mark: float | None) -> tuple[Numbers, bool]:
    """Return the edges of a column's bars, and whether they are spaced by powers."""
    low, high = found.low, found.high
    bars = int(np.clip(2 * found.count**0.5, *_BARS))
    first, last = np.quantile(np.concatenate(found.seen), _TAILS)
    room = max(last - first, 1e-12)
    low, high = float(first if first - low > room else low), float(last if high - last > room else high)
    if mark is not None:
        low, high = min(low, mark), max(high, mark)
    if low > 0 and high / low > _LOG_RATIO:
        low = max(low, min(high / _MOST_RATIO, high if mark is None else mark / 10))
        return _powers(low, high, mark, bars), True
    width = (high - low) / bars
    if found.is_whole:
        width = max(1.0, np.ceil(width))
    if width <= 1e-9 * max(abs(low), abs(high)):
        width = max(1e-6, 1e-6 * abs(low))
    below = 0 if mark is None else int(np.ceil((mark - low) / width))
    start = low if mark is None else mark - width * below
    bars = max(below, int(np.floor((high - start) / width))) + 1
    edges = np.asarray(start + width * np.arange(bars + 1), dtype=np.float64)
    if mark is not None:
        edges[below] = mark  # exact, whatever the sum was rounded to
    return edges, False


def _powers(low: float, high: float, mark: float | None, bars: int) -> Numbers:
    """Return edges spaced by powers; the one nearest to the mark is moved there, and rows lie on both sides of it."""
    if mark is not None and mark >= high:
        high = mark * (mark / low) ** (1 / bars)
    edges = np.asarray(np.geomspace(low, high, bars + 1), dtype=np.float64)
    if mark is not None and mark > low:
        nearest = int(np.abs(np.log(edges / mark)).argmin())
        edges[min(max(nearest, 1), bars - 1)] = mark
    return edges


def _counted(source: Values | None, edges: Mapping[str, Numbers]) -> dict[str, npt.NDArray[np.int64]]:
    counts = {column: np.zeros(len(bounds) - 1, dtype=np.int64) for column, bounds in edges.items()}
    for table in source() if source else ():
        for column, values in table.items():
            if column in edges:
                bounds = edges[column]
                counts[column] += np.histogram(np.clip(values, bounds[0], bounds[-1]), bounds)[0]
    return counts


def column_values(column: Any) -> Numbers:  # noqa: ANN401  a pyarrow ChunkedArray or Array
    """Return the finite values of a numeric or boolean column as float64; nulls are left out."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    values = np.asarray(column.drop_null().to_numpy(zero_copy_only=False) if isinstance(column, pa.Array)
                        else column.drop_null().to_numpy(), dtype=np.float64)  # fmt: skip
    return values[np.isfinite(values)]
