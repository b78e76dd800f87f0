"""What models are scored and embedded with: [[embed]], [output], [compute]."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dfndr.format.schema import StorageType
from dfndr.models import EncoderSpec
from dfndr_builders.sections.base import TRAINED, Misfit, Name, Positive, Share, Strict

__all__ = [
    "Compute",
    "Embed",
    "Output",
]


class Model(Strict):
    """How a model is found, and in what precision it runs."""

    model: str = ""
    pretrained: str
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    license: str = "unknown"

    @model_validator(mode="after")
    def _has_a_config(self) -> Self:
        if not self.model and not self.pretrained.startswith((TRAINED, "hf-hub:", "local-dir:")):
            raise Misfit(f"pretrained = {self.pretrained!r} needs a model: a built-in name or a JSON config")
        return self

    def spec(self, name: str, compute: Compute, device: str, pretrained: str) -> EncoderSpec:
        """Return how to open the model; `pretrained` is the resolved form of what the recipe says."""
        model = self.model or pretrained.split(":")[0]
        return EncoderSpec(
            name,
            model,
            pretrained,
            self.precision,
            compute.batch_size,
            compute.threads,
            license=self.license,
            device=device,
            decode=compute.decode,
        )


class Embed(Model):
    """Vectors of one encoder."""

    encoder: Name
    of: Annotated[list[Literal["image", "text", "caption"]], Field(min_length=1)] = ["image", "text"]
    dtype: StorageType = "float16"
    distillation_scale: Annotated[float, Field(gt=0, le=1000)] | None = None

    @model_validator(mode="after")
    def _of_each_once(self) -> Self:
        if len(set(self.of)) != len(self.of):
            raise Misfit(f"of = {self.of} names one thing twice")
        return self


class Output(Strict):
    """The shape of what comes out."""

    rows_per_shard: Positive = 10_000
    thumbnail: Annotated[int, Field(ge=0, le=1024)] = 96
    validation: Share = 0.01


class Compute(Strict):
    """What fixes the last bits: one batch shape and one number of threads for every encoder, and how pictures are read.

    With `decode` "fast" the least cosine to the exact vectors, on pictures of the pool, must be `min_cosine`.
    """

    batch_size: Annotated[int, Field(gt=0, le=65_536)] = 64
    threads: Annotated[int, Field(gt=0, le=1024)] = 2
    decode: Literal["exact", "fast"] = "exact"
    min_cosine: Annotated[float, Field(ge=-1, le=1)] = 0.999
