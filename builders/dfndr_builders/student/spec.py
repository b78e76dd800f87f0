"""What the training of a student is told: everything that its weights depend on."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from dfndr.errors import UsageError
from dfndr.losses.distillation import Form

__all__ = ["Precision", "StudentLoss", "StudentSpec"]

Precision = Literal["fp32", "bf16", "fp16"]
StudentLoss = Literal["distillation", "sigmoid-distillation"]
"""With CLIP's contrastive loss beside it, or with SigLIP's."""


@dataclass(frozen=True)
class StudentSpec:
    """What is trained, on what of a dataset, and how; the defaults are those of the published runs on 12.8M samples.

    `model` is a name that open_clip knows or the path of a JSON config, and `pretrained` what it starts from as an
    encoder's weights are named, "" for random ones; `hf-hub:` and `local-dir:` bring their own config. It trains for
    `samples_seen`, rounded up to whole batches.

    The loss of a batch is the sum, over the texts and the captions, of `contrastive_weight` times CLIP's and
    `distillation_weight` times that of the `teachers`, each `ENCODER`, `ENCODER=SCALE` or `ENCODER=SCALE,BIAS` (all
    that there are where none is named). A sample comes with one of its first `views`, and one of its first `captions`
    beside its text, drawn anew in each epoch; None is all of them, and 0 captions the text alone. Without distillation
    training is plain: a fresh crop of `crop_scale` of the picture's area and the text alone.

    Raises UsageError for numbers that make no sense.
    """

    model: str
    pretrained: str = ""
    samples_seen: int = 1_000_000
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.2
    warmup_steps: int = 1000
    beta2: float = 0.95
    epsilon: float = 1e-6
    grad_clip_norm: float = 1.0
    loss: StudentLoss = "distillation"
    contrastive_weight: float = 0.0
    distillation_weight: float = 1.0
    teachers: tuple[str, ...] = ()
    views: int | None = None
    captions: int | None = None
    crop_scale: tuple[float, float] = (0.9, 1.0)
    precision: Precision = "fp32"
    seed: int = 0
    threads: int = 2

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        checks = {
            "samples_seen": (self.samples_seen >= 1, "1 or more"),
            "batch_size": (self.batch_size >= 2, "2 or more: a sample is told from the others of its batch"),
            "learning_rate": (0 < self.learning_rate < math.inf, "a number above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "warmup_steps": (self.warmup_steps >= 0, "0 or more"),
            "beta2": (0 <= self.beta2 < 1, "from 0 to below 1"),
            "grad_clip_norm": (self.grad_clip_norm > 0, "a number above 0"),
            "loss": (self.loss in get_args(StudentLoss), f"one of {list(get_args(StudentLoss))}"),
            "contrastive_weight": (0 <= self.contrastive_weight < math.inf, "0 or more"),
            "distillation_weight": (
                0 <= self.distillation_weight < math.inf and self.contrastive_weight + self.distillation_weight > 0,
                "0 or more, and above 0 where contrastive_weight is 0",
            ),
            "views": (self.views is None or self.views >= 1, "1 or more"),
            "captions": (self.captions is None or self.captions >= 0, "0 or more"),
            "crop_scale": (0 < low <= high <= 1, "from above 0 up to at most 1"),
            "precision": (self.precision in ("fp32", "bf16", "fp16"), "fp32, bf16 or fp16"),
            "seed": (self.seed >= 0, "0 or more"),
            "threads": (self.threads >= 1, "1 or more"),
        }
        for name, (fine, expected) in checks.items():
            if not fine:
                raise UsageError(name, expected=expected, found=repr(getattr(self, name)), do="Choose another value.")

    @property
    def is_plain(self) -> bool:
        """Say whether no teacher has a part in it."""
        return self.distillation_weight == 0

    @property
    def form(self) -> Form:
        """How similarities become targets."""
        return "sigmoid" if self.loss == "sigmoid-distillation" else "softmax"

    @property
    def steps(self) -> int:
        """How many batches are seen."""
        return math.ceil(self.samples_seen / self.batch_size)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step counted from 0: a linear rise, then half a cosine down to zero."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        gone = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * (1 + math.cos(math.pi * gone)) / 2

    def to_json(self) -> dict[str, object]:
        """Return what is recorded."""
        return asdict(self)
