"""The n-th best of any number of values, part by part: rows are counted by leading bits, then by the next.

Floats are looked at as whole numbers that have the same order (IEEE 754): two passes over float32 and four over float64
give an exact answer, more where there are thousands of parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["nth_best"]

_CELLS = 1 << 21

Floats: TypeAlias = npt.NDArray[Any]
Whole: TypeAlias = npt.NDArray[np.int64]
Keys: TypeAlias = npt.NDArray[np.uint64]
Read: TypeAlias = Callable[[float, float], Iterable[tuple[Whole, Floats]]]


def nth_best(read: Read, parts: Whole, *, wanted: Whole, bits: int) -> tuple[npt.NDArray[np.float64], Whole, Whole]:
    """Return of each part its `wanted`-th best value, how many rows at that value are wanted, and how many there are.

    `read(low, high)` yields the rows' parts and values from low to high, float32 or float64 (`bits` 32 or 64), never
    NaN. `parts` are all parts there are, whole numbers from 0. Where none is wanted the value is inf, and -inf where
    all rows are; the counts are those of the whole part.
    """
    places = np.full(int(parts.max(initial=0)) + 1, -1, np.int64)
    low, left, rows = np.zeros(len(parts), np.uint64), wanted.copy(), np.zeros(len(parts), np.int64)
    is_open, shift = np.ones(len(parts), bool), bits
    while shift and is_open.any():
        width, is_first = 1 << shift, shift == bits
        places[parts] = np.where(is_open, np.arange(len(parts)), -1)
        step = min(shift, 16, max(4, (_CELLS // len(parts)).bit_length() - 1))
        shift -= step
        span = (-np.inf, np.inf) if is_first else _values(_ends(low[is_open], width), bits)
        counts = np.zeros((len(parts), 1 << step), np.int64)
        for part, value in read(float(span[0]), float(span[1])):
            place, cell = places[part], _keys(value, bits)
            cell = (cell - low[place]) >> np.uint64(shift)
            is_in = (place >= 0) & (cell < 1 << step)
            cells = (place[is_in] << step) + cell[is_in].astype(np.int64)
            counts += np.bincount(cells, minlength=counts.size).reshape(counts.shape)
        above = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]  # rows in a cell or in a higher one
        if is_first:
            rows = above[:, 0].copy()
            is_open &= (left >= 1) & (left < rows)
        chosen = np.flatnonzero(is_open)
        cell = np.count_nonzero(above[chosen] >= left[chosen, None], axis=1) - 1
        rows[chosen] = counts[chosen, cell]
        left[chosen] -= above[chosen, cell] - counts[chosen, cell]
        low[chosen] += cell.astype(np.uint64) << np.uint64(shift)
    found = np.where(wanted < 1, np.inf, -np.inf)
    found[is_open] = _values(low[is_open], bits)
    return found, left, rows


def _ends(low: Keys, width: int) -> Keys:
    return np.array([low.min(), low.max() + np.uint64(width - 1)])


def _keys(values: Floats, bits: int) -> Keys:
    """Return floats as whole numbers in the same order; -0 is 0."""
    whole = (values + values.dtype.type(0)).view(f"i{bits // 8}")
    ordered = whole ^ ((whole >> (bits - 1)) & np.iinfo(whole.dtype).max)
    keys: Keys = ordered.astype(np.int64).view(np.uint64) + np.uint64(1 << (bits - 1))
    return keys


def _values(keys: Keys, bits: int) -> npt.NDArray[np.float64]:
    """Return the floats that keys stand for; beyond the largest there is infinity."""
    ordered = (keys - np.uint64(1 << (bits - 1))).view(np.int64).astype(f"i{bits // 8}")
    whole = ordered ^ ((ordered >> (bits - 1)) & np.iinfo(ordered.dtype).max)
    values = whole.view(f"f{bits // 8}").astype(np.float64)
    return np.where(np.isnan(values), np.where(ordered < 0, -np.inf, np.inf), values)
