"""The student as a network: where it comes from, how it is stepped, and what may not become of it."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dfndr import storage
from dfndr.errors import ModelError, UsageError
from dfndr.heads.objective import Taught
from dfndr.losses.distillation import Teacher, reinforced_loss
from dfndr.models import EncoderSpec, load_model
from dfndr_builders.student.batches import StudentBatch
from dfndr_builders.student.processes import Processes
from dfndr_builders.student.spec import StudentSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Student", "model_config", "opened_student", "optimizer_of"]

MAX_LOG_SCALE = math.log(100)
"""Radford et al. 2021, section 2.5: the logit scale is kept from going above 100."""


SIGMOID_START = (10.0, -10.0)
"""Where scale and bias start for a sigmoid in a model without a bias: Zhai et al. 2023, arXiv 2303.15343, section 3."""


@dataclass(frozen=True, eq=False)
class Student:
    """A model in training: itself, as it is called (shared over processes or not), its tokenizer, what it sees."""

    model: Any
    called: Any
    tokenizer: Any
    size: tuple[int, int]
    device: str

    def loss(self, batch: StudentBatch, spec: StudentSpec, teachers: Sequence[Taught]) -> torch.Tensor:
        """Return the loss of the whole batch, of which each process has its share."""
        import torch

        from dfndr.losses.gathering import gathered

        with torch.no_grad():
            mean, std = (self._numbers(value) for value in (self.model.visual.image_mean, self.model.visual.image_std))
            pixels = (batch.pixels.to(self.device, non_blocking=True).float() / 255 - mean) / std
            tokens = batch.tokens.flatten(0, 1).to(self.device, non_blocking=True)
        with self._autocast(spec):
            images, texts, scale, *bias = self.called(pixels, tokens)
        seen = [self._shared(vectors) for vectors in batch.seen]
        taught = [[self._shared(vectors) for vectors in kind] for kind in batch.taught]
        return reinforced_loss(
            gathered(images.float()),
            [gathered(kind) for kind in texts.float().chunk(len(batch.tokens))],
            scale=scale.float(),
            bias=bias[0].float() if bias else 0.0,
            form=spec.form,
            teachers=[
                [
                    Teacher(pictures, said, one.scale, one.bias or 0.0)
                    for pictures, said, one in zip(seen, kind, teachers, strict=True)
                ]
                for kind in taught
            ],
            contrastive_weight=spec.contrastive_weight,
            distillation_weight=spec.distillation_weight,
        )

    def clamp(self) -> None:
        """Keep the logit scale within its bounds."""
        import torch

        with torch.no_grad():
            self.model.logit_scale.clamp_(0, MAX_LOG_SCALE)

    def _numbers(self, values: Sequence[float]) -> torch.Tensor:
        import torch

        return torch.tensor(values, dtype=torch.float32, device=self.device).reshape(3, 1, 1)

    def _shared(self, vectors: torch.Tensor) -> torch.Tensor:
        from dfndr.losses.gathering import gathered

        return gathered(vectors.to(self.device, non_blocking=True))

    def _autocast(self, spec: StudentSpec) -> AbstractContextManager[object]:
        import torch

        if spec.precision == "fp32":
            return nullcontext()
        kind = {"bf16": torch.bfloat16, "fp16": torch.float16}[spec.precision]
        found: AbstractContextManager[object] = torch.autocast(self.device.split(":")[0], dtype=kind)
        return found


def opened_student(spec: StudentSpec, processes: Processes) -> Student:
    """Load a model to be trained; raises ModelError where it cannot be loaded, or has more than two towers."""
    import torch
    from torch.nn.parallel import DistributedDataParallel

    named = EncoderSpec("student", spec.model, spec.pretrained or f"random:{spec.seed}", threads=spec.threads)
    loaded, _, tokenizer = load_model(named)
    model = copy.deepcopy(loaded)  # what was loaded may be loaded again, as an encoder
    if hasattr(model, "text_decoder"):
        do = "Name a CLIP model without a decoder of texts."
        raise ModelError(spec.model, expected="a model of two towers", found="a captioner, which has three", do=do)
    model = model.float().to(processes.device).train()
    if spec.form == "sigmoid" and model.logit_bias is None:
        scale, bias = SIGMOID_START
        model.logit_bias = torch.nn.Parameter(torch.tensor(bias, device=processes.device))
        torch.nn.init.constant_(model.logit_scale, math.log(scale))
    elif spec.form == "softmax" and model.logit_bias is not None:
        model.logit_bias.requires_grad_(False)  # softmax does not see it
    called = model
    if processes.count > 1:
        devices = [torch.device(processes.device)] if processes.device.startswith("cuda") else None
        called = DistributedDataParallel(model, device_ids=devices)
    side = model.visual.image_size
    size = (side, side) if isinstance(side, int) else (int(side[0]), int(side[1]))
    return Student(model, called, tokenizer, size, processes.device)


def model_config(spec: StudentSpec) -> Mapping[str, object]:
    """Return the model's config as open_clip has it, with a bias where the student has one."""
    import open_clip

    place = spec.pretrained if spec.pretrained.startswith(("hf-hub:", "local-dir:")) else spec.model
    config: Mapping[str, object] | None = (
        json.loads(storage.read_bytes(place)) if place.endswith(".json") else open_clip.get_model_config(place)
    )
    if config is None:
        raise UsageError("--model", expected="a model with a config", found=place, do="Name another.")
    return config if spec.form == "softmax" else {"init_logit_bias": SIGMOID_START[1], **config}


def optimizer_of(model: torch.nn.Module, spec: StudentSpec) -> torch.optim.Optimizer:
    """Return AdamW in open_clip's groups: gains, biases and the scale do not decay."""
    import torch

    named = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
    fixed = [any(part in name for part in ("bn", "ln", "bias", "logit_scale")) or one.ndim < 2 for name, one in named]
    groups = [
        {"params": [one for (_, one), is_fixed in zip(named, fixed, strict=True) if is_fixed], "weight_decay": 0.0},
        {
            "params": [one for (_, one), is_fixed in zip(named, fixed, strict=True) if not is_fixed],
            "weight_decay": spec.weight_decay,
        },
    ]
    return torch.optim.AdamW(groups, lr=spec.learning_rate, betas=(0.9, spec.beta2), eps=spec.epsilon)
