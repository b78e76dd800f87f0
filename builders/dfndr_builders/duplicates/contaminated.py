"""Contamination: rows that match an evaluation image, by perceptual hash or by vector, and which one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr.progress import SILENT, Progress
from dfndr_builders.duplicates.cosine import blocks, candidates, cosines, on_grid
from dfndr_builders.duplicates.groups import Rows
from dfndr_builders.duplicates.hamming import Hashes, pairs_within
from dfndr_builders.duplicates.near import hashes_of

__all__ = ["NearContaminated", "SemanticContaminated"]

_FIELDS = [
    pa.field("contaminated", pa.bool_()),
    pa.field("contaminated_by", pa.string()),
    pa.field("contaminated_distance", pa.float32()),
]
_LEFT, _RIGHT, _PAIRS = 2048, 4096, 1 << 14


@dataclass(frozen=True, eq=False)
class NearContaminated:
    """Rows whose `phash` is at most `radius` bits from one of `hashes` (uint64, shape (m,)), named by `keys`.

    Columns `contaminated`, never null, and null where that is false: `contaminated_by`, the key of the nearest (the
    smallest key among equals), and `contaminated_distance`, in bits. About 30 bytes of memory a row.
    """

    keys: tuple[str, ...]
    hashes: Hashes
    radius: int = 4

    def fields(self) -> list[pa.Field]:
        """Return the three columns."""
        return list(_FIELDS)

    def tables(self, scores: Dataset, progress: Progress = SILENT) -> Iterator[pa.Table]:
        """Yield the columns shard by shard; raises UsageError where there is not one key for each hash."""
        _check(self.keys, self.hashes, (len(self.keys),))
        by_key = _order(self.keys)
        hashes, is_there = hashes_of(scores)
        rows = np.flatnonzero(is_there)
        best = _Best(len(hashes))
        with progress.task("contamination", None, "pairs") as task:
            wanted = np.asarray(self.hashes, dtype=np.uint64)[by_key]
            for ones, others, bits in pairs_within(hashes[rows], wanted, self.radius):
                best.offer(rows[ones], others, bits.astype(np.float64))
                task.advance(len(ones))
        yield from best.tables(scores, [self.keys[place] for place in by_key])


@dataclass(frozen=True, eq=False)
class SemanticContaminated:
    """Rows whose cosine in `space` to one of `vectors` (shape (m, dim)), named by `keys`, is at least `cosine`.

    The columns are those of NearContaminated; `contaminated_distance` is 1 - cosine. Every row is compared with every
    vector, in blocks, so nothing is missed; 12 bytes of memory a row.
    """

    keys: tuple[str, ...]
    vectors: npt.NDArray[np.floating[Any]]
    space: str
    cosine: float

    def fields(self) -> list[pa.Field]:
        """Return the three columns."""
        return list(_FIELDS)

    def tables(self, scores: Dataset, progress: Progress = SILENT) -> Iterator[pa.Table]:
        """Yield the columns shard by shard; raises UsageError where keys, vectors and space do not fit together."""
        _check(self.keys, self.vectors, (len(self.keys), scores.space(self.space).dim))
        if not 0 < self.cosine <= 1:
            raise UsageError("cosine", expected="above 0, at most 1", found=str(self.cosine), do="Try 0.95.")
        by_key = _order(self.keys)
        wanted = self.vectors[by_key]
        grids = [on_grid(wanted[start : start + _RIGHT]) for start in range(0, len(wanted), _RIGHT)]
        best = _Best(len(scores))
        with progress.task("contamination", len(scores)) as task:
            for start, block in blocks(scores, self.space):
                for low in range(0, len(block), _LEFT):
                    part = block[low : low + _LEFT]
                    left = on_grid(part)
                    for number, right in enumerate(grids):
                        all_ones, all_others = candidates(left, right, self.cosine)
                        for first in range(0, len(all_ones), _PAIRS):
                            here = slice(first, first + _PAIRS)
                            ones, others = all_ones[here], all_others[here] + number * _RIGHT
                            found = cosines(part[ones], wanted[others])
                            near = found >= self.cosine
                            best.offer(ones[near] + start + low, others[near], np.maximum(1 - found[near], 0))
                task.advance(len(block))
        yield from best.tables(scores, [self.keys[place] for place in by_key])


class _Best:
    """For each row, the nearest of what was offered, and the smallest number among equals."""

    def __init__(self, count: int) -> None:
        self._others = np.full(count, -1, dtype=np.int32)
        self._distances = np.full(count, np.inf)

    def offer(self, rows: Rows, others: Rows, distances: npt.NDArray[np.float64]) -> None:
        """Take each distance between a row and another, where it is smaller than what the row has."""
        order = np.lexsort((others, distances, rows))
        rows, others, distances = rows[order], others[order], distances[order]
        is_first = np.ones(len(rows), dtype=bool)
        is_first[1:] = rows[1:] != rows[:-1]
        rows, others, distances = rows[is_first], others[is_first], distances[is_first]
        had, number = self._distances[rows], self._others[rows]
        better = (distances < had) | ((distances == had) & (others < number))
        self._others[rows[better]], self._distances[rows[better]] = others[better], distances[better]

    def tables(self, scores: Dataset, keys: list[str]) -> Iterator[pa.Table]:
        """Yield the three columns shard by shard; `keys` are the names of the others, by number."""
        start = 0
        names = pa.array(keys, pa.string())
        for shard in scores.shards:
            here = slice(start, start + shard.rows)
            is_clean = self._others[here] < 0
            columns = [
                pa.array(~is_clean),
                names.take(pa.array(self._others[here], mask=is_clean)),
                pa.array(self._distances[here].astype(np.float32), mask=is_clean),
            ]
            yield pa.table(columns, schema=pa.schema(_FIELDS))
            start += shard.rows


def _order(keys: tuple[str, ...]) -> Rows:
    """Return the places of the keys from the smallest to the largest."""
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def _check(keys: tuple[str, ...], given: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
    if given.shape != shape:
        expected, found = f"an array of shape {shape} for {len(keys)} keys", f"shape {given.shape}"
        raise UsageError("evaluation images", expected=expected, found=found, do="Prepare one entry for each key.")
