"""The card of a filter: every number of it from the record of its training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any

from dfndr.errors import DataError
from dfndr_builders.licenses import hub_license
from dfndr_builders.markdown import fenced, plain, table

__all__ = ["filter_card"]

_Record = Mapping[str, Any]


def filter_card(record: _Record, config: _Record, license: str) -> str:
    """Return the card as Markdown, from `training.json` and the model's config as open_clip keeps it."""
    tuned = record.get("finetune")
    stages = [("base", record)] + ([("fine-tuning", tuned)] if tuned else [])
    weights = record.get("weights_sha256") or (tuned or record)["result"]["weights_sha256"]
    recipe = {key: value for key, value in record["recipe"].items() if value is not None and key != "model"}
    second = {key: value for key, value in (tuned or {}).get("recipe", {}).items() if value is not None}
    model = record["recipe"]["model"]
    return Template(_template()).substitute(
        header="\n".join([*hub_license(license), "library_name: open_clip", "tags:", "- dfndr", "- data-filtering"]),
        license=plain(license) or "none stated",
        model=plain(model) if isinstance(model, str) else "a model with a config of its own, below",
        data="\n\n".join(f"In the {name}:\n\n{_data(stage)}" for name, stage in stages),
        recipe=_keys(recipe) + (f"\n\nThe fine-tuning:\n\n{_keys(second)}" if second else ""),
        losses=table(("training", "steps", "pairs seen", "first loss", "last loss"), map(_losses, *zip(*stages))),  # noqa: B905
        averaging=_averaging(record.get("averaging")),
        weights=f"sha256 `{weights}`",
        config=fenced(json.dumps(config.get("model_cfg", config), indent=1), "json"),
        versions=table(("package", "version"), record["versions"].items()),
        digest=record["digest"],
    )


def _template() -> str:
    """Return the template; an installed wheel holds it inside the package, a checkout in `cards/`."""
    package = Path(__file__).parent.parent
    for folder in (package / "_cards", package.parent.parent / "cards"):
        if (folder / "filter.md").is_file():
            return (folder / "filter.md").read_text(encoding="utf-8")
    raise DataError("the card's template", expected="a file of dfndr", found="none", do="Install dfndr again.")


def _data(stage: _Record) -> str:
    return table(("what", "which", "pairs"), _counts(stage["data"]))


def _counts(data: _Record) -> Iterator[tuple[object, ...]]:
    yield "pairs that were learnt from", "all", f"{data['samples']:,}"
    for what, key in (("source", "sources"), ("licence", "licenses"), ("left out", "problems")):
        yield from ((what, name, f"{count:,}") for name, count in data.get(key, {}).items())


def _keys(recipe: _Record) -> str:
    return table(("key", "value"), ((key, json.dumps(value)) for key, value in recipe.items()))


def _losses(name: str, stage: _Record) -> tuple[object, ...]:
    result = stage["result"]
    losses = result["losses"] or [(0, "not logged")]
    return (name, f"{result['steps']:,}", f"{result['samples_seen']:,}", losses[0][1], losses[-1][1])


def _averaging(averaging: _Record | None) -> str:
    """Return what was averaged and by which figures, nothing where nothing was."""
    if averaging is None:
        return ""
    figures = [
        (one["alpha"], one["roc_auc"], "kept" if one["alpha"] == averaging["alpha"] else "")
        for one in averaging["figures"]
    ]
    return (
        "\n\nThe weights lie between the base training's and the fine-tuned ones, of which alpha is the share. "
        f"The rule: {averaging['rule']}; over {averaging['pairs']:,} pairs of a validation pool.\n\n"
        + table(("alpha", "ROC-AUC", ""), figures)
    )
