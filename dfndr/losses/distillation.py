"""Learning from the similarities that several teachers see between the images and the texts of a batch.

Row i of every tensor belongs to pair i. What teachers see comes from cached vectors of the very view and the very text
that the student is given (Vasu et al. 2024, arXiv 2311.17049, section 3). Products are made in float32 at least,
whatever the vectors are stored in and whatever autocast says: a scale of 100 leaves bfloat16 no digit behind the point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from dfndr.errors import UsageError
from dfndr.losses.contrastive import clip_loss, siglip_loss

if TYPE_CHECKING:
    import torch

    Scale: TypeAlias = float | torch.Tensor

__all__ = ["Form", "Teacher", "distillation_loss", "logits_of", "reinforced_loss", "sigmoid_distillation_loss"]

Form = Literal["softmax", "sigmoid"]
"""How similarities become targets: a distribution over each row and column, or a yes or no for each pair."""


@dataclass(frozen=True, eq=False)
class Teacher:
    """One teacher's unit vectors of a batch, each of shape (n, dim), and the scale and bias of its logits.

    `bias` is for the sigmoid form alone. Raises UsageError where the scale is missing, not finite or not above 0.
    """

    images: torch.Tensor
    texts: torch.Tensor
    scale: float
    bias: float = 0.0

    def __post_init__(self) -> None:
        numbers = all(isinstance(value, int | float) and math.isfinite(value) for value in (self.scale, self.bias))
        if not numbers or self.scale <= 0:
            found = f"a scale of {self.scale} and a bias of {self.bias}"
            raise UsageError("teacher", expected="a finite scale above 0", found=found, do=_DO)

    @classmethod
    def each(
        cls,
        images: Sequence[torch.Tensor],
        texts: Sequence[torch.Tensor],
        *,
        scales: Sequence[float | None],
        biases: Sequence[float] | None = None,
    ) -> tuple[Teacher, ...]:
        """Return a teacher for each pair of images and texts; raises UsageError where one of them has no scale."""
        biases = [0.0] * len(scales) if biases is None else biases
        known = [scale for scale in scales if scale is not None]
        if not len(images) == len(texts) == len(known) == len(scales) == len(biases):
            found = f"{len(images)} of images, {len(texts)} of texts, scales {list(scales)} and biases {list(biases)}"
            raise UsageError("teachers", expected="as many of each as there are teachers", found=found, do=_DO)
        return tuple(map(cls, images, texts, known, biases))


_DO = "Give each teacher its own scale: one number does not stand for several teachers."


def logits_of(images: torch.Tensor, texts: torch.Tensor, *, scale: Scale, bias: Scale = 0.0) -> torch.Tensor:
    """Return scale times the products of images and texts, plus bias, shape (images, texts), float32 or float64."""
    import torch

    dtype = torch.promote_types(torch.promote_types(images.dtype, texts.dtype), torch.float32)
    with torch.autocast(images.device.type, enabled=False):
        return scale * (images.to(dtype) @ texts.to(dtype).T) + bias


def distillation_loss(
    images: torch.Tensor,
    texts: torch.Tensor,
    *,
    scale: Scale,
    teachers: Sequence[Teacher],
    teacher_of: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the cross-entropy of the student's softmax against the mean of the teachers', over both ways.

    With P = mean over k of softmax(s_k A_k B_k^T), taken over rows, and Q likewise over columns, and student logits
    z = scale * images @ texts.T, it is (CE(P, softmax(z)) + CE(Q, softmax(z^T))) / 2, each the mean over its rows. The
    published equation has the mean over k of Kullback-Leibler divergences in place of CE: less by the teachers' mean
    entropy, with the same gradients. With `teacher_of`, int64 of shape (n,), row i of P and of Q is that of one teacher
    alone; drawn at random, it has the same gradients on average.
    """
    from torch.nn.functional import cross_entropy

    logits = logits_of(images, texts, scale=scale)
    seen = _seen_by(teachers, logits)
    loss = logits.new_zeros(())
    for ours, theirs in ((logits, seen), (logits.T, [each.T for each in seen])):
        loss = loss + cross_entropy(ours, _targets([each.softmax(dim=1) for each in theirs], teacher_of).to(ours)) / 2
    return loss


