"""Scores by a folder of weights, which the recipe may train itself: text-quality, image-classifier, m3ae."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from dfndr_builders.scorer import RowScorer, Scorer, Site
from dfndr_builders.sections.base import TRAINED, Misfit
from dfndr_builders.sections.models import Model
from dfndr_builders.sections.score import Score, sha256s

__all__ = ["ImageClassifier", "M3ae", "TextQuality"]


class Weighed(Score):
    """A score by a folder of weights, or by what the recipe trains in the section KEY: `weights = "recipe:KEY"`."""

    weights: str
    key: ClassVar[str]

    @property
    def trained_by(self) -> str:
        """The section, where the weights are the recipe's own."""
        return self.key if self.weights == self._own else ""

    @property
    def _own(self) -> str:
        return f"recipe:{self.key.replace('_', '-')}"

    def folder(self, site: Site) -> str:
        """Return where the weights are."""
        return site.trained(self.key) if self.trained_by else site.resolve(self.weights)

    def planned(self) -> str:
        """Return which weights."""
        return f"{self.name}: {self.key.replace('_', ' ')}, {self.weights}"

    @model_validator(mode="after")
    def _is_its_own(self) -> Self:
        if self.weights.startswith("recipe:") and not self.trained_by:
            raise Misfit(f"weights = {self.weights!r}: what a recipe trains for it is {self._own}")
        return self


class TextQuality(Weighed):
    """A column of probabilities that a text is curated, by a classifier of words and bigrams."""

    kind: Literal["text-quality"]
    key = "text_quality"

    def open(self, site: Site) -> Scorer:
        """Return the stage; the recipe's own classifier is trained first."""
        from dfndr_builders.score.text_quality import TextQualityScore

        folder = self.folder(site)
        return RowScorer(self.name, TextQualityScore(self.name, folder), sha256s(folder))

    def check(self, site: Site) -> None:
        """Load the weights, unless they are still to be trained."""
        from dfndr_builders.text_quality import TextQuality as Classifier

        if not self.trained_by:
            Classifier.load(self.folder(site))

    def told(self) -> str:
        """Return how the column was made."""
        return "the probability that the text is curated, by a classifier of words and bigrams"


class ImageClassifier(Weighed):
    """A column of log-odds that a picture is one of the good ones, by a classifier of pictures."""

    kind: Literal["image-classifier"]
    key = "image_classifier"
    features: Model | None = None

    def _encoder(self, site: Site) -> Model | None:
        return self.features or (site.section(self.key).features if self.trained_by else None)

    def open(self, site: Site) -> Scorer:
        """Return the stage; the recipe's own classifier is trained first."""
        from dfndr_builders.score.image_classifier import ImageClassifierScore

        folder, given, runs = self.folder(site), self._encoder(site), site.runs
        model = None if given is None else site.model(given, self.name)
        shape = {"batch_size": runs.batch_size, "threads": runs.threads}
        spec, record = (None, None) if model is None else (model.spec, model.record.to_json())
        stage = ImageClassifierScore(self.name, folder, spec, device=runs.device, **shape)
        return RowScorer(self.name, stage, [sha256s(folder), record, shape], model)

    def check(self, site: Site) -> None:
        """Load the encoder, and the weights where they are not still to be trained."""
        from dfndr_builders.image_classifier.model import ImageClassifier as Classifier

        given = self._encoder(site)
        model = None if given is None or given.pretrained == TRAINED else site.model(given, self.name)
        if model is not None:
            model.open()
        if not self.trained_by and (given is None or model is not None):
            Classifier.load(self.folder(site)).open(None if model is None else model.spec)

    def told(self) -> str:
        """Return how the column was made."""
        return "the log-odds that the picture is one of the good ones and not one of the pool, by a classifier"


class M3ae(Weighed):
    """A column of how well a masked autoencoder restores what is hidden of a pair."""

    kind: Literal["m3ae"]
    key = "m3ae"
    masks: Annotated[int, Field(gt=0, le=1000)] = 4

    def open(self, site: Site) -> Scorer:
        """Return the stage; the recipe's own autoencoder is trained first."""
        from dfndr_builders.score.m3ae import M3aeScore

        folder, runs = self.folder(site), site.runs
        shape = {"batch_size": runs.batch_size, "threads": runs.threads}
        stage = M3aeScore(self.name, folder, self.masks, site.seed, device=runs.device, **shape)
        return RowScorer(self.name, stage, [sha256s(folder), self.masks, site.seed, shape])

    def check(self, site: Site) -> None:
        """Load the weights, unless they are still to be trained."""
        from dfndr_builders.m3ae.model import M3ae as Autoencoder

        if not self.trained_by:
            Autoencoder.load(self.folder(site))

    def told(self) -> str:
        """Return how the column was made."""
        return f"minus the loss of a masked autoencoder over hidden patches and words, the mean of {self.masks} masks"
