"""What a training of a student leaves in its folder: the model, its record, its curve, its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.heads.curve import CurvePoint, write_curve
from dfndr_builders.clip.folder import deliver
from dfndr_builders.clip.saved import save_model
from dfndr_builders.student.card import student_card
from dfndr_builders.student.network import Student, model_config
from dfndr_builders.student.pack import Packed
from dfndr_builders.student.spec import StudentSpec
from dfndr_builders.student.targets import Targets

__all__ = ["StudentResult", "deliver_student", "result_of"]

_SAMPLED = 200
"""About how many of the losses the record tells; `curve.csv` has all."""


@dataclass(frozen=True)
class StudentResult:
    """What was trained: `rows` learnt from, those left out for want of a picture, `losses` as (step, loss), sampled."""

    rows: int
    absent: int
    changed: int
    steps: int
    samples_seen: int
    losses: tuple[tuple[int, float], ...]
    weights_sha256: str


def deliver_student(
    out: str,
    work: str,
    dataset: Dataset,
    spec: StudentSpec,
    *,
    targets: Targets,
    about: Packed,
    student: Student,
    curve: Sequence[CurvePoint],
    digest: str,
) -> StudentResult:
    """Write the folder, the record first and the model's config last, and return what was done."""
    model, config = storage.join(work, "model"), model_config(spec)
    sha256 = save_model(student.model, model, tokenizer=student.tokenizer, config=config)
    step = max(1, len(curve) // _SAMPLED)
    losses = tuple((point.step, point.loss) for point in curve if point.step % step == 0 or point.step == len(curve))
    rows = about.rows - about.absent - about.changed
    seen = spec.steps * spec.batch_size
    result = StudentResult(rows, about.absent, about.changed, spec.steps, seen, losses, sha256)
    record = _record(dataset, spec, targets, result, digest)
    title = f"{spec.model} on {dataset.manifest.name}, {len(curve):,} steps"
    said = "taught by " + ", ".join(one.encoder for one in targets.teachers) if targets.teachers else "without teachers"
    write_curve(model, curve, title=title, subtitle=said)
    deliver(out, model, record, extra={"README.md": student_card(record, config).encode()})
    return result


def result_of(record: Mapping[str, Any]) -> StudentResult:
    """Return the result that a record tells."""
    result = record["result"]
    return StudentResult(**{**result, "losses": tuple((step, loss) for step, loss in result["losses"])})


def _record(
    dataset: Dataset, spec: StudentSpec, targets: Targets, result: StudentResult, digest: str
) -> dict[str, object]:
    manifest = dataset.manifest
    teachers = {}
    for one in targets.teachers:
        encoder = manifest.encoders[one.encoder]
        about = {key: getattr(encoder, key) for key in ("model", "pretrained", "weights_sha256", "license")}
        teachers[one.encoder] = {**about, "scale": one.scale, "bias": one.bias}
    return {
        "digest": digest,
        "dataset": {"name": manifest.name, "digest": dataset.digest, "license": manifest.license},
        "teachers": teachers,
        "captions": targets.captions,
        "recipe": spec.to_json(),
        "result": {**asdict(result), "losses": [list(at) for at in result.losses]},
        "versions": {package: version(package) for package in ("open_clip_torch", "torch")},
    }
