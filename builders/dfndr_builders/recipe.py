"""The recipe: pool + stages + seed + output shape, in TOML, validated strictly; its digest names the build.

What changes bytes is in here; what does not (device, workers, retries) is a flag. An unknown key is an error that
names the nearest known one. `docs/recipes.md` shows every key.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal, Self

from dfndr.errors import MissingExtra
from dfndr.format.manifest import canonical
from dfndr.format.shard import row_types
from dfndr.models import EncoderSpec
from dfndr_builders.dfn import DfnSpec
from dfndr_builders.select import Rule
from dfndr_builders.stage import POOL_SCHEMA

try:
    from pydantic import BaseModel, ConfigDict, Field, model_validator
except ImportError as error:
    raise MissingExtra.of("pydantic", "build") from error

__all__ = [
    "TRAINED",
    "Caption",
    "Compute",
    "Dfn",
    "Embed",
    "Folder",
    "Glyphs",
    "Hf",
    "Output",
    "Parquet",
    "PoolRecipe",
    "Recipe",
    "Score",
    "Select",
    "WebDataset",
]

Share = Annotated[float, Field(ge=0, lt=1)]
Fraction01 = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9_-]|\.[a-z0-9_-])*$", max_length=64)]
"""What the format allows, and no dots that end it or follow one another: names become parts of paths."""
TRAINED = "recipe:dfn"
"""The `pretrained` of a model that the recipe itself trains, in its [dfn] section."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _Pool(_Strict):
    source: str | None = None
    license: str | None = None
    keep: list[str] = []
    swap_texts: Annotated[float, Field(gt=0, le=1)] | None = None


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


class _Model(_Strict):
    model: str = ""
    pretrained: str
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    license: str = "unknown"

    @model_validator(mode="after")
    def _has_a_config(self) -> Self:
        if not self.model and not self.pretrained.startswith((TRAINED, "hf-hub:", "local-dir:")):
            raise ValueError(f"pretrained = {self.pretrained!r} needs a model: a built-in name or a JSON config")
        return self

    def spec(self, name: str, compute: Compute, device: str, pretrained: str) -> EncoderSpec:
        """Return how to open the model; `pretrained` is the resolved form of what the recipe says."""
        model = self.model or pretrained.split(":")[0]
        shape = {"batch_size": compute.batch_size, "threads": compute.threads}
        return EncoderSpec(name, model, pretrained, self.precision, license=self.license, device=device, **shape)


class Score(_Model):
    """A column of scores."""

    name: Name
    kind: Literal["clip"] = "clip"


class Select(_Strict):
    """Which scored rows are kept."""

    by: str
    top_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    threshold: Annotated[float, Field(gt=-1e9, lt=1e9)] | None = None  # scores are float32
    count: Positive | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> Select:
        if sum(rule is not None for rule in (self.top_fraction, self.threshold, self.count)) != 1:
            raise ValueError("exactly one of top_fraction, threshold and count is needed")
        return self


class Caption(_Strict):
    """Synthetic captions; `bank` is a text file of one caption a line, or a pool whose texts are the bank."""

    kind: Literal["retrieval"]
    bank: str | PoolRecipe
    per_image: Positive = 2
    scorer: str | None = None


class Embed(_Model):
    """Vectors of one encoder."""

    encoder: Name
    of: Annotated[list[Literal["image", "text", "caption"]], Field(min_length=1)] = ["image", "text"]
    dtype: Literal["float16", "float32"] = "float16"

    @model_validator(mode="after")
    def _of_each_once(self) -> Self:
        if len(set(self.of)) != len(self.of):
            raise ValueError(f"of = {self.of} names one thing twice")
        return self


class Output(_Strict):
    """The shape of what comes out."""

    rows_per_shard: Positive = 10_000
    thumbnail: Annotated[int, Field(ge=0, le=1024)] = 96
    validation: Share = 0.01


