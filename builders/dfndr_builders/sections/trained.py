"""Models that a recipe trains itself, for scores by them: [text_quality], [image_classifier], [m3ae]."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from dfndr.errors import RecipeError
from dfndr.progress import Progress
from dfndr_builders.fitting import Fitting
from dfndr_builders.m3ae.shape import Shape
from dfndr_builders.pools.base import Pool
from dfndr_builders.pools.pictures import Pictures
from dfndr_builders.scorer import Trained, TrainingSite
from dfndr_builders.sections.base import TRAINED, Fraction01, Misfit, Positive, Strict
from dfndr_builders.sections.models import Model
from dfndr_builders.sections.pools import PoolRecipe

__all__ = [
    "ImageClassifierTraining",
    "M3aeTraining",
    "TextQualityTraining",
]

Pools = Annotated[list[PoolRecipe], Field(min_length=1)]


class TrainingSection(Strict):
    """A section that trains a model; `last` is the file that is written last."""

    last: ClassVar[str]

    @abstractmethod
    def pools(self) -> tuple[list[PoolRecipe], ...]:
        """Return the pools that it learns from, side by side."""

    def depends(self, site: TrainingSite) -> object:
        """Return all that the model depends on besides the section, its pools and the seed, as JSON."""
        return None

    @abstractmethod
    def train(self, pools: Sequence[Pool], out: str, site: TrainingSite, progress: Progress) -> Trained:
        """Train into the folder `out`."""

    def check(self, site: TrainingSite) -> None:
        """Raise now for what `train` would not find."""

    @abstractmethod
    def planned(self) -> str:
        """Return a line for `dfndr plan`."""


class TextQualityTraining(TrainingSection):
    """A text-quality classifier that the recipe trains itself: the texts of curated pools against those of raw ones."""

    curated: Pools
    raw: Pools
    last = "text_quality.json"

    def pools(self) -> tuple[list[PoolRecipe], ...]:
        """Return both sides."""
        return self.curated, self.raw

    def planned(self) -> str:
        """Return a line for `dfndr plan`."""
        return "train a text-quality classifier"

    def train(self, pools: Sequence[Pool], out: str, site: TrainingSite, progress: Progress) -> Trained:
        """Train into the folder `out`."""
        from dfndr_builders.text_quality import pool_texts, train

        with progress.task("train the text classifier", total=None):
            trained = train(*(pool_texts(pool) for pool in pools), seed=site.seed)
        trained.save(out)
        about = trained.training
        said = (
            f"text quality: {about.curated:,} curated and {about.raw:,} raw texts; held out, AUC {about.auc:.4f}, "
            f"accuracy {about.accuracy:.1%}"
        )
        return Trained(about.curated + about.raw, said, asdict(about))


class Fitted(TrainingSection):
    """How a small network of our own is trained: AdamW, warm-up and cosine; see `dfndr_builders.fitting`."""

    samples_seen: Positive = 200_000
    batch_size: Positive = 128
    learning_rate: Annotated[float, Field(gt=0, lt=10)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.05

    def how(self, site: TrainingSite) -> Fitting:
        """Return what the training is told."""
        return Fitting(
            self.samples_seen,
            self.batch_size,
            self.learning_rate,
            self.weight_decay,
            seed=site.seed,
            threads=site.runs.threads,
            device=site.runs.device,
        )

    def depends(self, site: TrainingSite) -> object:
        """Return how the network is run."""
        return site.runs.threads


class ImageClassifierTraining(Fitted):
    """A classifier of pictures that the recipe trains itself: those of good pools against those of raw ones."""

    good: Pools
    raw: Pools
    features: Model | None = None
    network: Literal["conv"] | None = None
    image_size: Annotated[int, Field(ge=8, le=512)] = 32
    width: Annotated[int, Field(ge=1, le=512)] = 32
    l2: Annotated[float, Field(gt=0)] = 1e-3
    most: Positive = 20_000
    last = "image_classifier.json"

    @model_validator(mode="after")
    def _is_one_network(self) -> Self:
        if (self.features is None) == (self.network is None):
            raise Misfit('[image_classifier] needs either features (a frozen encoder) or network = "conv"')
        return self

    def pools(self) -> tuple[list[PoolRecipe], ...]:
        """Return both sides."""
        return self.good, self.raw

    def planned(self) -> str:
        """Return a line for `dfndr plan`."""
        if self.features is not None:
            return "train an image classifier on frozen features"
        return f"train an image classifier, {self.network}: {self.samples_seen:,} samples seen"

    def depends(self, site: TrainingSite) -> object:
        """Return what the encoder is, or how the network is run."""
        if self.features is None:
            return super().depends(site)
        return site.model(self.features, "features").record.to_json()

    def check(self, site: TrainingSite) -> None:
        """Load the encoder."""
        if self.features is not None and self.features.pretrained != TRAINED:
            site.model(self.features, "features").open()

    def train(self, pools: Sequence[Pool], out: str, site: TrainingSite, progress: Progress) -> Trained:
        """Train into the folder `out`."""
        from dfndr_builders.image_classifier.network import Conv
        from dfndr_builders.image_classifier.train import train_conv, train_linear

        good, raw = (Pictures(pool) for pool in pools)
        if self.features is None:
            shape = Conv(self.image_size, self.width)
            trained = train_conv(good, raw, shape, self.how(site), most=self.most, progress=progress)
        else:
            model = site.model(self.features, "features")
            trained = train_linear(
                good,
                raw,
                model.open(),
                record=model.record,
                l2=self.l2,
                most=self.most,
                seed=site.seed,
                progress=progress,
            )
        trained.save(out)
        about = trained.training
        said = (
            f"image classifier: {about.good:,} good and {about.raw:,} raw pictures; held out, AUC {about.auc:.4f}, "
            f"accuracy {about.accuracy:.1%}"
        )
        return Trained(about.good + about.raw, said, asdict(about))


class M3aeTraining(Fitted):
    """A masked autoencoder of pictures and texts that the recipe trains itself, on good pairs."""

    pool: Pools
    image_size: Annotated[int, Field(ge=8, le=512)] = 32
    patch_size: Annotated[int, Field(ge=2, le=256)] = 8
    words: Annotated[int, Field(ge=1, le=256)] = 16
    buckets: Annotated[int, Field(ge=1, le=1 << 18)] = 4096
    width: Annotated[int, Field(ge=8, le=2048)] = 64
    layers: Annotated[int, Field(ge=1, le=64)] = 3
    heads: Annotated[int, Field(ge=1, le=64)] = 4
    image_mask: Fraction01 = 0.75
    text_mask: Fraction01 = 0.75
    text_weight: Annotated[float, Field(ge=0, le=1000)] = 0.5
    most: Positive = 50_000
    last = "m3ae.json"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        try:
            self.shape()
        except RecipeError as error:
            raise Misfit(f"[m3ae]: {error.expected}, and not {error.found}") from error
        return self

    def shape(self) -> Shape:
        """Return the network's shape."""
        sizes = (self.image_size, self.patch_size, self.words, self.buckets, self.width, self.layers, self.heads)
        return Shape(*sizes, self.image_mask, self.text_mask)

    def pools(self) -> tuple[list[PoolRecipe], ...]:
        """Return the good pairs."""
        return (self.pool,)

    def planned(self) -> str:
        """Return a line for `dfndr plan`."""
        return f"train a masked autoencoder: {self.samples_seen:,} samples seen"

    def train(self, pools: Sequence[Pool], out: str, site: TrainingSite, progress: Progress) -> Trained:
        """Train into the folder `out`."""
        from dfndr_builders.m3ae.train import train_m3ae

        trained = train_m3ae(
            pools[0],
            self.shape(),
            self.how(site),
            text_weight=self.text_weight,
            most=self.most,
            progress=progress,
        )
        trained.save(out)
        about = trained.training
        said = (
            f"m3ae: {about.pairs:,} pairs; held out, loss of pictures {about.image_loss:.4f}, of texts "
            f"{about.text_loss:.4f}"
        )
        return Trained(about.pairs, said, asdict(about))
