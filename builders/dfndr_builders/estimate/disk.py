"""What a build would take on disk: vectors to the byte, rows by rules of thumb that were measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dfndr.format.schema import Space
from dfndr_builders.estimate.forward import config_of
from dfndr_builders.recipe import Recipe
from dfndr_builders.sections.models import Model

__all__ = ["disk_of"]

_ROW, _TEXT, _SCORE, _MEASURE, _CAPTION, _VIEW = 90, 0.45, 5, {"image": 40, "text": 25, "language": 6}, 45, 42
"""Bytes in Parquet (zstd) of uid, key and sha256; of a byte of text; of a score, a measure, a caption, a view."""

_PNG_UP_TO, _PNG, _JPEG = 64, 1.6, 40
"""Thumbnails of photographs: up to this side 1.6 bytes a pixel, above it 40 bytes a pixel of the side."""


def disk_of(
    recipe: Recipe, folder: Path, *, rows: int, kept: int, text_bytes: float, thumbnail_bytes: float | None = None
) -> Mapping[str, int | None]:
    """Return the bytes of each space, of rows and thumbnails, and of the scores in `phases/`; None where not known."""
    found: dict[str, int | None] = {}
    for embed in recipe.embed:
        for modality in embed.of:
            space = Space(modality, embed.encoder, 1, recipe.per_row(modality), embed.dtype)
            found[space.name] = _vectors(embed, recipe, folder, space, kept)
    scores = len(recipe.score) * _SCORE + sum(_MEASURE.get(one.kind, 0) for one in recipe.measure)
    each = _ROW + _TEXT * text_bytes + scores
    more = recipe.per_row("caption") * _CAPTION if recipe.caption else 0
    more += recipe.views.count * _VIEW if recipe.views is not None else 0
    found["rows"] = round(kept * (each + more))
    if side := recipe.output.thumbnail:
        guess = _PNG * side**2 if side <= _PNG_UP_TO else _JPEG * side
        found["thumbnails"] = round(kept * (guess if thumbnail_bytes is None else thumbnail_bytes))
    found["scores, in phases/"] = round(rows * each)
    for clip in recipe.clips:
        for modality in clip.vectors:
            space = Space(modality, clip.name, 1)
            found[f"{space.name} of the pool, in phases/"] = _vectors(clip, recipe, folder, space, rows)
    return found


def _vectors(model: Model, recipe: Recipe, folder: Path, space: Space, rows: int) -> int | None:
    """Return what the vectors of a space take, without the headers of their files; its dim is found here."""
    config: Mapping[str, Any] | None = config_of(model, recipe, folder)
    dim = None if config is None else config.get("embed_dim")
    return rows * replace(space, dim=dim).row_bytes if isinstance(dim, int) else None
