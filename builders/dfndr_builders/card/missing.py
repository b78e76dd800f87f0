"""What a dataset does not say of itself, and must before it is published."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dfndr.format.manifest import Manifest
from dfndr.format.schema import EncoderRecord
from dfndr_builders.card.columns import recipe_of, sections

__all__ = ["missing"]

_SHA256 = re.compile(r"[0-9a-f]{64}")


def missing(manifest: Manifest) -> list[str]:
    """Return what is missing in words, none where the card can tell where everything came from; licences aside."""
    return list(_missing(manifest))


def _missing(manifest: Manifest) -> Iterator[str]:
    pools = manifest.provenance.get("pools")
    if not (isinstance(pools, list) and pools):
        yield "where the samples are from: provenance names no pool"
    if not manifest.recipe.strip() or not recipe_of(manifest):
        yield "the recipe: its text is empty or no TOML"
    if not manifest.funnel:
        yield "the funnel: what became of the rows that came in"
    if not len(manifest):
        yield "rows: the dataset holds none"
    for kind, records in (("scorer", manifest.scorers), ("encoder", manifest.encoders)):
        for name, record in records.items():
            yield from (f"{kind} {name!r}: {what}" for what in _of_model(record, manifest))
    has_captions = any(space.modality == "caption" for space in manifest.spaces)
    if has_captions and not sections(recipe_of(manifest), "caption"):
        yield "the captioner: there are captions, and the recipe has no section that made them"


def _of_model(record: EncoderRecord, manifest: Manifest) -> Iterator[str]:
    if not record.model or not record.pretrained:
        yield "the name of the model and of its weights"
    if not _SHA256.fullmatch(record.weights_sha256):
        yield "the sha256 of its weights"
    kind, _, rest = record.pretrained.partition(":")
    path = rest if kind == "local-dir" else "" if kind == "hf-hub" else record.pretrained
    is_path = kind == "local-dir" or "/" in path
    paths = [stored.path for stored in manifest.files.values()]
    if is_path and not any(there == path or there.startswith(f"{path.rstrip('/')}/") for there in paths):
        yield "weights that others can get: they lie in a folder, and are no files of the dataset"
