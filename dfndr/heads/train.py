"""Training a head on cached vectors: the train split through a Loader, measured on the validation split.

The same dataset, arguments and seed give the same head on one kind of device.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from dfndr import storage
from dfndr.errors import DataError, UsageError
from dfndr.heads.curve import CurvePoint, write_curve
from dfndr.heads.evaluate import evaluate_retrieval, paired_spaces
from dfndr.heads.objective import HeadLoss, Objective
from dfndr.heads.plan import Plan
from dfndr.heads.retrieval import Comparison, Retrieval
from dfndr.heads.sides import Side
from dfndr.progress import SILENT, Progress

if TYPE_CHECKING:
    import torch

    from dfndr.dataset import Dataset
    from dfndr.heads.model import Head, HeadKind
    from dfndr.loader import Batch, Loader
    from dfndr.resident import Stay

__all__ = ["TrainedHead", "train_head"]

_CHECK_EVERY = 20
_MAX_LOG_SCALE = math.log(100)
"""The logit scale is kept at 100 or less: Radford et al. 2021, section 2.5."""


@dataclass(frozen=True)
class TrainedHead:
    """What training gives; `metrics` has one comparison per text space, and none without a validation split."""

    head: Head
    curve: tuple[CurvePoint, ...]
    metrics: tuple[Comparison, ...]
    loss: HeadLoss = "clip"

    def to_json(self) -> dict[str, object]:
        """Return a JSON object of the metrics, the number of steps and the last loss."""
        metrics = [comparison.to_json() for comparison in self.metrics]
        return {"steps": len(self.curve), "loss": self.curve[-1].loss, "metrics": metrics}

    def __str__(self) -> str:
        lines = [f"{self.head.kind} head, {self.loss} loss {self.curve[-1].loss:.3f} after {len(self.curve):,} steps"]
        return "\n".join([*lines, *map(str, self.metrics)])


def train_head(
    dataset: Dataset,
    out: str | os.PathLike[str] | None = None,
    *,
    image: str | None = None,
    text: Sequence[str] | None = None,
    kind: HeadKind = "linear",
    loss: HeadLoss = "clip",
    teachers: Sequence[str] = (),
    contrastive_weight: float = 0.0,
    distillation_weight: float = 1.0,
    teacher_per_row: bool = False,
    epochs: int = 10,
    steps: int | None = None,
    batch_size: int = 1024,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.1,
    warmup: float = 0.05,
    seed: int = 0,
    device: str = "auto",
    resident: Stay = "auto",
    progress: Progress = SILENT,
) -> TrainedHead:
    """Train a head with AdamW and write `head.safetensors`, `head.json`, `curve.csv` and `curve.png` to `out`.

    Spaces default to the first image space with the text and caption spaces of its encoder; `image/a+image/b` joins the
    vectors of several. With several text spaces a step's loss is the mean over them, each against the same images, as
    DataCompDR does with real and synthetic captions (Vasu et al. 2024, arXiv 2311.17049). Of each row one view and one
    caption is drawn a step. `steps` goes before `epochs`; the rate rises over the `warmup` share of them, then falls
    along a cosine. A CLIP head starts at its encoder's own logit scale.

    The losses `distillation` and `sigmoid-distillation` learn from the similarities that `teachers` see, by their own
    cached vectors of the same view and text: the mean of all of them, or of each row one that is drawn for it
    (`teacher_per_row`). Teachers are encoders, `name`, `name=SCALE` or `name=SCALE,BIAS`; by default all that have the
    spaces, with the numbers they were recorded with. `contrastive_weight` mixes in the loss of the pairs themselves.

    Vectors are read from the files step by step, or held on the device from the start (`resident`, see
    `dfndr.resident`; "auto" does so on an accelerator that has the room): the batches, and so the head, are the same.

    Raises UsageError for arguments that make no sense, and DataError where the loss or the weights stop being finite:
    the last good weights are then what `out` holds.
    """
    from dfndr.encoder import pick_device
    from dfndr.heads.model import Head, Origin
    from dfndr.loader import Loader

    plan = Plan(steps, epochs, batch_size, learning_rate, weight_decay, warmup, seed)
    if out is not None:
        _check_place(os.fspath(out))
    image, texts = paired_spaces(dataset, image, text)
    goal = Objective(
        loss,
        Side.of(dataset, image),
        tuple(Side.of(dataset, name) for name in texts),
        contrastive_weight=contrastive_weight,
        distillation_weight=distillation_weight,
        teacher_per_row=teacher_per_row,
    ).taught(dataset, teachers)
    train = dataset.split("train")
    if len(train) < 2:
        do = "Build the dataset with more rows, or a smaller share in `output.validation`."
        raise UsageError(f"train split of {dataset.root}", expected="2 rows or more", found=f"{len(train)}", do=do)
    plan = plan.for_rows(len(train))
    head = Head(
        kind,
        image_dim=goal.image.dim,
        text_dim=_one_dim(goal.texts),
        loss=goal.head_loss,
        logit_scale=_own_scale(dataset, goal) if goal.head_loss == "clip" else None,
        seed=seed,
    ).to(device := pick_device(device))
    training = {**asdict(plan), **goal.record()}
    origin = Origin(dataset.manifest.name, dataset.digest, image, texts, steps=0, training=training)
    loader = Loader(
        train,
        spaces=goal.spaces,
        columns=(),
        batch_size=plan.batch_size,
        shuffle="exact",
        seed=seed,
        drop_last=True,
        pick="random",
        device=device,
        resident=resident,
    )
    before = _measure(dataset, head, image, texts)
    if not before:
        progress.say("The validation split is empty, so retrieval is not measured.")
    curve: list[CurvePoint] = []
    try:
        _fit(head, loader, goal, plan, curve, progress)
    except DataError:
        if out is not None and curve:
            head.origin = replace(origin, steps=len(curve))
            _keep(out, head, curve, "stopped early")
        raise
    after = _measure(dataset, head, image, texts)
    metrics = tuple(Comparison(image, name, before[name], after[name]) for name in before)
    head.origin = replace(origin, steps=len(curve), metrics=tuple(comparison.to_json() for comparison in metrics))
    if out is not None:
        _keep(out, head, curve, _summary(metrics))
    return TrainedHead(head, tuple(curve), metrics, loss)


def _check_place(out: str) -> None:
    """Raise UsageError, before anything is trained, where `out` is a file or holds something that is no head."""
    there = [out] if storage.exists(out) and not storage.is_folder(out) else storage.list_files(out)
    if there and "head.json" not in there:
        do = "Choose another folder."
        raise UsageError(out, expected="a new folder, or one with a head", found=f"{there[0]!r}", do=do)


def _one_dim(texts: Sequence[Side]) -> int:
    dims = {side.dim for side in texts}
    if len(dims) != 1:
        do = "Name text spaces of one encoder: they share one side of the head."
        names = ", ".join(side.name for side in texts)
        raise UsageError(f"spaces {names}", expected="one dimension", found=f"{sorted(dims)}", do=do)
    return dims.pop()


def _own_scale(dataset: Dataset, goal: Objective) -> float | None:
    """Return the mean logit scale that the encoders were trained with, if both sides are theirs and it makes sense."""
    encoders = {side.encoders for side in (goal.image, *goal.texts)}
    scales = [dataset.manifest.encoders[encoder].logit_scale for encoder in goal.image.encoders]
    return sum(scales) / len(scales) if len(encoders) == 1 and all(1 <= scale <= 100 for scale in scales) else None


def _measure(dataset: Dataset, head: Head, image: str, texts: Sequence[str]) -> dict[str, Retrieval]:
    if not len(dataset.split("validation")):
        return {}
    return {name: evaluate_retrieval(dataset, image=image, text=name, head=head) for name in texts}


def _fit(
    head: Head,
    loader: Loader,
    goal: Objective,
    plan: Plan,
    curve: list[CurvePoint],
    progress: Progress,
) -> None:
    """Train in place and add to the curve; where a DataError ends it, the head is left with its last good weights."""
    import torch

    optimizer = _optimizer(head, plan)
    good, recent = _copy(head), list[tuple[float, torch.Tensor, torch.Tensor]]()
    try:
        with progress.task("train head", plan.steps, "steps") as task:
            for step, batch in enumerate(islice(_batches(loader), plan.steps), start=1):
                rate = plan.rate(step - 1)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                loss = goal(head, batch)
                recent.append((rate, loss.detach(), head.log_scale.detach().exp()))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                with torch.no_grad():
                    head.log_scale.clamp_(0, _MAX_LOG_SCALE)
                # Numbers are looked at now and then, so that an accelerator need not wait for each of them.
                if len(recent) == _CHECK_EVERY or step == plan.steps:
                    curve += _points(recent, head, after=len(curve))
                    task.advance(len(recent))
                    task.note(f"loss {curve[-1].loss:.3f}")
                    good, recent = _copy(head), []
    except DataError:
        head.load_state_dict(good)
        raise


def _optimizer(head: Head, plan: Plan) -> torch.optim.Optimizer:
    """Return AdamW with the betas and epsilon of Radford et al. 2021, table 19; only matrices decay."""
    import torch

    trained = [parameter for parameter in head.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": plan.weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.98), eps=1e-6)


def _batches(loader: Loader) -> Iterator[Batch]:
    """Go through the loader epoch after epoch."""
    while True:
        yield from loader


def _copy(head: Head) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in head.state_dict().items()}


def _points(recent: Sequence[tuple[float, torch.Tensor, torch.Tensor]], head: Head, *, after: int) -> list[CurvePoint]:
    """Bring a few steps' numbers over from the device; raises DataError where they, or the weights, are not finite."""
    points = [
        CurvePoint(after + place, float(loss), rate, float(scale))
        for place, (rate, loss, scale) in enumerate(recent, 1)
    ]
    bad = next((point for point in points if not math.isfinite(point.loss)), None)
    if bad or not all(bool(parameter.isfinite().all()) for parameter in head.parameters()):
        point = bad or points[-1]
        found = f"a loss of {point.loss}" if bad else "weights that are not"
        do = "Lower the learning rate, or run `dfndr verify` on the dataset."
        do += f" The weights of step {after} are kept." if after else ""
        raise DataError(f"training, step {point.step}", expected="finite numbers", found=found, do=do)
    return points


def _summary(metrics: Sequence[Comparison]) -> str:
    """Say in one line what training did to recall at 1, for the first text space."""
    if not metrics:
        return "no validation split"
    before, after = metrics[0].before, metrics[0].after
    ways = ("image_to_text", "text_to_image")
    moves = [f"{way.replace('_', ' ')} {getattr(before, way)[1]:.1f} → {getattr(after, way)[1]:.1f} %" for way in ways]
    return f"validation R@1 with {metrics[0].text}: {', '.join(moves)}"


def _keep(out: str | os.PathLike[str], head: Head, curve: Sequence[CurvePoint], summary: str) -> None:
    head.save(out)
    name, loss = (head.origin.dataset, head.origin.training["loss"]) if head.origin else ("a dataset", head.loss)
    title = f"{head.kind} head on {name}, {loss} loss, {len(curve):,} steps"
    write_curve(out, curve, title=title, subtitle=summary)
