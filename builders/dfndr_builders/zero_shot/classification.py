"""Zero-shot classification with prompt ensembles (Radford et al. 2021, arXiv 2103.00020, section 3.1.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.encoder import Encoder
from dfndr.errors import DataError
from dfndr.progress import SILENT, Progress
from dfndr_builders.stage import good_rows
from dfndr_builders.zero_shot.hits import hits_at, scores_of
from dfndr_builders.zero_shot.problems import Problems, in_words
from dfndr_builders.zero_shot.prompts import class_vectors
from dfndr_builders.zero_shot.sets import LabelledSet

__all__ = ["Classification", "classification_of"]


@dataclass(frozen=True)
class Classification:
    """How often the right class is the best, or among the five best, as shares of the `images` in [0, 1].

    `acc5` is None where there are less than six classes. `mean_per_class_recall` is over the classes that have
    pictures, `recalls`; classes of one name have their place behind it. `problems` names, by reason, the keys of the
    samples that could not be used.
    """

    name: str
    images: int
    classes: int
    templates: int
    acc1: float
    acc5: float | None
    mean_per_class_recall: float
    recalls: Mapping[str, float]
    problems: Mapping[str, tuple[str, ...]]

    def to_json(self) -> dict[str, object]:
        """Return a JSON object of the same fields."""
        problems = {reason: list(keys) for reason, keys in self.problems.items()}
        return {"task": "classification", **vars(self), "recalls": dict(self.recalls), "problems": problems}

    def __str__(self) -> str:
        acc5 = "" if self.acc5 is None else f", acc5 {self.acc5:.2%}"
        return (
            f"{self.name}: zero-shot classification of {self.images:,} images, {self.classes:,} classes, "
            f"{self.templates} template(s)\n  acc1 {self.acc1:.2%}{acc5}, "
            f"mean per-class recall {self.mean_per_class_recall:.2%}; by chance {1 / self.classes:.2%}"
            + in_words(self.problems)
        )


def classification_of(encoder: Encoder, given: LabelledSet, *, progress: Progress = SILENT) -> Classification:
    """Classify every picture of a set by the cosine of its vector with those of the classes.

    Pictures are read shard by shard, and none is held. Raises DataError where not one can be used.
    """
    classes = class_vectors(encoder, given.classnames, given.templates)
    problems = Problems()
    labels: list[npt.NDArray[np.int64]] = []
    first: list[npt.NDArray[np.float64]] = []
    five: list[npt.NDArray[np.float64]] = []
    with progress.task(f"classify {given.name}", None) as task:
        for table, label in _labelled(given, problems):
            vectors, used = _encoded(encoder, table, problems)
            scores, label = scores_of(vectors, classes), label[used]
            right = label[:, None] == np.arange(len(classes))
            labels.append(label)
            first.append(hits_at(1, scores, right))
            five.append(hits_at(5, scores, right))
            task.advance(len(table))
    every = np.concatenate([*labels, np.zeros(0, np.int64)])
    if not len(every):
        do = "Check the set's pictures and labels."
        raise DataError(f"set {given.name!r}", expected="pictures to classify", found=problems.counted(), do=do)
    hits = np.concatenate(first)
    seen = np.unique(every)
    told = _told(given.classnames)
    recalls = {told[label]: float(hits[every == label].mean()) for label in seen.tolist()}
    return Classification(
        name=given.name,
        images=len(every),
        classes=len(classes),
        templates=len(given.templates),
        acc1=float(hits.mean()),
        acc5=float(np.concatenate(five).mean()) if len(classes) > 5 else None,
        mean_per_class_recall=float(np.mean([hits[every == label].mean() for label in seen])),
        recalls=recalls,
        problems=problems.named(),
    )


def _told(classnames: Sequence[str]) -> list[str]:
    """Return what each class is called; one that shares its name with another has its place behind it."""
    counts = Counter(classnames)
    return [f"{name} ({place})" if counts[name] > 1 else name for place, name in enumerate(classnames)]


def _labelled(given: LabelledSet, problems: Problems) -> Iterator[tuple[pa.Table, npt.NDArray[np.int64]]]:
    """Yield tables of the rows that can be used so far, with the place of each one's class."""
    names = map(str, range(len(given.classnames))) if given.numbered else given.classnames
    places = {name: place for place, name in enumerate(names)}
    for shard in given.pool.shards():
        for table in given.pool.read(shard):
            problems.add_rows(table)
            rows, labels = [], []
            for row in good_rows(table):
                place = places.get(table["text"][row].as_py())
                if place is None:
                    problems.add("label_unknown", table["key"][row].as_py())
                else:
                    rows.append(row)
                    labels.append(place)
            if rows:
                yield table.select(["key", "image"]).take(rows), np.array(labels, dtype=np.int64)


def _encoded(
    encoder: Encoder, table: pa.Table, problems: Problems
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return the vectors of the pictures that have one, and their rows."""
    encoded = encoder.encode_images(table["image"].to_pylist())
    for row, (reason, _) in sorted(encoded.problems.items()):
        problems.add(reason, table["key"][row].as_py())
    used = np.setdiff1d(np.arange(len(table)), list(encoded.problems))
    return encoded.vectors[used], used
