"""The page itself: every number of it from the manifest or from a measurement, every judgement from the recipe.

With the card as README.md beside the manifest, `datasets.load_dataset` on the folder, or on the Hub, gives the rows
by split.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from dfndr.describe import drifts, funnel_lines
from dfndr.errors import DataError
from dfndr.format.manifest import Manifest
from dfndr.format.schema import SPLITS, EncoderRecord
from dfndr_builders.card.columns import columns
from dfndr_builders.card.header import header
from dfndr_builders.card.measured import Evaluation, measured
from dfndr_builders.licenses import Accepted, Use
from dfndr_builders.markdown import fenced, plain, table

__all__ = ["About", "card"]


@dataclass(frozen=True)
class About:
    """What is known of a dataset that is being published, beside its manifest.

    `uses` are the licences of all that it holds or was made with, `pictures` the paths of PNG files beside the card
    and what each shows, `evaluations` what was measured on it.
    """

    repo_id: str = ""
    uses: tuple[Use, ...] = ()
    accepted: tuple[Accepted, ...] = ()
    pictures: tuple[tuple[str, str], ...] = ()
    evaluations: tuple[Evaluation, ...] = ()


def card(manifest: Manifest, about: About | None = None) -> str:
    """Return the card of a dataset as Markdown."""
    known = about or About()
    splits = {name: sum(shard.rows for shard in manifest.shards if shard.split == name) for name in SPLITS}
    present = {name: rows for name, rows in splits.items() if rows}
    pictures = "\n\n".join(f"![{plain(shows)}]({path})" for path, shows in known.pictures)
    return Template(_template()).substitute(
        header=header(manifest, list(present)),
        name=manifest.name,
        rows=f"{len(manifest):,}",
        splits=", ".join(f"{name} {rows:,}" for name, rows in present.items()) or "none",
        pictures=pictures + "\n\n" if pictures else "",
        license=plain(manifest.license) or "none stated",
        place=known.repo_id or f"me/{manifest.name}",
        read=f'dataset.vectors("{manifest.spaces[0].name}")' if manifest.spaces else "dataset.rows()",
        funnel=fenced("\n".join(line.removeprefix("  ") for line in funnel_lines(manifest.funnel))),
        sources=_sources(manifest),
        rules=_rules(manifest.provenance.get("selection")),
        removals=_removals(manifest),
        pools=table(("pool", "from", "source", "licence"), _pools(manifest.provenance.get("pools"))),
        columns=table(("column", "what it is and how it was made"), columns(manifest)),
        spaces=table(
            ("space", "vectors per row", "dim", "type", "length"),
            (
                (space.name, space.per_row, space.dim, space.dtype, "one" if space.unit_norm else "any")
                for space in manifest.spaces
            ),
        ),
        models=_models(manifest),
        measured=measured(manifest, known.evaluations),
        licences=_licences(known),
        citation=fenced(_citation(manifest, known.repo_id), "bibtex"),
        digest=manifest.digest,
        recipe_digest=plain(manifest.recipe_digest),
        recipe=fenced(manifest.recipe.strip(), "toml"),
    )


def _template() -> str:
    """Return the template; an installed wheel holds it inside the package, a checkout in `cards/`."""
    package = Path(__file__).parent.parent
    for folder in (package / "_cards", package.parent.parent / "cards"):
        if (folder / "dataset.md").is_file():
            return (folder / "dataset.md").read_text(encoding="utf-8")
    raise DataError("the card's template", expected="a file of dfndr", found="none", do="Install dfndr again.")


def _sources(manifest: Manifest) -> str:
    """Return what became of each source's rows as a table, nothing where they were not counted."""
    from dfndr_builders.report.tallies import by_source

    groups = by_source(manifest.funnel)
    if not groups:
        return ""
    rows = [
        (
            group.name or "(none named)",
            "" if group.rows_in is None else f"{group.rows_in:,}",
            f"{group.rows_out:,}",
            ", ".join(f"{reason} {count:,}" for reason, count in group.lost.items() if count) or "none",
        )
        for group in groups
    ]
    return "\n\nBy source:\n\n" + table(("source", "rows in", "rows kept", "dropped or failed"), rows)


def _removals(manifest: Manifest) -> str:
    """Return when rows were taken out of the finished dataset, how many and why; nothing where none were."""
    if not manifest.removals:
        return ""
    rows = [(one.date, f"{one.rows:,}", one.reason or "none stated") for one in manifest.removals]
    text = (
        "\n\n## Removed rows\nRows were taken out of the finished dataset. `removed/log` names the sha256 of the uid "
    )
    text += "of each, and nothing else of it.\n\n" + table(("day", "rows", "reason"), rows)
    if manifest.removed:
        text += f"\n\n{manifest.removed:,} of these rows are in the files still: readers other than dfndr show them."
    return text


