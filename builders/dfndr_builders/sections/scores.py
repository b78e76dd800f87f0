"""[[score]]: columns of scores. Each section opens into a scorer; a fusion is a rule of selection."""

from __future__ import annotations

import posixpath
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from dfndr import storage
from dfndr.format.schema import Space
from dfndr_builders.pools.pictures import Pictures
from dfndr_builders.scorer import RowScorer, Scorer, Site, TableScorer
from dfndr_builders.sections.base import TRAINED, Positive
from dfndr_builders.sections.models import Model
from dfndr_builders.sections.pools import PoolRecipe
from dfndr_builders.sections.score import Score, sha256s
from dfndr_builders.sections.weighed import ImageClassifier, M3ae, TextQuality
from dfndr_builders.select import Fusion as FusionRule

__all__ = ["Clip", "Column", "Fusion", "Head", "ImageBased", "Random", "ScoreRecipe", "TextBased"]

Weight = Annotated[float, Field(gt=-1e9, lt=1e9)]


class Clip(Model, Score):
    """A column of cosines between a CLIP model's features of picture and text."""

    kind: Literal["clip"] = "clip"
    vectors: list[Literal["image", "text"]] = []

    def open(self, site: Site) -> Scorer:
        """Load the model."""
        from dfndr_builders.score.clip import ClipScore

        model = site.model(self, self.name)
        spaces = tuple(Space(modality, self.name, model.record.dim) for modality in self.vectors)
        depends = [model.record.to_json(), [space.to_json() for space in spaces]]
        return RowScorer(self.name, ClipScore(self.name, model.spec, spaces), depends, model, spaces)

    def check(self, site: Site) -> None:
        """Load the model, unless it is still to be trained."""
        if self.pretrained != TRAINED:
            site.model(self, self.name).open()

    def told(self) -> str:
        """Return how the column was made."""
        return f"cosine of the picture's and the text's features, by the model {self.name} below"


class Head(Score):
    """A column of scores by a head that was trained on cached vectors."""

    kind: Literal["head"]
    head: str
    space: str

    def open(self, site: Site) -> Scorer:
        """Return the derived column."""
        from dfndr_builders.score.head import HeadScore

        head = site.resolve(self.head)
        depends = [self.model_dump(mode="json"), site.seed, sha256s(head)]
        return TableScorer(self.name, self.kind, HeadScore(self.name, head, self.space), depends)

    def check(self, site: Site) -> None:
        """Load the head."""
        from dfndr.heads.scores import open_head

        open_head(site.resolve(self.head))

    def planned(self) -> str:
        """Return which head."""
        return f"{self.name}: head {self.head} on {self.space}"

    def told(self) -> str:
        """Return how the column was made."""
        return f"by a head trained on vectors of {self.space}"


class Column(Score):
    """A column of numbers that the pool has: a score that somebody else computed."""

    kind: Literal["column"]
    column: str

    def open(self, site: Site) -> Scorer:
        """Return the derived column."""
        from dfndr_builders.score.precomputed import PrecomputedScore

        return TableScorer(self.name, self.kind, PrecomputedScore(self.name, self.column), [self.name, self.column])

    def told(self) -> str:
        """Return how the column was made."""
        return f"the pool's own column {self.column}"


class ImageBased(Score):
    """A column of ones where a picture lies in a cluster that is the nearest of some reference picture."""

    kind: Literal["image-based"]
    space: str
    clusters: Positive
    pool: Annotated[list[PoolRecipe], Field(min_length=1)]

    def open(self, site: Site) -> Scorer:
        """Return the derived column; the reference pictures are embedded when it is made."""
        from dfndr_builders.duplicates.image_based import ImageBasedScore

        (pool, listed), model = site.pools(self.pool), site.model_of(self.space)
        made = ImageBasedScore(self.name, self.space, self.clusters, site.seed, Pictures(pool), model.spec)
        depends = [self.model_dump(mode="json"), site.seed, listed, model.record.to_json()]
        return TableScorer(self.name, self.kind, made, depends)

    def check(self, site: Site) -> None:
        """List the reference pictures."""
        site.pools(self.pool)

    def told(self) -> str:
        """Return how the column was made."""
        return f"1 where one of {self.clusters} clusters of {self.space} holds the picture and a reference picture"


class TextBased(Score):
    """A column of ones where a text has a word of a list."""

    kind: Literal["text-based"]
    words: str

    def open(self, site: Site) -> Scorer:
        """Return the derived column."""
        from dfndr_builders.score.text_based import TextBasedScore, read_words

        path = site.resolve(self.words)
        made = TextBasedScore(self.name, read_words(path))
        return TableScorer(self.name, self.kind, made, [self.name, storage.sha256_of(path)])

    def check(self, site: Site) -> None:
        """Read the list."""
        from dfndr_builders.score.text_based import read_words

        read_words(site.resolve(self.words))

    def told(self) -> str:
        """Return how the column was made."""
        return f"1 where a word of the text is on the list {posixpath.basename(self.words)}, else 0"


class Random(Score):
    """A column of uniform numbers by a hash of seed and uid."""

    kind: Literal["random"]

    def open(self, site: Site) -> Scorer:
        """Return the derived column."""
        from dfndr_builders.score.random import RandomScore

        depends = [self.model_dump(mode="json"), site.seed]
        return TableScorer(self.name, self.kind, RandomScore(self.name, site.seed), depends)

    def told(self) -> str:
        """Return how the column was made."""
        return "a uniform number, by a hash of seed and uid"


class Fusion(Score):
    """A score made of others."""

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

    def told(self) -> str:
        """Return how the column was made."""
        made = {
            "rank": "the weighted mean of the ranks of",
            "z": "the weighted sum, each in its own standard deviations, of",
            "weighted": "the weighted sum of",
        }
        return f"{made[self.how]} " + ", ".join(f"{part} (weight {weight:g})" for part, weight in self.of.items())


def _kind(given: object) -> str:
    return str(given.get("kind", "clip") if isinstance(given, dict) else getattr(given, "kind", "clip"))


ScoreRecipe = Annotated[
    Annotated[Clip, Tag("clip")]
    | Annotated[Column, Tag("column")]
    | Annotated[Fusion, Tag("fusion")]
    | Annotated[Head, Tag("head")]
    | Annotated[ImageBased, Tag("image-based")]
    | Annotated[ImageClassifier, Tag("image-classifier")]
    | Annotated[M3ae, Tag("m3ae")]
    | Annotated[Random, Tag("random")]
    | Annotated[TextBased, Tag("text-based")]
    | Annotated[TextQuality, Tag("text-quality")],
    Discriminator(_kind),
]
