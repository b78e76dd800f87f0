"""[[score]]: columns of scores, and what a recipe trains for them: [text_quality]."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from dfndr_builders.sections.base import ScoreName, Strict
from dfndr_builders.sections.models import Model
from dfndr_builders.sections.pools import PoolRecipe
from dfndr_builders.select import Fusion as FusionRule

__all__ = [
    "TRAINED_QUALITY",
    "Clip",
    "Fusion",
    "Head",
    "Random",
    "ScoreRecipe",
    "TextQuality",
    "TextQualityTraining",
]

Weight = Annotated[float, Field(gt=-1e9, lt=1e9)]
TRAINED_QUALITY = "recipe:text-quality"
"""The `weights` of the text-quality classifier that the recipe itself trains, in its [text_quality] section."""


class Clip(Model):
    """A column of cosines between a CLIP model's features of picture and text."""

    name: ScoreName
    kind: Literal["clip"] = "clip"
    vectors: list[Literal["image", "text"]] = []


class TextQuality(Strict):
    """A column of probabilities that a text is curated, by a classifier of words and bigrams."""

    name: ScoreName
    kind: Literal["text-quality"]
    weights: str


class Head(Strict):
    """A column of scores by a head that was trained on cached vectors."""

    name: ScoreName
    kind: Literal["head"]
    head: str
    space: str


class Fusion(Strict):
    """A score made of others."""

    name: ScoreName
    kind: Literal["fusion"]
    how: Literal["rank", "z", "weighted"]
    of: Annotated[dict[str, Weight], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_a_score(self) -> Self:
        weights = list(self.of.values())
        if not any(weights) or (self.how != "weighted" and min(weights) < 0):
            wanted = "one other than 0" if self.how == "weighted" else "none below 0 and one above"
            raise ValueError(f"weights of which {wanted} is, and not {weights}")
        if self.name in ("row", "score", "shard"):
            raise ValueError(f"another name: a selection has a column {self.name!r} of its own")
        return self

    def rule(self) -> FusionRule:
        """Return it as selection knows it."""
        return FusionRule(self.name, self.how, tuple(self.of.items()))


class Random(Strict):
    """A column of uniform numbers by a hash of seed and uid."""

    name: ScoreName
    kind: Literal["random"]


def _kind(given: object) -> str:
    return str(given.get("kind", "clip") if isinstance(given, dict) else getattr(given, "kind", "clip"))


ScoreRecipe = Annotated[
    Annotated[Clip, Tag("clip")]
    | Annotated[TextQuality, Tag("text-quality")]
    | Annotated[Head, Tag("head")]
    | Annotated[Fusion, Tag("fusion")]
    | Annotated[Random, Tag("random")],
    Discriminator(_kind),
]


class TextQualityTraining(Strict):
    """A text-quality classifier that the recipe trains itself: the texts of curated pools against those of raw ones."""

    curated: Annotated[list[PoolRecipe], Field(min_length=1)]
    raw: Annotated[list[PoolRecipe], Field(min_length=1)]
