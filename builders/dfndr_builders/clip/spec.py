"""What a training of a CLIP model is told: everything that the weights depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dfndr.errors import RecipeError

__all__ = ["TrainingSpec"]


@dataclass(frozen=True)
class TrainingSpec:
    """Everything that the trained weights depend on, and `device`, which is no part of what is recorded.

    `model` is a name that open_clip knows (`hf-hub:` and `local-dir:` bring their own weights) or a model config of its
    kind: embed_dim, vision_cfg, text_cfg. `pretrained` is a tag or a checkpoint to start from. How long it trains is
    said in one of two ways: `epochs`, rounds over the pool, or `samples_seen`, rounded up to whole batches, however
    many rounds or how small a part of one that is. The learning rate rises for `warmup_steps` and falls along a cosine
    over all steps; `crop_scale` is the share of a picture's area that a random crop keeps. `threads` are those of the
    model, `workers` the processes that decode (0: none).
    """

    model: str | Mapping[str, object]
    pretrained: str | None = None
    epochs: int | None = None
    samples_seen: int | None = None
    batch_size: int = 256
    learning_rate: float = 5e-4
    weight_decay: float = 0.2
    warmup_steps: int = 100
    beta2: float = 0.98
    epsilon: float = 1e-6
    grad_clip_norm: float | None = None
    seed: int = 0
    threads: int = 2
    workers: int = 1
    precision: Literal["fp32", "amp", "amp_bf16", "bf16"] = "fp32"
    image_mean: tuple[float, float, float] | None = None
    image_std: tuple[float, float, float] | None = None
    crop_scale: tuple[float, float] = (0.9, 1.0)
    device: str = "auto"

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.samples_seen is None):
            found = "neither" if self.epochs is None else "both"
            raise RecipeError("dfn", expected="epochs or samples_seen", found=found, do="Give one of them.")
        length = self.epochs if self.samples_seen is None else self.samples_seen
        if min(length or 0, self.batch_size, self.threads) < 1 or min(self.workers, self.warmup_steps) < 0:
            found = f"{length}, {self.batch_size}, {self.threads}, {self.workers}, {self.warmup_steps}"
            expected = "epochs or samples_seen, batch_size, threads >= 1 and workers, warmup_steps >= 0"
            raise RecipeError("dfn", expected=expected, found=found, do="Mend the one that is too small.")
        missing = {"embed_dim", "vision_cfg", "text_cfg"} - set({} if isinstance(self.model, str) else self.model)
        if not isinstance(self.model, str) and missing:
            do = "Add what is missing, or name a model that open_clip knows."
            raise RecipeError(
                "dfn: model", expected="a model config of open_clip", found=f"no {sorted(missing)}", do=do
            )
