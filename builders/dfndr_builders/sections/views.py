"""Which views of each picture are drawn: [views]."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from dfndr.views.sampling import Sampler
from dfndr_builders.sections.base import Strict

__all__ = ["Views"]

Pair = Annotated[tuple[float, float], Field(strict=False)]


class Views(Strict):
    """Views of each picture, as parameters; image vectors are theirs."""

    count: Annotated[int, Field(gt=0, le=1024)] = 5
    crop_scale: Pair = (0.08, 1.0)
    ratio: Pair = (3 / 4, 4 / 3)
    operations: int = 2
    magnitude: int = 9
    plain_first: bool = False

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Self:
        self.sampler()
        return self

    def sampler(self) -> Sampler:
        """Return what draws them."""
        return Sampler(**self.model_dump())
