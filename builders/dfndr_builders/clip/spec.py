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
    over all steps. `threads` are those of the model, `workers` the processes that decode (0: none).

    A random crop keeps a share of the picture's area within `crop_scale`, of a shape within `crop_ratio` (wide by
    tall; 3/4 to 4/3 by default). `color_jitter` changes brightness, contrast, saturation and hue by up to so much,
    `gray_scale_probability` of the pictures lose their colours, and a rectangle of `erase_probability` of them becomes
    noise. open_clip makes them by one of two ways, so that not all of these go together.
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
    crop_ratio: tuple[float, float] | None = None
    color_jitter: tuple[float, float, float, float] | None = None
    color_jitter_probability: float | None = None
    gray_scale_probability: float | None = None
    erase_probability: float | None = None
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
        self.augmentation()
        missing = {"embed_dim", "vision_cfg", "text_cfg"} - set({} if isinstance(self.model, str) else self.model)
        if not isinstance(self.model, str) and missing:
            do = "Add what is missing, or name a model that open_clip knows."
            raise RecipeError(
                "dfn: model", expected="a model config of open_clip", found=f"no {sorted(missing)}", do=do
            )

    def augmentation(self) -> dict[str, object]:
        """Return the settings of open_clip's augmentation; raises RecipeError for those that do not go together."""
        settings: dict[str, object] = {"scale": tuple(self.crop_scale)}
        jitter, probability = self.color_jitter, self.color_jitter_probability
        self._check_ranges()
        timm = self.crop_ratio is not None or self.erase_probability is not None
        if jitter is None and probability is not None:
            raise _augmentation("color_jitter, whose probability is given", "none", "Give both.")
        if timm and (probability is not None or self.gray_scale_probability is not None):
            do = "open_clip leaves crop_ratio and erase_probability to timm, which knows neither: leave one side out."
            found = "color_jitter_probability or gray_scale_probability beside crop_ratio or erase_probability"
            raise _augmentation("augmentations of one kind", found, do)
        if timm:
            given = {"ratio": self.crop_ratio, "re_prob": self.erase_probability}
            settings |= {"use_timm": True} | {key: value for key, value in given.items() if value is not None}
        elif jitter is not None:
            settings["color_jitter_prob"] = 1.0 if probability is None else probability
        if jitter is not None:
            settings["color_jitter"] = tuple(jitter)
        if self.gray_scale_probability is not None:
            settings["gray_scale_prob"] = self.gray_scale_probability
        return settings

    def _check_ranges(self) -> None:
        least, most = self.crop_scale
        low, high = self.crop_ratio or (1.0, 1.0)
        jitter, std = self.color_jitter or (0.0, 0.0, 0.0, 0.0), self.image_std or (1.0, 1.0, 1.0)
        for is_fine, expected, found in (
            (0 < least <= most <= 1, "crop_scale from above 0 up to at most 1", self.crop_scale),
            (0 < low <= high, "crop_ratio from above 0 up", self.crop_ratio),
            (min(jitter) >= 0 and jitter[3] <= 0.5, "color_jitter of 0 or more, the hue's at most 0.5", jitter),
            (min(std) > 0, "image_std above 0", std),
        ):
            if not is_fine:
                raise _augmentation(expected, str(list(found or ())), "Mend it.")


def _augmentation(expected: str, found: str, do: str) -> RecipeError:
    return RecipeError("dfn: augmentation", expected=expected, found=found, do=do)
