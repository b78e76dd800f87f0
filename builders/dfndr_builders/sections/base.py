"""What all sections share: strictness, and the types of their values."""

from __future__ import annotations

from typing import Annotated, get_args

from dfndr.errors import MissingExtra
from dfndr.format.schema import Modality

try:
    from pydantic import AfterValidator, BaseModel, ConfigDict, Field
except ImportError as error:
    raise MissingExtra.of("pydantic", "build") from error

__all__ = ["TRAINED", "Fraction01", "Kept", "Misfit", "Name", "Part", "Positive", "ScoreName", "Share", "Strict"]

Share = Annotated[float, Field(ge=0, lt=1)]
Fraction01 = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9_-]|\.[a-z0-9_-])*$", max_length=64)]
"""What the format allows, and no dots that end it or follow one another: names become parts of paths."""
_DERIVED = frozenset(
    {
        "contaminated",
        "contaminated_by",
        "contaminated_distance",
        "near_duplicate_group",
        "same_image_group",
        "same_text_group",
        "semantic_duplicate_group",
    }
)


def _is_free(name: str) -> str:
    if name in _DERIVED:
        raise ValueError(f"another name: {name!r} is a column of duplicates or of contamination")
    if name.startswith(tuple(f"{modality}/" for modality in get_args(Modality))):
        raise ValueError(f"another name: {name!r} is what a space of vectors is called")
    return name


ScoreName = Annotated[Name, AfterValidator(_is_free)]
"""A name that is also a column beside those that curation makes."""
Kept = Annotated[str, Field(min_length=1), AfterValidator(_is_free)]
"""The name of a column of the pool that is carried along."""
TRAINED = "recipe:dfn"
"""The `pretrained` of a model that the recipe itself trains, in its [dfn] section."""


class Misfit(ValueError):
    """Says what a recipe says that does not fit together; other complaints of a section say what is expected."""


class Strict(BaseModel):
    """A section: no unknown key, no value of another type, and nothing changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
