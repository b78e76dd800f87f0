"""The folder of a trained model: what open_clip loads as `local-dir:FOLDER`, and `training.json`, how it was made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from dfndr import storage
from dfndr.errors import UsageError
from dfndr_builders.clip.spec import TrainingSpec
from dfndr_builders.clip.tars import TrainingData

__all__ = ["TrainingResult", "deliver", "finished", "record_of", "recorded", "result_of"]

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


def recorded(spec: TrainingSpec) -> dict[str, object]:
    """Return what of a spec the weights depend on."""
    return {name: value for name, value in asdict(spec).items() if name != "device"}


def record_of(spec: TrainingSpec, data: TrainingData, result: TrainingResult, digest: str) -> dict[str, object]:
    """Return what `training.json` tells of a training."""
    packages = ("open_clip_torch", "torch", "webdataset")
    told = ("samples", "problems", "licenses", "sources")
    return {
        "digest": digest,
        "data": {name: value for name, value in asdict(data).items() if name in told},
        "recipe": recorded(spec),
        "result": {**asdict(result), "losses": [list(at) for at in result.losses]},
        "versions": {package: version(package) for package in packages},
    }


def finished(out: str, digest: str, *, work: str) -> dict[str, Any] | None:
    """Return the record of the training that lies in `out`, None where it is still to be made, in `work`.

    Raises UsageError where something else lies there, or a file in the place of either folder, or one is remote: a
    trainer keeps its checkpoints in files.
    """
    for folder in (out, work):
        if storage.is_remote(folder):
            do = "Train into a local folder, by `dfndr train-dfn` what a build is to score by, and name or copy that."
            raise UsageError(folder, expected="a local folder to train into", found="a remote one", do=do)
        if not folder:
            raise UsageError("--out", expected="a folder to train into", found="no name", do="Name one.")
        if storage.exists(folder) and not storage.is_folder(folder):
            do = "Choose another folder, or move the file."
            raise UsageError(folder, expected="a folder to train into", found="a file", do=do)
    if not storage.list_files(out):
        return None
    place = storage.join(out, _RECORD)
    found = _record(place) if storage.exists(place) else {}
    if found.get("digest") != digest:
        do = "Choose another folder, or empty this one."
        what = "another training's model" if found else "something else"
        raise UsageError(out, expected="an empty folder, or this recipe's own", found=what, do=do)
    return found if storage.exists(storage.join(out, _CONFIG)) else None


def _record(place: str) -> dict[str, Any]:
    """Return the record in a file, an empty one where it is none of ours."""
    try:
        found = json.loads(storage.read_bytes(place))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def result_of(record: Mapping[str, Any]) -> TrainingResult:
    """Return the result that a record tells."""
    result = record["result"]
    return TrainingResult(**{**result, "losses": tuple((step, loss) for step, loss in result["losses"])})


def deliver(out: str, model: str, record: Mapping[str, object], *, extra: Mapping[str, bytes] | None = None) -> None:
    """Put a model's files into `out`: the record first, which says whose they are, and the model's config last."""
    storage.put(out, _RECORD, json.dumps(record, indent=1, ensure_ascii=False).encode() + b"\n")
    for name, content in (extra or {}).items():
        storage.put(out, name, content)
    kept = [name for name in storage.list_files(model) if name != _RECORD]
    for name in sorted(kept, key=lambda name: (name == _CONFIG, name)):
        with storage.open_read(storage.join(model, name)) as file:
            storage.put(out, name, lambda target, file=file: shutil.copyfileobj(file, target))  # type: ignore[misc]
