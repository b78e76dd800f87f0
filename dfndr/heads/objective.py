"""What a head learns by: which vectors it maps, against which teachers' similarities, and how much each loss counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from dfndr.errors import UsageError
from dfndr.heads.sides import Side
from dfndr.losses.contrastive import LossName
from dfndr.losses.distillation import Form, Teacher, reinforced_loss

if TYPE_CHECKING:
    import torch

    from dfndr.batch import Batch
    from dfndr.dataset import Dataset
    from dfndr.heads.model import Head

__all__ = ["HeadLoss", "Objective", "Taught", "taught_by"]

HeadLoss = Literal["clip", "siglip", "distillation", "sigmoid-distillation"]


@dataclass(frozen=True)
class Taught:
    """A teacher: an encoder of the dataset, and the scale and bias of its logits (the bias for the sigmoid form)."""

    encoder: str
    scale: float
    bias: float | None = None


@dataclass(frozen=True)
class Objective:
    """A head's loss on a batch: the mean over its text sides of `dfndr.losses.distillation.reinforced_loss`.

    Raises UsageError for a loss that is none, and for weights that make no sense.
    """

    loss: HeadLoss
    image: Side
    texts: tuple[Side, ...]
    teachers: tuple[Taught, ...] = ()
    contrastive_weight: float = 0.0
    distillation_weight: float = 1.0
    teacher_per_row: bool = False

    def __post_init__(self) -> None:
        if self.loss not in get_args(HeadLoss):
            expected = f"one of {list(get_args(HeadLoss))}"
            raise UsageError("loss", expected=expected, found=repr(self.loss), do="Name one of them.")
        weights = (self.contrastive_weight, self.distillation_weight)
        if not all(0 <= weight < math.inf for weight in weights) or not any(weights):
            found = " and ".join(map(str, weights))
            do = "Choose others."
            raise UsageError("loss weights", expected="two numbers of 0 or more, not both 0", found=found, do=do)

    def taught(self, dataset: Dataset, named: Sequence[str] = ()) -> Objective:
        """Return it with the teachers that were named, else all that the dataset has; see `taught_by`."""
        if self.distils:
            return replace(self, teachers=taught_by(dataset, self.texts, named, form=self.form))
        if named or self.teacher_per_row:
            do = "Say --loss distillation, or name no teachers."
            found = f"teachers with the loss {self.loss}"
            raise UsageError("teachers", expected="a loss that learns from them", found=found, do=do)
        return self

    @property
    def distils(self) -> bool:
        """Whether teachers are learned from."""
        return "distillation" in self.loss

    @property
    def form(self) -> Form:
        """How logits become chances."""
        return "sigmoid" if self.loss.startswith("sig") else "softmax"

    @property
    def head_loss(self) -> LossName:
        """The contrastive loss of the same form, by which a head's scale and bias begin."""
        return "siglip" if self.form == "sigmoid" else "clip"

    @property
    def spaces(self) -> list[str]:
        """All spaces that a batch has to hold, each once."""
        sides = (self.image, *self.texts)
        theirs = [f"{side.modality}/{teacher.encoder}" for side in sides for teacher in self.teachers]
        return list(dict.fromkeys([*(space.name for side in sides for space in side.spaces), *theirs]))

    def record(self) -> dict[str, object]:
        """Return what a head's origin says of it."""
        found: dict[str, object] = {"loss": self.loss}
        if self.distils:
            found |= {"teachers": [[each.encoder, each.scale, each.bias] for each in self.teachers]}
            found |= {"contrastive_weight": self.contrastive_weight, "distillation_weight": self.distillation_weight}
            found |= {"teacher_per_row": self.teacher_per_row}
        return found

    def __call__(self, head: Head, batch: Batch) -> torch.Tensor:
        """Return the loss of a head on a batch that holds `spaces`."""
        import torch

        device = head.log_scale.device
        chosen = None
        if self.teacher_per_row and self.teachers:
            chosen = torch.from_numpy(batch.drawn("teacher", len(self.teachers))).to(device)
        loss = reinforced_loss(
            head.encode_image(self.image.of_batch(batch, device)),
            [head.encode_text(side.of_batch(batch, device)) for side in self.texts],
            scale=head.log_scale.exp(),
            bias=head.bias,
            form=self.form,
            teachers=[self._seen(batch, side, device) for side in self.texts] if self.distils else (),
            teacher_of=chosen,
            contrastive_weight=self.contrastive_weight if self.distils else 1.0,
            distillation_weight=self.distillation_weight if self.distils else 0.0,
        )
        return loss / len(self.texts)

    def _seen(self, batch: Batch, side: Side, device: torch.device) -> list[Teacher]:
        return [
            Teacher(
                batch[f"image/{each.encoder}"].to(device),
                batch[f"{side.modality}/{each.encoder}"].to(device),
                each.scale,
                each.bias or 0.0,
            )
            for each in self.teachers
        ]


