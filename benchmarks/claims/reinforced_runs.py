"""Students: what each is trained on, and its zero-shot accuracy, kept in a file of its own once it is known."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path

from dfndr_builders.pools.webdataset import WebDatasetPool
from dfndr_builders.student.spec import StudentSpec
from dfndr_builders.student.train import train_student
from dfndr_builders.zero_shot.classification import classification_of
from dfndr_builders.zero_shot.sets import labelled_set

from benchmarks.claims.captions import CLASSES, PROMPTS
from benchmarks.claims.cifar import held_out_tars
from benchmarks.claims.reinforced_scales import StudentScale
from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.encoder import open_encoder
from dfndr.format.manifest import canonical
from dfndr.models import EncoderSpec

__all__ = [
    "StudentRun",
    "accuracy",
    "do_student",
    "first_rows",
    "plain_runs",
    "reinforced_runs",
    "varied_runs",
    "whole_runs",
]


@dataclass(frozen=True)
class StudentRun:
    """One student: the rows it learns from, samples seen, and of each row's views and captions how many.

    Without views training is plain.
    """

    rows: int
    samples: int
    views: int = 0
    captions: int = 0

    @property
    def name(self) -> str:
        """The run's name, by which its file goes."""
        kind = f"reinforced-{self.views}-views-{self.captions}-captions" if self.views else "plain"
        return f"{kind}-{self.rows}-rows-{self.samples}"


def plain_runs(scale: StudentScale) -> list[StudentRun]:
    """Return the students that no teacher has a part in."""
    return [StudentRun(scale.few, samples) for samples in scale.plain_lengths]


def reinforced_runs(scale: StudentScale) -> list[StudentRun]:
    """Return the students with all views and captions."""
    return [StudentRun(scale.few, samples, scale.views, scale.captions) for samples in scale.reinforced_lengths]


def whole_runs(scale: StudentScale) -> list[StudentRun]:
    """Return a plain and a reinforced student on all rows, for the longest time that both kinds are trained."""
    samples = min(scale.plain_lengths[-1], scale.reinforced_lengths[-1])
    return [StudentRun(scale.rows, samples), StudentRun(scale.rows, samples, scale.views, scale.captions)]


def varied_runs(scale: StudentScale) -> list[StudentRun]:
    """Return the students with part of the views, or of the captions."""
    pairs = [(count, scale.captions) for count in scale.ablated_views]
    pairs += [(scale.views, count) for count in scale.ablated_captions]
    return [StudentRun(scale.few, scale.ablated, views, captions) for views, captions in pairs]


def do_student(run: StudentRun, scale: StudentScale, seed: int, dataset: Dataset, root: Path) -> dict[str, object]:
    """Return a student's record, made where it is not there yet; of what was interrupted the checkpoint is used."""
    same = [scale.student, scale.batch_size, scale.learning_rate, scale.test_tars, dataset.digest]
    digest = hashlib.sha256(canonical({"run": asdict(run), "same": same}))
    file = root / "records" / f"{run.name}-seed-{seed}-{digest.hexdigest()[:8]}.json"
    if file.exists():
        found: dict[str, object] = json.loads(file.read_text())
        return found
    config, out = root / "student.json", root / "students" / f"{run.name}-seed-{seed}"
    storage.put(str(root), config.name, json.dumps(scale.student).encode())
    spec = StudentSpec(
        str(config),
        samples_seen=run.samples,
        batch_size=scale.batch_size,
        learning_rate=scale.learning_rate,
        weight_decay=0.1,
        warmup_steps=min(50, run.samples // scale.batch_size // 5),
        contrastive_weight=0.0 if run.views else 1.0,
        distillation_weight=1.0 if run.views else 0.0,
        views=run.views or None,
        captions=run.captions,
        seed=seed,
        threads=scale.threads,
    )
    began = time.perf_counter()
    pictures, recipe = str(root / f"pictures-{run.rows}"), str(root / "recipe.toml")
    part = first_rows(dataset, run.rows)
    train_student(part, str(out), spec, recipe=recipe, cache=pictures, workers=scale.workers, device=scale.device)
    seconds = time.perf_counter() - began
    record = {"run": asdict(run), "name": run.name, "seed": seed, "seconds": round(seconds, 1)}
    record["accuracy"] = accuracy(out, scale)
    shutil.rmtree(out)
    storage.put(str(file.parent), file.name, json.dumps(record).encode())
    return record


def first_rows(dataset: Dataset, rows: int) -> Dataset:
    """Return the first shards, up to so many rows."""
    before = accumulate((shard.rows for shard in dataset.shards), initial=0)
    return dataset.only([shard for shard, start in zip(dataset.shards, before, strict=False) if start < rows])


def accuracy(folder: Path, scale: StudentScale) -> float:
    """Return a model's zero-shot accuracy on the test set, with the prompts as an ensemble."""
    where = f"local-dir:{folder}"
    encoder = open_encoder(
        EncoderSpec("student", where, where, batch_size=256, threads=scale.threads, device=scale.device)
    )
    tars = WebDatasetPool(held_out_tars()[: scale.test_tars])
    return classification_of(encoder, labelled_set("cifar10", tars, CLASSES, PROMPTS)).acc1
