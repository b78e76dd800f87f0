"""A pool of class names as a pool of captions: each text is put into one of the templates, "a photo of a {}."."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyarrow as pa

from dfndr.errors import MissingExtra, RecipeError
from dfndr.seeds import hash_int
from dfndr_builders.pools.base import Pool, PoolShard, uid_of

__all__ = ["OPENAI_IMAGENET", "Templated", "check_templates", "openai_imagenet"]

OPENAI_IMAGENET = "openai-imagenet"
"""The name of the 80 templates for ImageNet's classes that came with CLIP (Radford et al. 2021), as open_clip has."""


def check_templates(templates: str | Sequence[str]) -> str | None:
    """Return what templates should be and are not, None where they are fine."""
    if isinstance(templates, str):
        near = difflib.get_close_matches(templates, [OPENAI_IMAGENET], n=1, cutoff=0.3)
        do = f" (did you mean {near[0]!r}?)" if near else ""
        return None if templates == OPENAI_IMAGENET else f"{OPENAI_IMAGENET!r} or a list of templates{do}"
    wrong = [template for template in templates if template.count("{}") != 1]
    if wrong or not templates:
        return "templates with one {} each" + (f", and {wrong[0]!r} has {wrong[0].count('{}')}" if wrong else "")
    return None


@dataclass(frozen=True)
class Templated:
    """`pool`, with the text of each good row in the place of `{}` in one of the templates.

    Which template a row gets depends on (seed, uid) alone. A uid that was made from image and text is made again from
    image and caption, and the pool's own uid stays.
    """

    pool: Pool
    templates: str | tuple[str, ...]
    seed: int

    def __post_init__(self) -> None:
        wrong = check_templates(self.templates)
        if wrong is not None:
            found, do = repr(self.templates)[:80], "See docs/recipes.md."
            raise RecipeError("pool: templates", expected=wrong, found=found, do=do)

    def schema(self) -> pa.Schema:
        """Return the pool's schema."""
        return self.pool.schema()

    def shards(self) -> Sequence[PoolShard]:
        """List the pool's shards."""
        return self.pool.shards()

    def read(self, shard: PoolShard) -> Iterator[pa.Table]:
        """Yield the shard's rows with their captions."""
        templates = openai_imagenet() if isinstance(self.templates, str) else self.templates
        for table in self.pool.read(shard):
            rows: list[dict[str, Any]] = table.select(["uid", "text", "image", "problem"]).to_pylist()
            for row in rows:
                if row["problem"] is not None or row["text"] is None:
                    continue
                template = templates[hash_int(self.seed, "template", row["uid"]) % len(templates)]
                caption = template.replace("{}", row["text"].strip())
                if row["uid"] == uid_of(row["image"], row["text"].encode()):
                    row["uid"] = uid_of(row["image"], caption.encode())
                row["text"] = caption
            for name in ("uid", "text"):
                place, kind = table.schema.get_field_index(name), table.schema.field(name)
                table = table.set_column(place, kind, pa.array([row[name] for row in rows], kind.type))
            yield table


@cache
def openai_imagenet() -> tuple[str, ...]:
    """Return those templates, `{}` where the class goes."""
    try:
        from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES
    except ImportError as error:
        raise MissingExtra.of("open_clip", "build") from error
    return tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)
