"""How long a training is: its steps, and the rounds that the trainer goes them in."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dfndr.errors import RecipeError
from dfndr_builders.clip.spec import TrainingSpec
from dfndr_builders.clip.tars import TAR_SAMPLES, TrainingData

__all__ = ["Steps", "steps_of", "usable_workers"]


@dataclass(frozen=True)
class Steps:
    """`total` steps in `epochs` rounds of `per_epoch`; where they are fewer, the last round ends early."""

    per_epoch: int
    epochs: int
    total: int


def steps_of(spec: TrainingSpec, data: TrainingData, workers: int) -> Steps:
    """Return the steps of a training.

    A round is as many batches as hold every pair of the pool once, rounded up to the same number for each of the
    workers, as open_clip's trainer counts it.
    """
    readers = max(1, workers)
    per_epoch = math.ceil(math.ceil(data.samples / spec.batch_size) / readers) * readers
    if spec.samples_seen is None:
        epochs = spec.epochs or 1
        return Steps(per_epoch, epochs, per_epoch * epochs)
    total = math.ceil(spec.samples_seen / spec.batch_size)
    return Steps(per_epoch, math.ceil(total / per_epoch), total)


def usable_workers(spec: TrainingSpec, data: TrainingData, processes: int = 1) -> int:
    """Return the most workers of each process, up to the spec's, that have tars for a batch in any order of tars.

    A worker that cannot fill one batch would read its tars for ever. Raises RecipeError where even one cannot, or the
    batch is no multiple of the processes.
    """
    if spec.batch_size % processes:
        expected, do = f"a multiple of the {processes} processes", "Give another of the two."
        raise RecipeError("dfn: batch_size", expected=expected, found=str(spec.batch_size), do=do)
    short, batch = TAR_SAMPLES * data.tars - data.samples, spec.batch_size // processes
    for workers in range(min(spec.workers, data.tars // processes), 0, -1):
        if data.tars // (workers * processes) * TAR_SAMPLES - short >= batch:
            return workers
    if processes == 1 and data.samples >= batch:
        return 0
    if data.tars // processes * TAR_SAMPLES - short >= batch and data.tars >= processes:
        return 0
    expected, do = f"at most the {data.samples} pairs there are", "Lower it, or give it more pairs."
    if processes > 1:
        expected = f"enough of the {data.samples} pairs, in tars of {TAR_SAMPLES}, for each of {processes} processes"
        do = "Lower it, give it more pairs, or run fewer processes."
    raise RecipeError("dfn: batch_size", expected=expected, found=str(spec.batch_size), do=do)
