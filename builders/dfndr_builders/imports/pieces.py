"""Pieces of tars: so many samples as are held at a time, found by one walk over headers and the samples' json."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dfndr import storage
from dfndr.format.uid import pack_uids
from dfndr_builders.imports.sample import IMAGES, json_of, samples_of, uid_of_sample

__all__ = ["Piece", "rows_of_piece", "walked"]

_ROWS, _BYTES = 10_000, 256_000_000


@dataclass(frozen=True)
class Piece:
    """Samples of a tar that follow one another: where the first begins, their size there, and their uids, packed."""

    path: str
    start: int
    size_bytes: int
    uids: npt.NDArray[np.uint8]


def rows_of_piece(row_bytes: int) -> int:
    """Return how many rows a piece has: at most 10,000, and about 256 MB of vectors."""
    return max(1, min(_ROWS, _BYTES // max(1, row_bytes)))


def walked(paths: Iterable[str], most: int) -> tuple[list[Piece], bool]:
    """Return the pieces of tars, at most `most` samples each, and whether any sample has a picture.

    16 bytes a sample are held. Raises FormatError for a tar that cannot be read to its end.
    """
    pieces, has_pictures = [], False
    for path in paths:
        starts: list[int] = []
        uids: list[str] = []
        for sample in samples_of(path, only=(".json",)):
            if len(uids) % most == 0:
                starts.append(sample.start)
            uids.append(uid_of_sample(sample, json_of(sample, ".json")))
            has_pictures = has_pictures or any(suffix in sample.members for suffix in IMAGES)
        packed, ends = pack_uids(uids, path), [*starts[1:], storage.size_of(path)]
        for number, (start, end) in enumerate(zip(starts, ends[: len(starts)], strict=True)):
            pieces.append(Piece(path, start, end - start, packed[number * most : (number + 1) * most]))
    return pieces, has_pictures
