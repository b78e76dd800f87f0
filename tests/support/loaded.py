"""What the tests of the loader load: datasets of several sizes, with views and captions, in shards of many lengths."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from dfndr.dataset import Dataset
from dfndr.format.schema import Space
from dfndr.loader import Loader
from support.tiny import CAPTION, IMAGE, TEXT, write_dataset

__all__ = ["CASES", "FRAMEWORKS", "OTHER_VIEWS", "SHUFFLES", "VIEWS", "captions_of", "flat", "loaded", "rows_of"]

VIEWS = Space("image", "views", dim=8, per_row=4)
OTHER_VIEWS = Space("image", "other", dim=6, per_row=4, dtype="float32")
SHUFFLES = ["exact", "block", None]
FRAMEWORKS = ["torch", "numpy"]
CASES = {
    "size": st.sampled_from([1, 60, 711]),
    "batch_size": st.integers(1, 90),
    "world_size": st.integers(1, 5),
    "shuffle": st.sampled_from(SHUFFLES),
    "seed": st.integers(0, 3),
    "epoch": st.integers(0, 3),
}


def captions_of(row: int) -> int:
    return row % 4


def loaded(root: Path) -> dict[int, Dataset]:
    """Write datasets, by their number of rows; row r holds r % 4 captions in 3 places (3 of them for r % 4 == 3)."""

    def write(counts: list[int]) -> Dataset:
        captions = pa.array([["caption"] * captions_of(row) for row in range(sum(counts))], pa.list_(pa.string()))
        spaces = (IMAGE, TEXT, CAPTION, VIEWS, OTHER_VIEWS)
        return write_dataset(root / str(sum(counts)), counts, spaces, columns={"captions": captions})

    return {sum(counts): write(counts) for counts in ([1], [25, 0, 3, 32], [300, 7, 403, 1])}


def rows_of(loader: Loader, epochs: int = 1) -> list[list[list[int]]]:
    """Return the rows of each batch of some epochs."""
    return [[batch.rows.tolist() for batch in loader] for _ in range(epochs)]


def flat(lists: Any) -> list[Any]:
    return list(chain.from_iterable(lists))
