"""Train a filter: on its base pairs, then where asked on others, then between the two; and write its card.

Every step's result lies in the work folder until the filter is whole, so running again goes on with the step that was
interrupted.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from dfndr import storage
from dfndr.format.manifest import canonical
from dfndr.progress import SILENT, Progress
from dfndr_builders.clip.folder import TrainingResult, deliver, finished, result_of
from dfndr_builders.clip.spec import TrainingSpec
from dfndr_builders.clip.train import train_clip, training_digest
from dfndr_builders.dfn.averaging import averaged_model
from dfndr_builders.dfn.card import filter_card
from dfndr_builders.pools.base import Pool

__all__ = ["FilterResult", "FilterTraining", "Stage", "train_filter_model"]

_RECORD = "training.json"


@dataclass(frozen=True)
class Stage:
    """One training: what the trainer is given, and the pairs it learns from."""

    spec: TrainingSpec
    pool: Pool


@dataclass(frozen=True)
class FilterTraining:
    """All of a filter's training; one of `alphas` is chosen by the pool `validation`; the licence is the model's."""

    base: Stage
    finetune: Stage | None = None
    alphas: tuple[float, ...] = ()
    validation: Pool | None = None
    license: str = "unknown"

    @property
    def pools(self) -> tuple[Pool, ...]:
        """The pools that are read, in the order in which they are."""
        tuned = (self.finetune.pool,) if self.finetune else ()
        return (self.base.pool, *tuned, *((self.validation,) if self.validation else ()))

    @property
    def digest(self) -> str:
        """What names this training: all that the weights depend on, with pools as they are written in Python."""
        stages = [training_digest(stage.spec, stage.pool) for stage in (self.base, self.finetune) if stage]
        if self.finetune is None:
            return stages[0]
        return _hashed(*stages, list(self.alphas), repr(self.validation))


@dataclass(frozen=True)
class FilterResult:
    """What came of it; `result` is the base training's, `averaging` holds alpha, figures, pairs and rule."""

    result: TrainingResult
    finetune: TrainingResult | None
    averaging: Mapping[str, Any] | None
    weights_sha256: str

    @property
    def samples_seen(self) -> int:
        """Pairs seen in both trainings."""
        return self.result.samples_seen + (self.finetune.samples_seen if self.finetune else 0)

    def to_json(self) -> dict[str, object]:
        """Return it as the command prints it."""
        tuned = asdict(self.finetune) if self.finetune else None
        more = {"finetune": tuned, "averaging": self.averaging, "weights_sha256": self.weights_sha256}
        return {**asdict(self.result), **more}


def train_filter_model(
    given: FilterTraining,
    out: str,
    *,
    work: str,
    digest: str | None = None,
    processes: int = 1,
    progress: Progress = SILENT,
) -> FilterResult:
    """Train a filter into the local folder `out`, with its card as README.md; a finished one is read back.

    Options and errors are those of `train_clip`, and those of `averaged_model`.
    """
    digest = digest or given.digest
    record = finished(out, digest, work=work)
    if record is None:
        train = partial(train_clip, processes=processes, progress=progress)
        if given.finetune is None:
            train(given.base.spec, given.base.pool, out, work=work, digest=digest)
        else:
            _train_twice(train, given, given.finetune, out, work, digest, progress)
        record = _record(out)
    if not storage.exists(storage.join(out, "README.md")):
        config = json.loads(storage.read_bytes(storage.join(out, "open_clip_config.json")))
        storage.put(out, "README.md", filter_card(record, config, given.license).encode())
    tuned = result_of(record["finetune"]) if "finetune" in record else None
    weights = tuned.weights_sha256 if tuned else record["result"]["weights_sha256"]
    averaging = record.get("averaging")
    return FilterResult(result_of(record), tuned, averaging, record.get("weights_sha256", weights))


def _train_twice(
    train: Callable[..., TrainingResult],
    given: FilterTraining,
    finetune: Stage,
    out: str,
    work: str,
    digest: str,
    progress: Progress,
) -> None:
    """Train, go on from there, average, and put the outcome and the record of all of it into `out`."""
    folder = Path(work, f"stages-{digest[:12]}").absolute()
    base, tuned = str(folder / "base"), str(folder / "tuned")
    train(given.base.spec, given.base.pool, base, work=str(folder), digest=_hashed(digest, "base"))
    spec = replace(finetune.spec, model=f"local-dir:{base}")
    train(spec, finetune.pool, tuned, work=str(folder), digest=_hashed(digest, "finetune"))
    record, second = _record(base), _record(tuned)
    keys = ("model", "pretrained", "image_mean", "image_std")
    second["recipe"] = {key: value for key, value in second["recipe"].items() if key not in keys}
    record |= {"digest": digest, "finetune": {key: second[key] for key in ("data", "recipe", "result")}}
    model = tuned
    if given.validation is not None:
        with progress.task("average the weights", total=None):
            averaged = averaged_model((base, tuned), given.alphas, given.validation, spec, str(folder / "averages"))
        record |= {"averaging": averaged.to_json(), "weights_sha256": averaged.weights_sha256}
        model = str(folder / "averages" / "model")
    deliver(out, model, record)
    shutil.rmtree(folder)


def _record(folder: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(storage.read_bytes(storage.join(folder, _RECORD)))
    return record


def _hashed(*parts: object) -> str:
    return hashlib.sha256(canonical(list(parts))).hexdigest()