def taught_by(dataset: Dataset, texts: Sequence[Side], named: Sequence[str] = (), *, form: Form) -> tuple[Taught, ...]:
    """Return the teachers that were named, each `encoder`, `encoder=SCALE` or `encoder=SCALE,BIAS`; or all there are.

    Scales and biases that are not said are those that the encoder's record has. Raises UsageError for an encoder that
    lacks a space of images or of one of the kinds of texts, and for a sigmoid without a bias: what a model that was
    trained by softmax sees means something only beside other similarities.
    """
    kinds = dict.fromkeys(["image", *(side.modality for side in texts)])

    def lacking(encoder: str) -> list[str]:
        return [f"{kind}/{encoder}" for kind in kinds if f"{kind}/{encoder}" not in dataset.spaces]

    there = [encoder for encoder in sorted(dataset.manifest.encoders) if not lacking(encoder)]
    teachers = tuple(_teacher(dataset, each, there) for each in named or there)
    twice = len({each.encoder for each in teachers}) < len(teachers)
    if twice or not teachers:
        expected, found = "different encoders with the spaces " + ", ".join(f"{kind}/..." for kind in kinds), f"{named}"
        raise UsageError("teachers", expected=expected, found=found, do=f"Name some of: {', '.join(there)}.")
    unsure = [each.encoder for each in teachers if each.bias is None]
    if form == "sigmoid" and unsure:
        do = f"Name it with both numbers, such as {unsure[0]}=10,-10, or take --loss distillation."
        raise UsageError(f"teacher {unsure[0]}", expected="a logit bias", found="none in its record", do=do)
    return teachers


def _teacher(dataset: Dataset, named: str, there: Sequence[str]) -> Taught:
    encoder, _, numbers = named.partition("=")
    if encoder not in there:
        expected = f"one of: {', '.join(there) or 'none'}"
        do = "Name an encoder that has a space for images and for each kind of texts."
        raise UsageError(f"teacher {encoder!r}", expected=expected, found="none with all the spaces", do=do)
    record = dataset.manifest.encoders[encoder]
    given: list[float | None] = [record.teaching_scale, record.logit_bias]
    for place, number in enumerate(numbers.split(",") if numbers else ()):
        try:
            given[place] = float(number)
        except (ValueError, IndexError) as error:
            expected = "ENCODER, ENCODER=SCALE or ENCODER=SCALE,BIAS"
            raise UsageError("teachers", expected=expected, found=repr(named), do="Write it so.") from error
    scale, bias = given
    if scale is None or not 0 < scale < math.inf or not math.isfinite(bias or 0.0):
        found = f"{scale} and {bias}"
        do = "Say another: ENCODER=SCALE."
        raise UsageError(f"teacher {encoder!r}", expected="a finite scale above 0", found=found, do=do)
    return Taught(encoder, scale, bias)
