"""The card of a student: every number of it from the record of its training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from dfndr.errors import DataError
from dfndr_builders.licenses import hub_license
from dfndr_builders.markdown import fenced, plain, table

__all__ = ["student_card"]


def student_card(record: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Return the card as Markdown, from `training.json` and the model's config as open_clip keeps it."""
    result, recipe, dataset = record["result"], record["recipe"], record["dataset"]
    columns = ("teacher", "model", "scale", "licence")
    teachers = [
        (name, f"{one['model']}, {one['pretrained']}", one["scale"], one["license"])
        for name, one in record["teachers"].items()
    ]
    counts = (
        ("rows learnt from", f"{result['rows']:,}"),
        ("left out: no picture in the pools", f"{result['absent']:,}"),
        ("left out: another picture than it was", f"{result['changed']:,}"),
        ("steps", f"{result['steps']:,}"),
        ("samples seen", f"{result['samples_seen']:,}"),
        ("first loss, last loss", f"{result['losses'][0][1]:.4f}, {result['losses'][-1][1]:.4f}"),
    )
    return Template(_template()).substitute(
        header="\n".join([*hub_license("other"), "library_name: open_clip", "tags:", "- dfndr", "- clip"]),
        model=plain(recipe["model"]),
        weights=f"sha256 `{result['weights_sha256']}`",
        dataset=plain(dataset["name"]),
        dataset_digest=dataset["digest"],
        dataset_license=plain(dataset["license"]),
        teachers=table(columns, teachers) if teachers else "None: it learnt from pictures and their texts alone.",
        counts=table(("what", "how many"), counts),
        recipe=table(("key", "value"), ((key, json.dumps(value)) for key, value in recipe.items())),
        config=fenced(json.dumps(config, indent=1), "json"),
        versions=table(("package", "version"), record["versions"].items()),
        digest=record["digest"],
    )


def _template() -> str:
    """Return the template; an installed wheel holds it inside the package, a checkout in `cards/`."""
    package = Path(__file__).parent.parent
    for folder in (package / "_cards", package.parent.parent / "cards"):
        if (folder / "student.md").is_file():
            return (folder / "student.md").read_text(encoding="utf-8")
    raise DataError("the card's template", expected="a file of dfndr", found="none", do="Install dfndr again.")