def _rules(selection: object) -> str:
    """Return what was selected by, and the rules that dropped rows, in words."""
    from dfndr_builders.report.words import condition

    told: Mapping[str, Any] = selection if isinstance(selection, Mapping) else {}
    rule = told.get("rule")
    lines = []
    if isinstance(rule, Mapping):
        asked = ", ".join(f"{name} {json.dumps(value)}" for name, value in rule.items() if name != "by")
        lines = [f"Selected by {plain(str(rule.get('by')))}: {plain(asked)}."]
    rules = told.get("rules")
    given = [one for one in rules if isinstance(one, Mapping)] if isinstance(rules, list | tuple) else []
    if given:
        rows = [(one.get("reason"), condition(one) or "a rule of the recipe") for one in given]
        lines.append("Rows were dropped where\n\n" + table(("reason", "a row is dropped where"), rows))
    return "".join(f"\n\n{line}" for line in lines)


def _pools(given: object) -> Iterator[tuple[object, ...]]:
    for pool in given if isinstance(given, list) else []:
        if isinstance(pool, Mapping):
            path = pool.get("path", pool.get("name", "built in" if pool.get("kind") == "glyphs" else "not stated"))
            where = ", ".join(map(str, path)) if isinstance(path, list) else path
            yield pool.get("kind", "?"), where, pool.get("source", "as its samples say"), _stated(pool.get("license"))


def _stated(license: object) -> object:
    return license or "as its samples say"


def _models(manifest: Manifest) -> str:
    records = [("scores", *item) for item in manifest.scorers.items()]
    records += [("vectors", *item) for item in manifest.encoders.items()]
    revisions = manifest.provenance.get("revisions")
    head = ("made", "name", "model", "weights", "revision", "their sha256", "licence", "picture", "tokens", "precision")
    rows = (_model(made, name, record, revisions) for made, name, record in records)
    return table((*head, "activation", "teaches with scale"), rows) + _apart(manifest) + _captioners(manifest)


def _captioners(manifest: Manifest) -> str:
    """Return what wrote the captions, and how; nothing where nobody did."""
    head = ("captions by", "kind", "model", "revision", "sha256 of its weights", "licence", "prompt", "drawn", "asked")
    rows = []
    for name, one in manifest.captioners.items():
        how = (", ".join(f"{key} {value}" for key, value in part.items()) for part in (one.sampling, one.asked))
        rows.append((name, one.kind, one.model, one.revision, one.weights_sha256, one.license, one.prompt, *how))
    return "\n\n" + table(head, rows) if rows else ""


def _apart(manifest: Manifest) -> str:
    """Return how far vectors of pictures that were decoded the fast way are from exact ones; nothing elsewhere."""
    apart = drifts(manifest)
    lead = "Pictures were decoded the fast way; beside vectors of the same pictures decoded exactly, these have:"
    return f"\n\n{lead}\n\n{table(('encoder', 'apart'), apart.items())}" if apart else ""


def _model(made: str, name: str, record: EncoderRecord, revisions: object) -> tuple[object, ...]:
    height, width = record.preprocess.size
    commit = revisions.get(record.pretrained) if isinstance(revisions, Mapping) else None
    unknown = "not recorded" if record.pretrained.startswith("hf-hub:") else ""
    teaching = (record.activation or "not recorded", record.teaching_scale)
    revision = commit if isinstance(commit, str) else unknown
    place = (record.model, record.pretrained, revision, record.weights_sha256, record.license)
    return (made, name, *place, f"{width}x{height}", record.context_length, record.precision, *teaching)


def _licences(known: About) -> str:
    """Return the licences of all that the dataset holds or was made with, and what was decided about them."""
    if not known.uses:
        return ""
    rows = [
        (use.kind, use.name, use.license or "none stated", "" if use.rows is None else f"{use.rows:,}")
        for use in known.uses
    ]
    text = "\n\n" + table(("what", "name", "licence", "rows"), rows)
    if known.accepted:
        decided = [(one.name, one.reason) for one in known.accepted]
        text += "\n\nPublished all the same, by decision of whoever published it:\n\n"
        text += table(("what", "reason"), decided)
    return text


def _citation(manifest: Manifest, repo_id: str) -> str:
    fields = [f"  title = {{{manifest.name}}},", f"  note = {{dfndr dataset, digest {manifest.digest}}},"]
    if repo_id:
        author = repo_id.partition("/")[0]
        fields = [f"  author = {{{author}}},", *fields, f"  url = {{https://huggingface.co/datasets/{repo_id}}},"]
    return "\n".join([f"@misc{{{manifest.name},", *fields, "}"])
