"""[[pool]]: where pairs come from."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dfndr_builders.pools.templated import check_templates
from dfndr_builders.sections.base import Fraction01, Kept, Misfit, Part, Positive, Strict

__all__ = ["Folder", "Glyphs", "Hf", "Parquet", "PoolRecipe", "WebDataset"]


class _Pool(Strict):
    source: str | None = None
    license: str | None = None
    keep: list[Kept] = []
    swap_texts: Part | None = None
    templates: str | list[str] | None = None
    mask: list[Literal["emails", "phones"]] = []
    phone_regions: Annotated[list[str], Field(min_length=1)] = ["US"]
    drop_faces: str | None = None

    @model_validator(mode="after")
    def _keeps_the_faces(self) -> Self:
        if self.drop_faces is not None and self.drop_faces not in self.keep:
            raise Misfit(f"drop_faces = {self.drop_faces!r} looks at a column that keep = {self.keep} does not carry")
        return self

    @model_validator(mode="after")
    def _has_templates(self) -> Self:
        wrong = None if self.templates is None else check_templates(self.templates)
        if wrong is not None:
            raise Misfit(f"templates = {str(self.templates)[:60]!r}: expected {wrong}")
        return self


class _Pairs(_Pool):
    every_text: bool = False
    uid: str | None = None


class _Files(_Pairs):
    path: str | list[str]

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.path or (isinstance(self.path, list) and "" in self.path):
            raise ValueError("a path that names something")
        return self


class WebDataset(_Files):
    """Tars whose members are grouped by key."""

    kind: Literal["webdataset"]
    image: str = "jpg;jpeg;png;webp;gif"
    text: str = "txt"


class Folder(_Files):
    """A folder tree of images with .txt or .json beside them."""

    kind: Literal["folder"]
    image: str = "jpg;jpeg;png;webp;gif"
    text: str = "txt"


class Parquet(_Files):
    """Parquet files that hold the images' bytes."""

    kind: Literal["parquet"]
    image: str = "image"
    text: str = "text"


class Hf(_Pairs):
    """Anything that Hugging Face `datasets` loads."""

    kind: Literal["hf"]
    name: str
    config: str | None = None
    split: str = "train"
    image: str = "image"
    text: str = "text"


class Glyphs(_Pool):
    """The built-in pool: characters and their names."""

    kind: Literal["glyphs"]
    size: Annotated[int, Field(ge=8, le=512)] = 32
    count: Positive | None = None
    take: Annotated[tuple[Fraction01, Fraction01], Field(strict=False)] = (0.0, 1.0)


PoolRecipe = Annotated[WebDataset | Folder | Parquet | Hf | Glyphs, Field(discriminator="kind")]
