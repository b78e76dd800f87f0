"""Cosines of stored vectors: fast and exact over small integers to find candidates, in float64 to decide.

`on_grid` scales a vector to length 2048 and rounds it to whole numbers. Dot products of such vectors, and all sums on
the way to one, are whole numbers below 2^24 (Cauchy and Schwarz), so float32 holds them exactly: the same bits in any
order of summation, for any batch, number of threads or machine. What differs from the true cosine is bounded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from dfndr.dataset import Dataset
from dfndr_builders.duplicates.groups import Rows

__all__ = ["Grid", "Stored", "blocks", "candidates", "content_hashes", "cosines", "cosines_of_rows", "on_grid"]

Stored = npt.NDArray[np.floating[Any]]
"""Vectors as they are stored, float16 or float32, shape (n, dim)."""

Grid = npt.NDArray[np.float32]
"""Vectors of whole numbers and length 2048, give or take half the root of dim, shape (n, dim)."""

LENGTH = 2048
_BLOCK_BYTES = 1 << 25
_PAIRS = 1 << 14


def blocks(scores: Dataset, space: str) -> Iterator[tuple[int, Stored]]:
    """Yield the first vector of every row, in order, as (number of the first row, vectors in the storage type)."""
    start = 0
    for mapped in scores.mapped(space):
        step = max(1, _BLOCK_BYTES // (4 * mapped.shape[2]))
        for first in range(0, len(mapped), step):
            yield start + first, np.ascontiguousarray(mapped[first : first + step, 0])
        start += len(mapped)


def on_grid(vectors: Stored) -> Grid:
    """Return vectors scaled to length 2048 and rounded; a vector of zeros stays one."""
    wide = vectors.astype(np.float64)
    lengths = np.sqrt(np.einsum("nd,nd->n", wide, wide))
    wide *= (LENGTH / np.where(lengths > 0, lengths, 1.0))[:, None]
    return np.rint(wide, out=wide).astype(np.float32)


def candidates(left: Grid, right: Grid, cosine: float) -> tuple[Rows, Rows]:
    """Return the pairs of `left` and `right` whose cosine may be at least `cosine`: all that are, and few others."""
    rounding = np.sqrt(left.shape[1]) / 2  # the furthest that rounding can move a vector
    lowest = cosine * LENGTH**2 - 2 * LENGTH * rounding - rounding**2
    found = np.flatnonzero(left @ right.T >= np.float32(np.floor(lowest)))
    return np.divmod(found, max(1, len(right)))


def cosines(left: Stored, right: Stored) -> npt.NDArray[np.float64]:
    """Return the cosine of each vector of `left` with that at its place in `right`, in float64; NaN with zeros.

    Of unit vectors in float16 the sums are exact: products are whole multiples of 2^-48.
    """
    wide, other = left.astype(np.float64), right.astype(np.float64)
    squares = np.einsum("nd,nd->n", wide, wide) * np.einsum("nd,nd->n", other, other)
    found = np.full(len(wide), np.nan)
    np.divide(np.einsum("nd,nd->n", wide, other), np.sqrt(squares), out=found, where=squares > 0)
    return found


def cosines_of_rows(scores: Dataset, space: str, ones: Rows, others: Rows) -> npt.NDArray[np.float64]:
    """Return the cosines of pairs of rows, given by their numbers in the dataset."""
    found = np.empty(len(ones), dtype=np.float64)
    for start in range(0, len(ones), _PAIRS):
        here = slice(start, start + _PAIRS)
        left, right = (scores.vectors(space, rows[here])[:, 0] for rows in (ones, others))
        found[here] = cosines(left, right)
    return found


def content_hashes(vectors: Stored) -> npt.NDArray[np.uint64]:
    """Return 64 bits of a hash of each vector's bytes: the name that a vector keeps wherever its row stands."""
    digests = (hashlib.blake2b(vector.tobytes(), digest_size=8).digest() for vector in vectors)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)