class Compute(_Strict):
    """What fixes the last bits: one batch shape and one number of threads for every encoder."""

    batch_size: Annotated[int, Field(gt=0, le=65_536)] = 64
    threads: Annotated[int, Field(gt=0, le=1024)] = 2


class Dfn(_Strict):
    """A filter that the recipe trains itself, with open_clip's trainer, on its own pools."""

    pool: Annotated[list[PoolRecipe], Field(min_length=1)]
    model: str | dict[str, Any]
    pretrained: str | None = None
    epochs: Positive
    batch_size: Positive
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)] = 0.2
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    beta2: Annotated[float, Field(gt=0, lt=1)] = 0.98
    epsilon: Annotated[float, Field(gt=0)] = 1e-6
    grad_clip_norm: Annotated[float, Field(gt=0)] | None = None
    precision: Literal["fp32", "amp", "amp_bf16", "bf16"] = "fp32"
    image_mean: Annotated[tuple[float, float, float], Field(strict=False)] | None = None
    image_std: Annotated[tuple[float, float, float], Field(strict=False)] | None = None
    crop_scale: Annotated[tuple[Fraction01, Fraction01], Field(strict=False)] = (0.9, 1.0)
    workers: Annotated[int, Field(ge=0)] = 1

    def spec(self, *, seed: int, threads: int, device: str) -> DfnSpec:
        """Return what the trainer is given."""
        return DfnSpec(**self.model_dump(exclude={"pool"}), seed=seed, threads=threads, device=device)


class Recipe(_Strict):
    """The whole recipe."""

    name: Name
    license: str
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    pool: Annotated[list[PoolRecipe], Field(min_length=1)]
    dfn: Dfn | None = None
    score: Annotated[list[Score], Field(min_length=1)]
    select: Select
    caption: list[Caption] = []
    embed: list[Embed] = []
    output: Output = Output()
    compute: Compute = Compute()

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        scores, encoders = [score.name for score in self.score], [embed.encoder for embed in self.embed]
        for kind, names in (("score", scores), ("encoder", encoders)):
            if len(set(names)) != len(names):
                raise ValueError(f"every {kind} needs a name of its own, and {names} has one twice")
        if self.select.by not in scores:
            raise ValueError(f"[select] by = {self.select.by!r}, but the scores are {scores}")
        if len(self.caption) > 1:
            raise ValueError("one [[caption]] section is read so far, and there are more")
        for caption in self.caption:
            if caption.scorer is not None and caption.scorer not in scores:
                raise ValueError(f"[[caption]] scorer = {caption.scorer!r}, but the scores are {scores}")
        if not self.caption and any("caption" in embed.of for embed in self.embed):
            raise ValueError('an [[embed]] asks for "caption", and there is no [[caption]] section')
        models: list[_Model] = [*self.score, *self.embed]
        if self.dfn is None and any(model.pretrained == TRAINED for model in models):
            raise ValueError(f"pretrained = {TRAINED!r} needs a [dfn] section")
        self._columns_differ(scores)
        return self

    def _columns_differ(self, scores: list[str]) -> None:
        """Raise where two columns of the rows would have one name."""
        taken = {*POOL_SCHEMA.names, *row_types(), *(["swapped"] if any(pool.swap_texts for pool in self.pool) else [])}
        for kind, names in (("[[score]] name", scores), *(("[[pool]] keep", pool.keep) for pool in self.pool)):
            for name in names:
                if name in taken:
                    raise ValueError(f"{kind} {name!r} is the name of a column that every build makes itself")
            taken |= set(names) if kind == "[[score]] name" else set()

    def rule(self) -> Rule:
        """Return the selection's rule."""
        chosen = self.select
        return Rule(chosen.by, chosen.top_fraction, chosen.threshold, chosen.count, self.output.validation)

    @property
    def digest(self) -> str:
        """The sha256 of all that the recipe says, defaults included, comments and order of keys left out."""
        return hashlib.sha256(canonical(self.model_dump(mode="json"))).hexdigest()
