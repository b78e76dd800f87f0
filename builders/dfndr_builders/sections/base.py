"""What all sections share: strictness, and the types of their values."""

from __future__ import annotations

from typing import Annotated

from dfndr.errors import MissingExtra

try:
    from pydantic import BaseModel, ConfigDict, Field
except ImportError as error:
    raise MissingExtra.of("pydantic", "build") from error

__all__ = ["TRAINED", "Fraction01", "Name", "Part", "Positive", "Share", "Strict"]

Share = Annotated[float, Field(ge=0, lt=1)]
Fraction01 = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9_-]|\.[a-z0-9_-])*$", max_length=64)]
"""What the format allows, and no dots that end it or follow one another: names become parts of paths."""
TRAINED = "recipe:dfn"
"""The `pretrained` of a model that the recipe itself trains, in its [dfn] section."""


class Strict(BaseModel):
    """A section: no unknown key, no value of another type, and nothing changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
