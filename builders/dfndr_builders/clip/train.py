"""Train a CLIP model, such as a data filtering network (Fang et al. 2023, arXiv:2309.17425), on the pairs of a pool.

open_clip's own trainer does it, in a child process (`clip.child`). What comes out is a folder that open_clip loads as
`local-dir:FOLDER`, with `training.json` beside it: data, recipe, loss curve, hash of the weights. Calling again after
an interruption goes on from the last finished epoch and ends in the same weights.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dfndr import storage
from dfndr.errors import MissingExtra, UsageError
from dfndr.format.manifest import canonical
from dfndr.progress import SILENT, Progress
from dfndr_builders.clip.folder import TrainingResult, deliver, finished, record_of, recorded, result_of
from dfndr_builders.clip.process import follow, read_losses, started_trainer
from dfndr_builders.clip.spec import TrainingSpec
from dfndr_builders.clip.steps import Steps, steps_of, usable_workers
from dfndr_builders.clip.tars import TrainingData, write_tars
from dfndr_builders.pools.base import Pool

__all__ = ["TrainingResult", "train_clip", "training_digest"]


def train_clip(
    spec: TrainingSpec,
    pool: Pool,
    out: str,
    *,
    work: str,
    digest: str | None = None,
    processes: int = 1,
    progress: Progress = SILENT,
) -> TrainingResult:
    """Train on the good rows of a pool and write the model to the local folder `out`; a finished one is read back.

    `work` is a local folder for training data and checkpoints, which are gone at the end. `digest` says which training
    this is, so that none goes on with the files of another; by default it is over the spec, and the pool as it is
    written in Python, paths and all. More than one of `processes` share each batch, on a GPU each where there are
    GPUs; another number of them gives other weights.

    Raises UsageError where `out` holds something else, PoolError where the pool has nothing to learn from, RecipeError
    where it has less than a batch, and ModelError, with the trainer's last words, where the trainer fails or the loss
    is no longer finite: then the last good checkpoint stays, and the error says where.
    """
    _check_trainer()
    digest = digest or training_digest(spec, pool)
    done = finished(out, digest, work=work)
    if done is not None:
        return result_of(done)
    folder = str(Path(work, f"dfn-{digest[:12]}" + (f"-{processes}" if processes > 1 else "")).absolute())
    storage.make_folder(folder)
    with started_trainer(folder, threads=spec.threads, processes=processes) as process:
        data = write_tars(pool, storage.join(folder, "tars"), progress=progress)
        workers = usable_workers(spec, data, processes)
        steps = steps_of(spec, data, workers)
        storage.put(folder, "job.json", canonical(_job(spec, data, workers, steps, processes)))
        losses = read_losses(folder, spec.batch_size)
        with progress.task("train dfn", steps.total * spec.batch_size, "samples") as task:
            follow(process, folder, spec.batch_size, losses, task)
    result = TrainingResult(
        samples=data.samples,
        problems=data.problems,
        steps=steps.total,
        samples_seen=steps.total * spec.batch_size,
        losses=tuple(sorted(losses.items())),
        weights_sha256=json.loads(storage.read_bytes(storage.join(folder, "result.json")))["weights_sha256"],
    )
    deliver(out, storage.join(folder, "model"), record_of(spec, data, result, digest))
    shutil.rmtree(folder)
    return result


def _check_trainer() -> None:
    try:
        found = version("webdataset")
        version("open_clip_torch")
    except PackageNotFoundError as error:
        raise MissingExtra.of("open_clip_torch[training]", "dfn") from error
    if tuple(int(part) for part in re.findall(r"\d+", found)[:3]) > (0, 2, 86):
        # Later readers do not give the trainer the file names that it groups samples by: KeyError 'fname'.
        do = 'Install it with: pip install "webdataset<=0.2.86"'
        raise UsageError("webdataset", expected="0.2.86, which open_clip's trainer needs", found=found, do=do)


def training_digest(spec: TrainingSpec, pool: Pool) -> str:
    """Return what names a training: all that the weights depend on, with the pool as it is written in Python."""
    shards = [(shard.name, shard.size_bytes) for shard in pool.shards()]
    return hashlib.sha256(canonical({"spec": recorded(spec), "pool": repr(pool), "shards": shards})).hexdigest()


def _job(spec: TrainingSpec, data: TrainingData, workers: int, steps: Steps, processes: int) -> dict[str, object]:
    """Return what the child is told; its paths are relative to the work folder, where it runs."""
    custom, round_steps = not isinstance(spec.model, str), min(steps.per_epoch, steps.total)
    name = "dfn" if custom else _absolute(str(spec.model))
    options = {
        "model": name, "pretrained": _absolute(spec.pretrained or ""), "dataset-type": "webdataset",
        "train-data": f"tars/{{00000..{data.tars - 1:05d}}}.tar", "train-num-samples": data.samples,
        "epochs": steps.epochs, "batch-size": spec.batch_size // processes, "lr": spec.learning_rate,
        "wd": spec.weight_decay, "warmup": spec.warmup_steps, "beta1": 0.9, "beta2": spec.beta2,
        "eps": spec.epsilon, "seed": spec.seed,
        "workers": workers, "precision": spec.precision, "log-every-n-steps": max(1, round_steps // 50),
        "logs": ".", "name": "run", "resume": "latest", "save-frequency": 0,
    }  # fmt: skip
    arguments = [f"--{key}={value}" for key, value in options.items()]
    # Its plain checkpoints are written in place, so that a kill can leave half of one; this one is renamed into place.
    arguments += ["--save-most-recent", "--aug-cfg", *(f"{key}={value}" for key, value in spec.augmentation().items())]
    # Each process computes its part of the loss, with the gradients of all: together the gradient of the whole batch.
    arguments += ["--local-loss", "--gather-with-grad"] if processes > 1 else []
    if spec.grad_clip_norm is not None:
        arguments.append(f"--grad-clip-norm={spec.grad_clip_norm}")
    for key, values in (("mean", spec.image_mean), ("std", spec.image_std)):
        arguments += [f"--image-{key}", *map(str, values)] if values is not None else []
    job = {"arguments": arguments, "model": name, "config": None if isinstance(spec.model, str) else dict(spec.model)}
    last_step = steps.total if spec.samples_seen is not None else None
    return {**job, "last_step": last_step, "device": spec.device, "seed": spec.seed, "threads": spec.threads}


def _absolute(place: str) -> str:
    kind, colon, path = place.rpartition("local-dir:")
    return kind + colon + str(Path(path).absolute()) if path and (colon or Path(path).is_file()) else place
