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
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dfndr import storage
from dfndr.errors import MissingExtra, UsageError
from dfndr.format.manifest import canonical
from dfndr.progress import SILENT, Progress
from dfndr_builders.clip.process import follow, read_losses, started_trainer
from dfndr_builders.clip.spec import TrainingSpec
from dfndr_builders.clip.steps import Steps, steps_of, usable_workers
from dfndr_builders.clip.tars import TrainingData, write_tars
from dfndr_builders.pools.base import Pool

__all__ = ["TrainingResult", "train_clip"]

_CONFIG, _RECORD = "open_clip_config.json", "training.json"


@dataclass(frozen=True)
class TrainingResult:
    """What was trained: `losses` are (step, loss of that batch), sampled; `problems` counts rows that were left out."""

    samples: int
    problems: Mapping[str, int]
    steps: int
    samples_seen: int
    losses: tuple[tuple[int, float], ...]
    weights_sha256: str


def train_clip(
    spec: TrainingSpec, pool: Pool, out: str, *, work: str, digest: str | None = None, progress: Progress = SILENT
) -> TrainingResult:
    """Train on the good rows of a pool and write the model to the local folder `out`; a finished one is read back.

    `work` is a local folder for training data and checkpoints, which are gone at the end. `digest` says which training
    this is, so that none goes on with the files of another; by default it is over the spec, and the pool as it is
    written in Python, paths and all. Raises UsageError where `out` holds something else, PoolError where the pool has
    nothing to learn from, RecipeError where it has less than a batch, and ModelError, with the trainer's last words,
    where the trainer fails or the loss is no longer finite.
    """
    _check_trainer()
    digest = digest or _digest(spec, pool)
    done = _finished(out, digest)
    if done is not None:
        return done
    folder = str(Path(work, f"dfn-{digest[:12]}").absolute())
    Path(folder).mkdir(parents=True, exist_ok=True)
    with started_trainer(folder, threads=spec.threads) as process:
        data = write_tars(pool, storage.join(folder, "tars"), progress=progress)
        workers = usable_workers(spec, data)
        steps = steps_of(spec, data, workers)
        storage.put(folder, "job.json", canonical(_job(spec, data, workers, steps)))
        losses = read_losses(folder, spec.batch_size)
        with progress.task("train dfn", steps.total * spec.batch_size, "samples") as task:
            follow(process, spec.batch_size, losses, task)
    result = TrainingResult(
        samples=data.samples,
        problems=data.problems,
        steps=steps.total,
        samples_seen=steps.total * spec.batch_size,
        losses=tuple(sorted(losses.items())),
        weights_sha256=json.loads(storage.read_bytes(storage.join(folder, "result.json")))["weights_sha256"],
    )
    _deliver(spec, data, result, digest, folder, out)
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


def _digest(spec: TrainingSpec, pool: Pool) -> str:
    shards = [(shard.name, shard.size_bytes) for shard in pool.shards()]
    return hashlib.sha256(canonical({"spec": _recorded(spec), "pool": repr(pool), "shards": shards})).hexdigest()


def _recorded(spec: TrainingSpec) -> dict[str, object]:
    return {name: value for name, value in asdict(spec).items() if name != "device"}


def _finished(out: str, digest: str) -> TrainingResult | None:
    """Return the result that lies in `out`, None where it is still to be made; `training.json` is its first file."""
    if not storage.list_files(out):
        return None
    record = storage.join(out, _RECORD)
    found = json.loads(storage.read_bytes(record)) if storage.exists(record) else {}
    if found.get("digest") != digest:
        do = "Choose another folder, or empty this one."
        what = "another training's model" if found else "something else"
        raise UsageError(out, expected="an empty folder, or this recipe's own", found=what, do=do)
    if not storage.exists(storage.join(out, _CONFIG)):
        return None
    result = found["result"]
    return TrainingResult(**{**result, "losses": tuple((step, loss) for step, loss in result["losses"])})


def _job(spec: TrainingSpec, data: TrainingData, workers: int, steps: Steps) -> dict[str, object]:
    """Return what the child is told; its paths are relative to the work folder, where it runs."""
    custom, round_steps = not isinstance(spec.model, str), min(steps.per_epoch, steps.total)
    name = "dfn" if custom else _absolute(str(spec.model))
    options = {
        "model": name, "pretrained": _absolute(spec.pretrained or ""), "dataset-type": "webdataset",
        "train-data": f"tars/{{00000..{data.tars - 1:05d}}}.tar", "train-num-samples": data.samples,
        "epochs": steps.epochs, "batch-size": spec.batch_size, "lr": spec.learning_rate, "wd": spec.weight_decay,
        "warmup": spec.warmup_steps, "beta1": 0.9, "beta2": spec.beta2, "eps": spec.epsilon, "seed": spec.seed,
        "workers": workers, "precision": spec.precision, "log-every-n-steps": max(1, round_steps // 50),
        "logs": ".", "name": "run", "resume": "latest", "save-frequency": 0,
    }  # fmt: skip
    arguments = [f"--{key}={value}" for key, value in options.items()]
    # Its plain checkpoints are written in place, so that a kill can leave half of one; this one is renamed into place.
    arguments += ["--save-most-recent", "--aug-cfg", f"scale={tuple(spec.crop_scale)}"]
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


def _deliver(
    spec: TrainingSpec, data: TrainingData, result: TrainingResult, digest: str, folder: str, out: str
) -> None:
    """Put the model's files into `out`: training.json first, which says whose they are, and the config last."""
    packages = ("open_clip_torch", "torch", "webdataset")
    training = {
        "digest": digest,
        "data": {"samples": data.samples, "problems": dict(data.problems), "licenses": dict(data.licenses)},
        "recipe": _recorded(spec),
        "result": {**asdict(result), "losses": [list(at) for at in result.losses]},
        "versions": {package: version(package) for package in packages},
    }
    storage.put(out, _RECORD, json.dumps(training, indent=1, ensure_ascii=False).encode() + b"\n")
    model = storage.join(folder, "model")
    for name in sorted(storage.list_files(model), key=lambda name: (name == _CONFIG, name)):
        with storage.open_read(storage.join(model, name)) as file:
            storage.put(out, name, lambda target, file=file: shutil.copyfileobj(file, target))  # type: ignore[misc]
