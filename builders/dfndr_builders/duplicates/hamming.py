"""All pairs of 64-bit hashes within a Hamming distance, none missed, in blocks of bounded size.

Pigeonhole: where the 64 bits are cut into bands, and the flips allowed in each band, plus one, add up to more than the
radius, then two hashes within the radius differ in some band by at most its flips. So each band's values, with every
such set of bits flipped, are looked up in a table of that band, and what is found there is compared in full. A plan
chooses the bands by what they are expected to cost over evenly spread hashes; where there are few hashes it is cheaper
to compare each with each. Band b takes the bits b, b + bands, ...: neighbouring bits of a perceptual hash are alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

from dfndr.errors import UsageError
from dfndr_builders.duplicates.groups import Rows

__all__ = ["MAX_RADIUS", "Hashes", "Pairs", "bits_apart", "pairs_within"]

Hashes = npt.NDArray[np.uint64]
Pairs = tuple[Rows, Rows, npt.NDArray[np.uint8]]
"""Positions on the left, positions on the right, and the bits in which the two differ."""

MAX_RADIUS = 16
"""Half of the bits differ between hashes of unlike pictures, give or take four: beyond this nothing is near."""

_BLOCK = 1 << 20  # pairs compared at once
_QUERIES = 1 << 17
_BANDS = range(3, 9)  # fewer would need tables of more than 2^22 entries
_ASK_NS, _COMPARE_NS, _BRUTE_NS = 12.0, 12.0, 2.0  # measured; only their ratios matter


@dataclass(frozen=True)
class _Band:
    bits: tuple[int, ...]
    flips: int

    def values(self, hashes: Hashes) -> Rows:
        found = np.zeros(len(hashes), dtype=np.int64)
        for place, bit in enumerate(self.bits):
            found |= ((hashes >> np.uint64(bit)) & np.uint64(1)).astype(np.int64) << place
        return found

    def masks(self) -> list[int]:
        sets = (bits for count in range(self.flips + 1) for bits in combinations(range(len(self.bits)), count))
        return [sum(1 << bit for bit in bits) for bits in sets]


def bits_apart(left: Hashes, right: Hashes) -> npt.NDArray[np.uint8]:
    """Return in how many bits hashes differ; the arrays broadcast."""
    differ = left ^ right
    if hasattr(np, "bitwise_count"):  # since NumPy 2.0
        return np.asarray(np.bitwise_count(differ), dtype=np.uint8)
    octets = np.ascontiguousarray(differ)[..., None].view(np.uint8)
    return np.asarray(_ONES[octets].sum(axis=-1), dtype=np.uint8)


_ONES = np.array([value.bit_count() for value in range(256)], dtype=np.uint8)


def pairs_within(left: Hashes, right: Hashes | None, radius: int) -> Iterator[Pairs]:
    """Yield blocks of all pairs of `left` and `right` at most `radius` bits apart; a pair may come more than once.

    Without `right`, the pairs are of two different positions on the left, and one order of the two may be all that
    comes. Raises UsageError for a radius outside of [0, MAX_RADIUS].
    """
    if not 0 <= radius <= MAX_RADIUS:
        do = "Choose a smaller one: at 10 bits apart, few pictures are still alike."
        raise UsageError("radius", expected=f"0 to {MAX_RADIUS} bits", found=str(radius), do=do)
    others = left if right is None else right
    bands = _plan(len(left), len(others), radius)
    for band in bands:
        yield from _in_band(left, others, band, radius, is_self=right is None)
    if not bands:
        yield from _each_with_each(left, others, radius, is_self=right is None)


def _plan(left: int, right: int, radius: int) -> list[_Band]:
    """Return the cheapest bands; none where comparing each with each is cheaper still."""
    best: list[_Band] = []
    lowest = _BRUTE_NS * left * right
    for count in _BANDS:
        bands = []
        for number in range(count):
            flips = (radius + 1) // count + (number < (radius + 1) % count) - 1
            bands.append(_Band(tuple(range(number, 64, count)), flips))
        bands = [band for band in bands if band.flips >= 0]
        cost = sum(_cost(left, right, band) for band in bands)
        if cost < lowest:
            best, lowest = bands, cost
    return best


def _cost(left: int, right: int, band: _Band) -> float:
    width = len(band.bits)
    masks = sum(comb(width, flips) for flips in range(band.flips + 1))
    return masks * (_ASK_NS * left + _COMPARE_NS * left * right / (1 << width))


def _each_with_each(left: Hashes, right: Hashes, radius: int, *, is_self: bool) -> Iterator[Pairs]:
    step = max(1, _BLOCK // max(1, len(right)))
    for start in range(0, len(left), step):
        apart = bits_apart(left[start : start + step, None], right[None, :])
        ones, others = np.nonzero(apart <= radius)
        chosen = ones + start < others if is_self else slice(None)
        yield (ones + start)[chosen], others[chosen], apart[ones, others][chosen]


def _in_band(left: Hashes, right: Hashes, band: _Band, radius: int, *, is_self: bool) -> Iterator[Pairs]:
    """Yield the pairs whose values in the band differ by at most its flips, and that are within the radius."""
    asked, there = band.values(left), band.values(right)
    order, table = np.argsort(asked, kind="stable"), np.argsort(there, kind="stable")
    sizes = np.bincount(there, minlength=1 << len(band.bits))
    stops = np.cumsum(sizes)
    asked, left_sorted, right_sorted = asked[order], left[order], right[table]
    for start in range(0, len(asked), _QUERIES):
        values = asked[start : start + _QUERIES]
        for mask in band.masks():
            wanted = values ^ mask
            counts = sizes[wanted]
            chosen = np.flatnonzero((counts > 0) & (wanted >= values)) if is_self else np.flatnonzero(counts)
            begins, counts = stops[wanted[chosen]] - counts[chosen], counts[chosen]
            for queries, found in _expanded(begins, counts):
                ones, others = chosen[queries] + start, found
                apart = bits_apart(left_sorted[ones], right_sorted[others])
                near = apart <= radius
                if is_self and mask == 0:
                    near &= order[ones] < table[others]
                if near.any():
                    yield order[ones[near]], table[others[near]], apart[near]


def _expanded(begins: Rows, counts: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Yield (query, position) for each position in [begin, begin + count) of each query, a block at a time."""
    stops = np.cumsum(counts)
    total = int(stops[-1]) if len(stops) else 0
    for low in range(0, total, _BLOCK):
        high = min(low + _BLOCK, total)
        first, last = np.searchsorted(stops, (low, high - 1), side="right")
        here = slice(first, last + 1)
        lows = np.maximum(stops[here] - counts[here], low)
        lengths = np.minimum(stops[here], high) - lows
        shift = begins[here] - (stops[here] - counts[here])
        yield np.repeat(np.arange(first, last + 1), lengths), np.arange(low, high) + np.repeat(shift, lengths)
