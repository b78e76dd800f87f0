"""Forward passes: how many each model of a recipe makes, and the operations and GPU hours of these."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from dfndr_builders.dfn.cost import forward_flops, gpu_hours, model_config
from dfndr_builders.recipe import Recipe
from dfndr_builders.recipe_file import resolve
from dfndr_builders.sections.base import TRAINED
from dfndr_builders.sections.models import Embed, Model

__all__ = ["Passes", "config_of", "passes_of"]


@dataclass(frozen=True)
class Passes:
    """What one model encodes in one phase; operations are None where its config does not tell."""

    phase: str
    purpose: str
    model: str
    images: int
    texts: int
    flops: float | None

    @property
    def is_space(self) -> bool:
        """Say whether its vectors make a space, of views where there are some."""
        return self.purpose == "embed"

    @property
    def gpu_hours(self) -> float | None:
        """Hours of one GPU at the utilisation that `dfn.cost` states."""
        return None if self.flops is None else gpu_hours(self.flops)


def passes_of(recipe: Recipe, folder: Path, *, rows: int, kept: int) -> tuple[Passes, ...]:
    """Return the forward passes of every phase over the pool's `rows` and the `kept` ones.

    Texts are counted as if each were another; equal ones are encoded once a batch. Captions are those asked for once,
    and of the models that write them only the passes over pictures are counted.
    """
    return tuple(_counted(recipe, folder, *given) for given in _encoded(recipe, rows, kept))


_Encoded: TypeAlias = tuple[str, str, str, Model, int, int]


def _encoded(recipe: Recipe, rows: int, kept: int) -> Iterator[_Encoded]:
    for clip in recipe.clips:
        yield "score", "score", clip.name, clip, rows, rows
    named = {clip.name for clip in recipe.clips} | {embed.encoder for embed in recipe.embed}
    captioners = {caption.name for caption in recipe.caption}
    for name, model in recipe.models:
        if name in captioners:
            yield "build", "caption", name, model, kept, 0
        elif name not in named:  # its features are looked at by a score
            yield "score", "features", name, model, rows, 0
    clips = {clip.name: clip for clip in recipe.clips}
    for caption in recipe.caption:
        scorer = clips[caption.scorer or recipe.clips[0].name]
        texts = kept * (caption.best_of or caption.per_image)
        yield "build", "score captions", scorer.name, scorer, kept, texts
    for embed in recipe.embed:
        images, texts = _of(recipe, embed, kept)
        yield "build", "embed", embed.encoder, embed, images, texts


def _of(recipe: Recipe, embed: Embed, kept: int) -> tuple[int, int]:
    """Return how many pictures and texts an encoder embeds."""
    counts = {modality: kept * recipe.per_row(modality) for modality in embed.of}
    return counts.get("image", 0), counts.get("text", 0) + counts.get("caption", 0)


def _counted(
    recipe: Recipe, folder: Path, phase: str, purpose: str, name: str, model: Model, images: int, texts: int
) -> Passes:
    config = config_of(model, recipe, folder)
    each = None if config is None else forward_flops(config)
    flops = None if each is None else each.image * images + each.text * texts
    return Passes(phase, purpose, name, images, texts, flops)


def config_of(model: Model, recipe: Recipe, folder: Path) -> Mapping[str, Any] | None:
    """Return open_clip's config of a model, found without loading it; None where it is not here.

    That of a model on the Hub is looked for in the Hub's cache, else taken from its name: DFN2B-CLIP-ViT-L-14 is a
    ViT-L-14.
    """
    if model.pretrained == TRAINED and recipe.dfn is not None:
        given = recipe.dfn.model
        return given if isinstance(given, dict) else _named(given, folder)
    return _named(model.model or model.pretrained, folder)


def _named(name: str, folder: Path) -> Mapping[str, Any] | None:
    kind, _, place = name.partition(":")
    if kind == "local-dir":
        return _in_file(Path(resolve(place, folder)) / "open_clip_config.json")
    if kind == "hf-hub":
        return _of_hub(place)
    return _in_file(Path(resolve(name, folder))) if name.endswith(".json") else model_config(name)


def _in_file(path: Path) -> Mapping[str, Any] | None:
    try:
        given = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    config = given.get("model_cfg", given) if isinstance(given, dict) else None
    return config if isinstance(config, dict) and "vision_cfg" in config else None


def _of_hub(repository: str) -> Mapping[str, Any] | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, "open_clip_config.json")
    if isinstance(found, str):
        return _in_file(Path(found))
    words = repository.rpartition("/")[2].split("-")
    parts = ("-".join(words[start:stop]) for start in range(len(words)) for stop in range(len(words), start, -1))
    return next((config for part in parts if (config := model_config(part)) is not None), None)
