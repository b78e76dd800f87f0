"""[dfn]: a filter that a recipe trains itself; [clip]: the model that what it keeps induces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from dfndr_builders.clip.spec import TrainingSpec
from dfndr_builders.dfn.presets import PRESETS, filled
from dfndr_builders.sections.base import Fraction01, Misfit, Positive, Strict
from dfndr_builders.sections.pools import PoolRecipe

__all__ = ["Averaging", "Dfn", "Finetune", "InducedClip"]

Three = Annotated[tuple[float, float, float], Field(strict=False)]
Above = Annotated[float, Field(gt=0)]
Deviations = Annotated[tuple[Above, Above, Above], Field(strict=False)]
Pools = Annotated[list[PoolRecipe], Field(min_length=1)]


class Steps(Strict):
    """How long, in which batches and how fast a model learns, and how its pictures are varied."""

    epochs: Positive | None = None
    samples_seen: Positive | None = None
    batch_size: Positive
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)] = 0.2
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    beta2: Annotated[float, Field(gt=0, lt=1)] = 0.98
    epsilon: Annotated[float, Field(gt=0)] = 1e-6
    grad_clip_norm: Annotated[float, Field(gt=0)] | None = None
    precision: Literal["fp32", "amp", "amp_bf16", "bf16"] = "fp32"
    crop_scale: Annotated[tuple[Fraction01, Fraction01], Field(strict=False)] = (0.9, 1.0)
    crop_ratio: Annotated[tuple[float, float], Field(strict=False)] | None = None
    color_jitter: Annotated[tuple[float, float, float, float], Field(strict=False)] | None = None
    color_jitter_probability: Fraction01 | None = None
    gray_scale_probability: Fraction01 | None = None
    erase_probability: Fraction01 | None = None
    workers: Annotated[int, Field(ge=0)] = 1

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.epochs is None) == (self.samples_seen is None):
            raise Misfit(f"{'neither' if self.epochs is None else 'both'} of epochs and samples_seen: give one")
        self._spec("", {})
        return self

    def _spec(self, model: str | Mapping[str, object], given: Mapping[str, Any]) -> TrainingSpec:
        keys = self.model_dump(include=set(Steps.model_fields))
        return TrainingSpec(model, **{**keys, **given})


class Training(Steps):
    """A training of a CLIP model: all but the pairs it learns from."""

    model: str | dict[str, Any]
    pretrained: str | None = None
    image_mean: Three | None = None
    image_std: Deviations | None = None

    def spec(self, *, seed: int, threads: int, device: str) -> TrainingSpec:
        """Return what the trainer is given."""
        keys = {"pretrained": self.pretrained, "image_mean": self.image_mean, "image_std": self.image_std}
        return self._spec(self.model, {**keys, "seed": seed, "threads": threads, "device": device})


class InducedClip(Training):
    """A model that `dfndr train-clip` trains on the recipe's own pools, or on what of them was kept."""


class Finetune(Steps):
    """A second training, of the filter as the first one left it, on other pairs."""

    pool: Pools

    def spec(self, *, seed: int, threads: int, device: str) -> TrainingSpec:
        """Return what the trainer is given, but for the model: that is the folder of the first training's."""
        return self._spec("", {"seed": seed, "threads": threads, "device": device})


class Averaging(Strict):
    """Weights between those of the first training (alpha 0) and the fine-tuned ones (alpha 1)."""

    pool: Pools
    alphas: Annotated[list[Fraction01], Field(min_length=1)] = [0.0, 0.25, 0.5, 0.75, 1.0]

    @model_validator(mode="after")
    def _are_distinct(self) -> Self:
        if len(set(self.alphas)) < len(self.alphas):
            raise Misfit(f"alphas = {self.alphas}, where one comes twice")
        return self


class Dfn(Training):
    """A filter that the recipe trains itself, with open_clip's trainer, on its own pools."""

    preset: str | None = None
    license: str = "unknown"
    pool: Pools
    finetune: Finetune | None = None
    averaging: Averaging | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_its_preset(cls, given: object) -> object:
        name = given.get("preset") if isinstance(given, dict) else None
        if not isinstance(given, dict) or not isinstance(name, str):
            return given
        if name not in PRESETS:
            raise Misfit(f"preset = {name!r}, but the presets are {', '.join(PRESETS)}")
        return filled(given, name)

    @model_validator(mode="after")
    def _averages_what_is_there(self) -> Self:
        if self.averaging is not None and self.finetune is None:
            raise Misfit("[dfn.averaging] needs a [dfn.finetune] section: it averages the two")
        return self
