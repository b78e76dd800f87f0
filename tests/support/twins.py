"""Two datasets that every reader must find the same: one that rows were taken out of, and one that never had them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from dfndr_builders.removing import remove
from PIL import Image

from dfndr.dataset import Dataset, open_dataset
from dfndr.format.shard import row_types
from support.tiny import CAPTION, IMAGE, TEXT, write_dataset

SPACES = (IMAGE, TEXT, CAPTION)


@dataclass(frozen=True)
class Twins:
    """`whole` as it was, `left` after the removal, `never` written without the rows; `kept` are their numbers."""

    whole: Dataset
    left: Dataset
    never: Dataset
    kept: list[int]
    gone: list[str]


def columns_of(rows: int) -> dict[str, object]:
    """Return columns beside uid and text."""
    return {
        "score": pa.array([(row * 37 % 100) / 100 for row in range(rows)], pa.float32()),
        "source": ["abc"[row % 3] for row in range(rows)],
        "captions": pa.array([[f"caption {row}"] * (1 + row % 3) for row in range(rows)], pa.list_(pa.string())),
        "thumbnail": pa.array(
            [{"bytes": _picture(row), "path": None} for row in range(rows)], row_types()["thumbnail"]
        ),
    }


def _picture(row: int) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (4, 3), (row % 256, 90, 30)).save(target, "PNG")
    return target.getvalue()


def write_twins(root: Path, shards: Sequence[int], gone: Sequence[int], *, times: int = 1) -> Twins:
    """Write both; the rows of `gone` are removed in `times` runs. Every second shard is of the validation split."""
    splits = ["validation" if number % 2 else "train" for number in range(len(shards))]
    whole = write_dataset(root / "left", shards, SPACES, columns=columns_of(sum(shards)), splits=splits)
    table = whole.rows()
    uids = table["uid"].to_pylist()
    for part in range(times):
        remove(root / "left", [uids[row] for row in gone[part::times]], reason="asked for", date="2026-01-31")
    kept = sorted(set(range(sum(shards))) - set(gone))
    starts = np.cumsum([0, *shards])
    counts = [sum(1 for row in kept if starts[n] <= row < starts[n + 1]) for n in range(len(shards))]
    taken = table.take(pa.array(kept, pa.int64()))
    columns = {name: taken[name].combine_chunks() for name in taken.column_names}
    vectors = {space.name: whole.vectors(space.name, kept) for space in SPACES}
    never = write_dataset(root / "never", counts, SPACES, columns=columns, vectors=vectors, splits=splits)
    return Twins(whole, open_dataset(root / "left"), never, kept, [uids[row] for row in gone])
