"""What encoder and heads of the experiment on heads see: classes that the encoder knows, others, and photographs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from dfndr_builders.pools.webdataset import WebDatasetPool
from PIL import Image

from benchmarks.claims.captions import CLASSES, PROMPTS, caption_of
from benchmarks.claims.cifar import held_out_tars, train_samples
from benchmarks.claims.photos import write_photos
from benchmarks.claims.scales import Scale
from benchmarks.claims.sets import read_pairs
from dfndr.seeds import rng_for
from dfndr.views.replay import apply
from dfndr.views.sampling import Sampler

__all__ = ["TASKS", "VIEWS", "Pairs", "Task", "own_pairs", "task_of"]

TASKS = ("like", "unlike", "photographs")
VIEWS = 5
SIZE = 32
_CHECKED = 500
"""Pairs of a task that learning rates are chosen by, and that nothing is trained on."""
_SAMPLER = Sampler(count=VIEWS, crop_scale=(0.5, 1.0), operations=0, plain_first=True)

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pairs:
    """Pictures as views, uint8 of shape (rows, views, height, width, 3), with a text and the place of a class each.

    Photographs have no class: their `labels` are their own rows.
    """

    views: Pixels
    texts: tuple[str, ...]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """Pairs to learn from, to choose by, and to be measured on; `prompts` of each class, of photographs none."""

    name: str
    train: Pairs
    check: Pairs
    test: Pairs
    prompts: tuple[tuple[str, ...], ...] = ()


def known_classes(seed: int) -> tuple[int, ...]:
    """Return the five classes that a seed's encoder is trained on."""
    return tuple(sorted(int(place) for place in rng_for(seed, "heads", "classes").permutation(len(CLASSES))[:5]))


def own_pairs(scale: Scale, seed: int) -> Pairs:
    """Return the pairs that the encoder is trained on, of the classes that it knows."""
    return _cifar(_shuffled(known_classes(seed), seed)[: 4 * scale.good], seed, "own", known_classes(seed))


def task_of(name: str, scale: Scale, seed: int, root: Path) -> Task:
    """Return a task, none of whose pictures the encoder was trained on."""
    if name == "photographs":
        return _photographs(scale, seed, root)
    known = known_classes(seed)
    classes = known if name == "like" else tuple(place for place in range(len(CLASSES)) if place not in known)
    samples = _shuffled(classes, seed)[4 * scale.good :]
    train, check = samples[: scale.good], samples[scale.good : scale.good + _CHECKED]
    prompts = tuple(tuple(prompt.format(CLASSES[place]) for prompt in PROMPTS) for place in classes)
    return Task(
        name,
        _cifar(train, seed, f"{name} train", classes),
        _cifar(check, seed, f"{name} check", classes),
        _cifar([sample for sample in _tested() if sample[1] in classes], seed, f"{name} test", classes),
        prompts,
    )


def _shuffled(classes: Sequence[int], seed: int) -> list[tuple[bytes, int]]:
    samples = [sample for sample in train_samples() if sample[1] in classes]
    order = rng_for(seed, "heads", "split", *map(str, classes)).permutation(len(samples))
    return [samples[int(place)] for place in order]


@lru_cache(maxsize=1)
def _tested() -> tuple[tuple[bytes, int], ...]:
    pool = WebDatasetPool(held_out_tars())
    rows = [row for shard in pool.shards() for table in pool.read(shard) for row in table.to_pylist()]
    return tuple((row["image"], CLASSES.index(row["text"])) for row in rows if row["problem"] is None)


def _cifar(samples: Sequence[tuple[bytes, int]], seed: int, purpose: str, classes: Sequence[int]) -> Pairs:
    rng = rng_for(seed, "heads", "prompts", purpose)
    texts = tuple(caption_of(label, rng) for _, label in samples)
    labels = np.array([classes.index(label) for _, label in samples], dtype=np.int64)
    return Pairs(_viewed([image for image, _ in samples], seed, purpose), texts, labels)


def _photographs(scale: Scale, seed: int, root: Path) -> Task:
    write_photos(root / "photos", scale)
    parts = {name: read_pairs(root / "photos" / f"{name}.parquet") for name in ("train", "dev")}
    order = rng_for(seed, "heads", "photographs").permutation(len(parts["train"]))
    rows = {"train": order[: scale.good], "check": order[scale.good : scale.good + _CHECKED]}
    tables = {name: parts["train"].take(chosen) for name, chosen in rows.items()} | {"test": parts["dev"]}
    found = {
        name: Pairs(
            _viewed(table["image"].to_pylist(), seed, f"photographs {name}"),
            tuple(table["text"].to_pylist()),
            np.arange(len(table)),
        )
        for name, table in tables.items()
    }
    return Task("photographs", found["train"], found["check"], found["test"])


def _viewed(images: Sequence[bytes], seed: int, purpose: str) -> Pixels:
    """Return views of pictures: the whole one first, then random crops of half of it and more."""
    found = np.empty((len(images), VIEWS, SIZE, SIZE, 3), dtype=np.uint8)
    for row, image in enumerate(images):
        with Image.open(io.BytesIO(image)) as file:
            picture = file.convert("RGB")
        for place, view in enumerate(_SAMPLER.views(seed, f"{purpose} {row}", picture.size)):
            found[row, place] = np.asarray(apply(view, picture, size=SIZE))
    return found
