"""The YAML header of a card, as the Hub reads it (https://huggingface.co/docs/hub/datasets-cards)."""

from __future__ import annotations

import json
from collections.abc import Sequence

from dfndr.format.manifest import Manifest
from dfndr_builders.licenses import hub_license

__all__ = ["header"]

_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
_TASKS = {"caption": "image-to-text", "text": "zero-shot-image-classification", "image": "image-feature-extraction"}


def header(manifest: Manifest, splits: Sequence[str]) -> str:
    """Return the lines between the dashes; a JSON string is a YAML string."""
    lines = [f"pretty_name: {json.dumps(manifest.name)}", *hub_license(manifest.license)]
    lines += ["size_categories:", f"- {json.dumps(_size(len(manifest)))}"]
    made = {space.modality for space in manifest.spaces}
    tasks = [task for modality, task in _TASKS.items() if modality in made]
    lines += ["task_categories:", *(f"- {task}" for task in tasks)] if tasks else []
    lines += ["tags:", "- dfndr", "- image-text", *(["- embeddings"] if manifest.spaces else [])]
    if splits:
        lines += ["configs:", "- config_name: default", "  data_files:"]
        lines += [line for split in splits for line in (f"  - split: {split}", f"    path: rows/{split}-*.parquet")]
    return "\n".join(lines)


def _size(rows: int) -> str:
    """Return the Hub's name of the power of ten that a number of rows lies below."""
    place = max(0, len(str(rows)) - 3)
    if place == 0:
        return f"n<{_SIZES[0]}"
    return f"{_SIZES[place - 1]}<n<{_SIZES[place]}" if place < len(_SIZES) else f"n>{_SIZES[-1]}"
