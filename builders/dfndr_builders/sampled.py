"""A part of a pool, held in memory: what something small is trained on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from dfndr.errors import PoolError
from dfndr.images import BadImage, decode
from dfndr.progress import SILENT, Progress
from dfndr.seeds import hash_fraction, hash_int
from dfndr_builders.pools.base import Pool
from dfndr_builders.stage import good_rows

__all__ = ["Problems", "Ready", "Sampled", "held_out", "sample", "squares"]

Problems: TypeAlias = Mapping[int, tuple[str, str]]
Ready: TypeAlias = Callable[[Sequence[bytes]], tuple[npt.NDArray[Any], Problems]]
"""Makes a row of an array of each picture file; `Problems` say which rows are not to be used, and why."""


@dataclass(frozen=True, eq=False)
class Sampled:
    """Distinct rows of a pool: names by which they are told apart, texts, and one row of `values` each.

    `problems` counts, by reason, the rows that were met and could not be used.
    """

    names: tuple[str, ...]
    texts: tuple[str, ...]
    values: npt.NDArray[Any]
    problems: Mapping[str, int]


def squares(images: Sequence[bytes], side: int) -> tuple[npt.NDArray[np.uint8], Problems]:
    """Return the middle square of each picture, bicubic, uint8 of shape (n, side, side, 3); zeros where it is bad."""
    from PIL import Image, ImageOps

    pixels, problems = np.zeros((len(images), side, side, 3), dtype=np.uint8), dict[int, tuple[str, str]]()
    for place, image in enumerate(images):
        try:
            pixels[place] = np.asarray(ImageOps.fit(decode(image), (side, side), Image.Resampling.BICUBIC))
        except BadImage as bad:
            problems[place] = (bad.reason, bad.detail)
    return pixels, problems


def sample(
    pool: Pool,
    ready: Ready,
    *,
    most: int,
    seed: int,
    distinct: Literal["image", "uid"],
    what: str = "pairs",
    progress: Progress = SILENT,
) -> Sampled:
    """Return at most `most` good rows, those of smallest hash, whatever the order of the pool; none comes twice.

    Rows are one where they share the picture file, or the uid. Raises PoolError where no row can be used.
    """
    chosen: dict[int, tuple[str, str, npt.NDArray[Any]]] = {}
    limit, problems = 1 << 64, Counter[str]()
    with progress.task(f"read {what}", total=None) as task:
        for shard in pool.shards():
            for table in pool.read(shard):
                task.advance(len(table))
                problems.update(reason for reason in table["problem"].to_pylist() if reason is not None)
                met: dict[int, tuple[str, int]] = {}
                for row in good_rows(table):
                    name = _name(table, row, distinct)
                    key = hash_int(seed, "sample", name)
                    if key < limit and key not in chosen:
                        met[key] = (name, row)
                values, bad = ready([table["image"][row].as_py() for _, row in met.values()])
                for place, (key, (name, row)) in enumerate(met.items()):
                    if place in bad:
                        problems[bad[place][0]] += 1
                    else:
                        chosen[key] = (name, table["text"][row].as_py() or "", values[place].copy())
                if len(chosen) >= 2 * most:
                    chosen = {key: chosen[key] for key in nsmallest(most, chosen)}
                    limit = max(chosen)
    if not chosen:
        found = f"none; left out: {dict(problems)}"
        raise PoolError(what, expected="rows to learn from", found=found, do="Check the pools of the section.")
    rows = [chosen[key] for key in nsmallest(most, chosen)]
    names, texts, arrays = zip(*rows, strict=True)
    return Sampled(names, texts, np.stack(arrays), dict(sorted(problems.items())))


def _name(table: Any, row: int, distinct: str) -> str:  # noqa: ANN401  pyarrow has no types
    if distinct == "uid":
        return str(table["uid"][row].as_py())
    return hashlib.sha256(table["image"][row].as_py()).hexdigest()


def held_out(names: Sequence[str], seed: int, share: float) -> npt.NDArray[np.bool_]:
    """Say of each row, by a hash of its name, whether it is kept for measuring."""
    return np.array([hash_fraction(seed, "held-out", name) < share for name in names], dtype=np.bool_)
