"""What the tests of a loader's conditions, weights and schedules load: rows with scores, some of them null."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dfndr.dataset import Dataset
from dfndr.loader import Loader
from support.tiny import CAPTION, IMAGE, write_dataset

__all__ = ["CONDITIONS", "ROWS", "SCORES", "SHUFFLES", "WEIGHTS", "comb", "epoch_of", "flat", "loader_of", "sampled"]

ROWS = 307
SCORES = [None if row % 11 == 5 else (row * 37 % 100) / 100 for row in range(ROWS)]
WEIGHTS = [float(row % 4) for row in range(ROWS)]
SHUFFLES = ["exact", "block", None]
CONDITIONS = {
    "all": (None, lambda row: True),
    "high": (pc.field("score") >= 0.4, lambda row: SCORES[row] is not None and SCORES[row] >= 0.4),
    "low": (pc.field("score") < 0.2, lambda row: SCORES[row] is not None and SCORES[row] < 0.2),
    "both": (
        (pc.field("score") > 0.305) & pc.field("source").isin(["a", "c"]),
        lambda row: SCORES[row] is not None and SCORES[row] > 0.305 and row % 3 != 1,
    ),
    "unscored": (pc.field("score").is_null(), lambda row: SCORES[row] is None),
}


def sampled(root: Path) -> Dataset:
    """Write the dataset."""
    columns = {
        "score": pa.array(SCORES, pa.float32()),
        "weight": pa.array(WEIGHTS, pa.float32()),
        "holes": pa.array([None if row == 40 else 1.0 for row in range(ROWS)]),
        "source": ["abc"[row % 3] for row in range(ROWS)],
        "captions": pa.array([["caption"] * (row % 4) for row in range(ROWS)], pa.list_(pa.string())),
    }
    return write_dataset(root, [100, 0, 7, 200], (IMAGE, CAPTION), columns={**columns, "Score": WEIGHTS})


def loader_of(dataset: Dataset, **given: Any) -> Loader:
    return Loader(dataset, [], columns=[], **{"batch_size": 16, **given})


def flat(lists: Any) -> list[Any]:
    return list(chain.from_iterable(lists))


def epoch_of(loader: Loader, epoch: int | None = None) -> list[int]:
    """Return the rows of an epoch, the present one by default."""
    if epoch is not None:
        loader.set_epoch(epoch)
    return flat(batch.rows.tolist() for batch in loader)


def comb(weights: Sequence[float], offset: float) -> list[int]:
    """The numbers of the items under the teeth k + offset of a comb over exact sums, found one by one."""
    sums, total, found, item = Fraction(0), sum(map(Fraction, weights)), [], 0
    ends = [(sums := sums + Fraction(weight)) * len(weights) / total for weight in weights]
    for tooth in range(len(weights)):
        while ends[item] <= tooth + Fraction(offset):
            item += 1
        found.append(item)
    return found
