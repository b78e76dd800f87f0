"""The steps of a student's training, from where it stands to its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from dfndr.errors import ModelError
from dfndr.heads.curve import CurvePoint
from dfndr.heads.objective import Taught
from dfndr.progress import Task
from dfndr.seeds import hash_int
from dfndr_builders.student.batches import StudentBatch
from dfndr_builders.student.checkpoint import Standing
from dfndr_builders.student.network import Student
from dfndr_builders.student.spec import StudentSpec

if TYPE_CHECKING:
    import torch

__all__ = ["fitted"]

_LOOKED_AT = 50
"""Steps after which losses are looked at, so that an accelerator need not wait for each."""

_Recent = list[tuple[float, "torch.Tensor", "torch.Tensor"]]


def fitted(
    student: Student,
    optimizer: torch.optim.Optimizer,
    given: Iterator[StudentBatch],
    spec: StudentSpec,
    *,
    teachers: Sequence[Taught],
    standing: Standing,
    every: int,
    keep: Callable[[Standing], None],
    task: Task,
) -> tuple[CurvePoint, ...]:
    """Train in place and return the curve, a point for each step; each `every` steps `keep` is told where it stands.

    Raises ModelError where the loss or the weights are no longer finite; then nothing more is kept.
    """
    import torch

    scaler = torch.amp.GradScaler(student.device.split(":")[0], enabled=spec.precision == "fp16")
    if standing.scaler:
        scaler.load_state_dict(dict(standing.scaler))
    curve, recent = list(standing.curve), _Recent()
    task.advance(len(curve))
    for step in range(len(curve), spec.steps):
        batch = next(given)
        for group in optimizer.param_groups:
            group["lr"] = spec.rate(step)
        # What a model drops at random is a function of the step, so that a training may go on from any.
        torch.manual_seed(hash_int(spec.seed, "student step", step, batch.rank) % 2**63)
        loss = student.loss(batch, spec, teachers)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(student.model.parameters(), spec.grad_clip_norm)
        scaler.step(optimizer)
        scaler.update()
        recent.append((spec.rate(step), loss.detach(), student.model.logit_scale.detach().exp()))
        student.clamp()
        done, is_last = step + 1, step + 1 == spec.steps
        if len(recent) == _LOOKED_AT or done % every == 0 or is_last:
            curve += _points(recent, after=len(curve))
            task.advance(len(recent))
            task.note(f"loss {curve[-1].loss:.3f}")
            recent = []
        if done % every == 0 or is_last:
            _check_weights(student, done)
        if done % every == 0 and not is_last:
            keep(Standing(tuple(curve), batch.state, scaler.state_dict()))
    return tuple(curve)


def _points(recent: _Recent, *, after: int) -> list[CurvePoint]:
    """Bring a few steps' numbers over from the device; raises ModelError for a loss that is not finite."""
    points = [
        CurvePoint(after + place, float(loss), rate, float(scale))
        for place, (rate, loss, scale) in enumerate(recent, 1)
    ]
    bad = next((point for point in points if not math.isfinite(point.loss)), None)
    if bad:
        raise _not_finite(bad.step, "a finite loss", str(bad.loss))
    return points


def _check_weights(student: Student, step: int) -> None:
    import torch

    bad = [name for name, tensor in student.model.state_dict().items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise _not_finite(step, "finite weights", f"others in {bad[0]}, and {len(bad) - 1} more")


def _not_finite(step: int, expected: str, found: str) -> ModelError:
    do = "Lower the learning rate, or lengthen the warm-up; `dfndr verify` says whether the dataset is as it was built."
    return ModelError(f"student, step {step}", expected=expected, found=found, do=do)
