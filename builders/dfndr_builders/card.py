"""A dataset's card: what its README.md says, every number of it from the manifest and every judgement from the recipe.

The YAML header is that of the Hub (https://huggingface.co/docs/hub/datasets-cards): with the card as README.md beside
the manifest, `datasets.load_dataset` on the folder, or on the Hub, gives the rows by split.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template

from dfndr.describe import funnel_lines
from dfndr.errors import DataError
from dfndr.format.manifest import Manifest
from dfndr.format.schema import SPLITS, EncoderRecord

__all__ = ["card"]

_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
_LICENSES = {
    "apache-2.0", "mit", "bsd-3-clause", "unlicense", "cc0-1.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0",
    "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0", "odc-by", "odbl", "pddl",
    "cdla-permissive-2.0", "cdla-sharing-1.0",
}  # fmt: skip
"""Those of the Hub's identifiers that datasets mostly have; any other licence goes by its own name."""


def card(manifest: Manifest) -> str:
    """Return the card of a dataset as Markdown."""
    splits = {name: sum(shard.rows for shard in manifest.shards if shard.split == name) for name in SPLITS}
    present = {name: rows for name, rows in splits.items() if rows}
    return Template(_template()).substitute(
        header="\n".join(_header(manifest, list(present))),
        name=manifest.name,
        rows=f"{len(manifest):,}",
        splits=", ".join(f"{name} {rows:,}" for name, rows in present.items()) or "none",
        license=_plain(manifest.license),
        read=f'dataset.vectors("{manifest.spaces[0].name}")' if manifest.spaces else "dataset.rows()",
        funnel=_fenced("\n".join(line.removeprefix("  ") for line in funnel_lines(manifest.funnel))),
        spaces=_table(
            ("space", "vectors per row", "dim", "type", "length"),
            (
                (space.name, space.per_row, space.dim, space.dtype, "one" if space.unit_norm else "any")
                for space in manifest.spaces
            ),
        ),
        models=_table(
            ("made", "name", "model", "weights", "their sha256", "licence", "picture", "tokens"),
            [_model("scores", name, record) for name, record in manifest.scorers.items()]
            + [_model("vectors", name, record) for name, record in manifest.encoders.items()],
        ),
        digest=manifest.digest,
        recipe_digest=_plain(manifest.recipe_digest),
        recipe=_fenced(manifest.recipe.strip(), "toml"),
    )


def _template() -> str:
    """Return the template; an installed wheel holds it inside the package, a checkout in `cards/`."""
    package = Path(__file__).parent
    for folder in (package / "_cards", package.parent.parent / "cards"):
        if (folder / "dataset.md").is_file():
            return (folder / "dataset.md").read_text(encoding="utf-8")
    raise DataError("the card's template", expected="a file of dfndr", found="none", do="Install dfndr again.")


def _header(manifest: Manifest, splits: Sequence[str]) -> list[str]:
    """Return the lines of the YAML header; a JSON string is a YAML string."""
    name = re.sub(r"[^a-z0-9.]+", "-", manifest.license.lower()).strip("-") or "unknown"
    known = name in _LICENSES
    lines = [f"pretty_name: {json.dumps(manifest.name)}", f"license: {name if known else 'other'}"]
    lines += [] if known else [f"license_name: {json.dumps(name)}"]
    lines += ["size_categories:", f"- {json.dumps(_size(len(manifest)))}", "tags:", "- dfndr"]
    if splits:
        lines += ["configs:", "- config_name: default", "  data_files:"]
        lines += [line for split in splits for line in (f"  - split: {split}", f"    path: rows/{split}-*.parquet")]
    return lines


def _size(rows: int) -> str:
    """Return the Hub's name of the power of ten that a number of rows lies below."""
    place = max(0, len(str(rows)) - 3)
    if place == 0:
        return f"n<{_SIZES[0]}"
    return f"{_SIZES[place - 1]}<n<{_SIZES[place]}" if place < len(_SIZES) else f"n>{_SIZES[-1]}"


def _model(made: str, name: str, record: EncoderRecord) -> tuple[object, ...]:
    height, width = record.preprocess.size
    picture = f"{width}x{height}"
    place = (record.model, record.pretrained, record.weights_sha256, record.license)
    return (made, name, *place, picture, record.context_length)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    body = [[_plain(str(cell)) for cell in row] for row in rows]
    if not body:
        return "None."
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body))


def _plain(text: str) -> str:
    """Return a text of one line in which no character means anything to Markdown or HTML."""
    return re.sub(r"([\\`*{}\[\]<>|#~])", r"\\\1", " ".join(text.split()))


def _fenced(text: str, language: str = "") -> str:
    """Return a code block that nothing in the text can end."""
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"
