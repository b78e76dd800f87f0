"""Train a student on a reinforced dataset: replayed views, texts and captions, and the teachers' cached vectors.

No teacher and no captioner is run, and no trainer is patched (Faghri et al. 2023, arXiv 2303.08983; Vasu et al. 2024,
arXiv 2311.17049). What comes out is a folder that open_clip loads as `local-dir:FOLDER`. Calling again after an
interruption goes on from the last checkpoint and, on a CPU, ends in the same weights, bit for bit.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dfndr.dataset import Dataset
from dfndr.encoder import pick_device
from dfndr.format.manifest import canonical
from dfndr.progress import SILENT, Progress
from dfndr.storage import join, sha256_of
from dfndr_builders.clip.folder import finished
from dfndr_builders.pictures import PoolPictures, pictures_of
from dfndr_builders.recipe_file import read_recipe
from dfndr_builders.student.batches import batches
from dfndr_builders.student.checkpoint import Standing, read_checkpoint, write_checkpoint
from dfndr_builders.student.delivered import StudentResult, deliver_student, result_of
from dfndr_builders.student.loop import fitted
from dfndr_builders.student.network import opened_student, optimizer_of
from dfndr_builders.student.pack import Missing, packed
from dfndr_builders.student.processes import joined
from dfndr_builders.student.spec import StudentSpec
from dfndr_builders.student.targets import Targets, targets_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["StudentResult", "train_student"]


def train_student(
    dataset: Dataset,
    out: str,
    spec: StudentSpec,
    *,
    recipe: str | None = None,
    missing: Missing = "refuse",
    cache: str | None = None,
    workers: int = 0,
    device: str = "auto",
    every: int = 500,
    progress: Progress = SILENT,
) -> StudentResult:
    """Train a model on the rows of a dataset and write it to the local folder `out`; a finished one is read back.

    Pictures are those of the pools of the dataset's recipe, or of the recipe in the file `recipe`; they are packed once
    into `cache`, by default within `OUT.work`, which holds a checkpoint each `every` steps and is gone at the end.
    Where torchrun started several processes, they share each batch.

    Raises UsageError for what does not fit together, DataError where pictures are missing, ModelError where the model
    cannot be loaded, or where the loss or the weights are no longer finite.
    """
    targets, work = targets_of(dataset, spec), out.rstrip("/") + ".work"
    digest = _digest(spec, dataset, targets, missing)
    with joined(pick_device(device), spec.batch_size) as processes, _threads(spec.threads):
        done = finished(out, digest, work=work)
        processes.wait()
        if done is not None:
            return result_of(done)
        shown = progress if processes.is_first else SILENT
        pictures = cache or join(work, "pictures")
        if processes.is_first:
            packed(dataset, _finder(dataset, recipe), pictures, missing=missing, progress=shown)
        processes.wait()
        pack, about = packed(dataset, None, pictures, missing=missing)
        student = opened_student(spec, processes)
        optimizer = optimizer_of(student.model, spec)
        at = read_checkpoint(work, digest, model=student.model, optimizer=optimizer) or Standing((), None, {})
        given = batches(
            dataset, pack, spec, targets, size=student.size, tokenizer=student.tokenizer,
            state=at.loader, processes=processes, workers=workers,
        )  # fmt: skip
        keep = partial(write_checkpoint, work, digest, model=student.model, optimizer=optimizer)
        with shown.task("train student", spec.steps, "steps") as task:
            curve = fitted(
                student, optimizer, given, spec, teachers=targets.teachers,
                standing=at, every=every, keep=keep if processes.is_first else _forget, task=task,
            )  # fmt: skip
        if processes.is_first:
            deliver_student(
                out, work, dataset, spec,
                targets=targets, about=about, student=student, curve=curve, digest=digest,
            )  # fmt: skip
            shutil.rmtree(work)
        processes.wait()
        return result_of(finished(out, digest, work=work) or {})


def _forget(_standing: Standing) -> None:
    """Keep nothing: another process does."""


def _digest(spec: StudentSpec, dataset: Dataset, targets: Targets, missing: Missing) -> str:
    """Return what names a training: all that the weights depend on, but for the number of processes."""
    rows = [dataset.digest, [shard.index for shard in dataset.shards], missing]
    content = {"spec": spec.to_json(), "rows": rows, "teachers": [astuple(one) for one in targets.teachers]}
    if spec.model.endswith(".json"):
        content["config"] = sha256_of(spec.model)
    return hashlib.sha256(canonical(content)).hexdigest()


def _finder(dataset: Dataset, recipe: str | None) -> Callable[[list[str]], Iterable[pa.Table]] | None:
    """Return what finds tables with the pictures of uids, None where the dataset names no pool of this machine."""
    if recipe is not None:
        return PoolPictures(dataset, read_recipe(recipe)[0], Path(recipe).resolve().parent).tables
    found = pictures_of(dataset)
    return None if found is None else found.tables


@contextmanager
def _threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