def sigmoid_distillation_loss(
    images: torch.Tensor,
    texts: torch.Tensor,
    *,
    scale: Scale,
    bias: Scale,
    teachers: Sequence[Teacher],
    teacher_of: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the binary cross-entropy of the student's pair probabilities against the mean of the teachers'.

    With q_ij = mean over k of sigmoid(s_k a_i . b_j + bias_k) and z_ij = scale * image_i . text_j + bias, it is the sum
    over all pairs of -q_ij log sigmoid(z_ij) - (1 - q_ij) log sigmoid(-z_ij), divided by the number of images. With
    teachers that are certain of the matching pairs it is the SigLIP loss (Zhai et al. 2023, arXiv 2303.15343).
    With `teacher_of`, q_ij is that of image i's one teacher.
    """
    from torch.nn.functional import binary_cross_entropy_with_logits

    logits = logits_of(images, texts, scale=scale, bias=bias)
    targets = _targets([each.sigmoid() for each in _seen_by(teachers, logits)], teacher_of).to(logits)
    return binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(logits)


def reinforced_loss(
    images: torch.Tensor,
    texts: Sequence[torch.Tensor],
    *,
    scale: Scale,
    teachers: Sequence[Sequence[Teacher]] = (),
    contrastive_weight: float = 0.0,
    distillation_weight: float = 1.0,
    form: Form = "softmax",
    bias: Scale = 0.0,
    teacher_of: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the sum over kinds of texts (real, synthetic) of the two losses of each, by their weights.

    `texts` has the student's vectors of each kind, `teachers` the teachers' of each. A loss of weight 0 is not
    computed, so without distillation no teachers are needed. `bias` is for the sigmoid form, whose contrastive loss is
    SigLIP's.
    Raises UsageError where that does not fit together.
    """
    _check(texts, teachers, contrastive_weight, distillation_weight, form)
    terms = []
    for kind, theirs in enumerate(texts):
        if contrastive_weight:
            logits = logits_of(images, theirs, scale=scale, bias=bias if form == "sigmoid" else 0.0)
            terms.append(contrastive_weight * (siglip_loss(logits) if form == "sigmoid" else clip_loss(logits)))
        if not distillation_weight:
            continue
        seen = teachers[kind]
        if form == "sigmoid":
            found = sigmoid_distillation_loss(
                images, theirs, scale=scale, bias=bias, teachers=seen, teacher_of=teacher_of
            )
        else:
            found = distillation_loss(images, theirs, scale=scale, teachers=seen, teacher_of=teacher_of)
        terms.append(distillation_weight * found)
    return sum(terms[1:], start=terms[0])


def _seen_by(teachers: Sequence[Teacher], logits: torch.Tensor) -> list[torch.Tensor]:
    """Return each teacher's own logits; raises UsageError for none, and for those of another batch."""
    if not teachers:
        do = "Give one, or a distillation weight of 0."
        raise UsageError("teachers", expected="one teacher or more", found="none", do=do)
    seen = [logits_of(each.images, each.texts, scale=each.scale, bias=each.bias).detach() for each in teachers]
    other = next((each.shape for each in seen if each.shape != logits.shape), None)
    if other is not None:
        expected, found = f"vectors of the {tuple(logits.shape)} images and texts of the batch", f"{tuple(other)}"
        raise UsageError("teachers", expected=expected, found=found, do="Take both from one batch, and gather both.")
    return seen


def _targets(seen: Sequence[torch.Tensor], teacher_of: torch.Tensor | None) -> torch.Tensor:
    """Return the mean of the teachers' targets, or of each row those of its own teacher."""
    import torch

    stacked = torch.stack(list(seen))
    if teacher_of is None:
        return stacked.mean(dim=0)
    return stacked[teacher_of, torch.arange(len(teacher_of), device=stacked.device)]


def _check(
    texts: Sequence[object], teachers: Sequence[object], contrastive: float, distillation: float, form: str
) -> None:
    if form not in get_args(Form):
        raise UsageError("form", expected=f"one of {list(get_args(Form))}", found=repr(form), do="Name one of them.")
    if not texts:
        raise UsageError("texts", expected="one kind of texts or more", found="none", do="Give the real ones.")
    weights = (contrastive, distillation)
    if not all(0 <= weight < math.inf for weight in weights) or not any(weights):
        expected, found = "two weights of 0 or more, not both 0", f"{contrastive} and {distillation}"
        raise UsageError("loss weights", expected=expected, found=found, do="Choose others.")
    if distillation and len(teachers) != len(texts):
        do = "Give the teachers' vectors of each kind of texts: a target is of the text that the student is given."
        found = f"teachers for {len(teachers)} of {len(texts)}"
        raise UsageError("teachers", expected="teachers for each kind of texts", found=found, do=do)
