"""The sections of the page, each made of the facts alone; a section with nothing to say says so or is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dfndr.describe import drifts, sizes
from dfndr.format.funnel import Step
from dfndr.format.manifest import Manifest
from dfndr.markup import Html, cells, element, join, outside
from dfndr_builders.report.charts import bar, histogram, waterfall
from dfndr_builders.report.facts import Facts
from dfndr_builders.report.figures import pair, strip
from dfndr_builders.report.inputs import finite
from dfndr_builders.report.tallies import Group
from dfndr_builders.report.words import LANGUAGES, UNKNOWN, meaning, megabytes, number, share, value

__all__ = ["duplicates", "funnel", "groups", "header", "lengths", "made", "samples", "scores"]

_SHOWN_GROUPS, _SHOWN_REASONS = 30, 4


def header(facts: Facts) -> Html:
    """Return the title, the one sentence that matters most, and what identifies the dataset."""
    manifest = facts.given.dataset.manifest
    rows, steps = len(manifest), manifest.funnel
    told: Html | str = f"{number(rows)} rows"
    if steps:
        told = join([element("b", number(rows)), f" of {number(steps[0].rows_in)} rows of the pool are kept: ",
                     element("b", share(rows, steps[0].rows_in).replace(" ", "\N{NO-BREAK SPACE}"))])  # fmt: skip
    splits = {
        name: sum(shard.rows for shard in manifest.shards if shard.split == name) for name in ("train", "validation")
    }
    given = [
        ("Selected by", _selected(facts)),
        ("Splits", ", ".join(f"{name} {number(count)}" for name, count in splits.items() if count) or "none"),
        ("Licence", outside(manifest.license, limit=80)),
        ("Digest", element("code", outside(manifest.digest))),
        ("Recipe", element("code", outside(manifest.recipe_digest))),
        ("Built with", outside(", ".join(_versions(manifest)) or "unknown", limit=240)),
    ]
    listed = [element("div", element("dt", name), element("dd", found)) for name, found in given]
    absent = [element("li", "Not here: ", outside(text, limit=300)) for text in facts.given.missing]
    return element(
        "header",
        element("h1", outside(manifest.name)),
        element("p", told, class_="lead"),
        element("dl", *listed),
        element("ul", *absent, class_="absent") if absent else None,
    )


def _selected(facts: Facts) -> Html:
    given = facts.given
    if given.by is None:
        return Html("not recorded")
    asked = [f"{name} {given.rule[name]:g}" for name in ("top_fraction", "threshold", "count")
             if finite(given.rule.get(name)) is not None]  # fmt: skip
    cut = "nothing was kept" if given.cut is None else f"the lowest score kept is {value(given.cut)}"
    asked += [f"also {_words(limit)}" for limit in _listed(given.rule.get("also"))]
    asked += [f"quota {_words(quota)}" for quota in _listed([given.rule.get("quota")])]
    return join([element("code", outside(given.by)), ": ", outside("; ".join([*asked, cut]), limit=400)])


def _listed(given: object) -> list[dict[str, object]]:
    return [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []


def _words(given: dict[str, object]) -> str:
    entries = sorted(given.items(), key=lambda entry: entry[0] != "column")
    kept = [(name, found) for name, found in entries if found is not None and found != [] and found is not False]
    called = {"column": "by"}
    return ", ".join(name if found is True else f"{called.get(name, name)} {found}" for name, found in kept)


def _versions(manifest: Manifest) -> list[str]:
    found = manifest.provenance.get("made_with")
    return [f"{name} {version}" for name, version in found.items()] if isinstance(found, dict) else []


def funnel(facts: Facts) -> Html:
    """Return the funnel as a picture, and the sums step by step."""
    steps = facts.given.dataset.manifest.funnel
    if not steps:
        return _section("funnel", "Funnel", _empty("The manifest names no steps."))
    reasons = {reason for step in steps for reason in (*step.dropped, *step.failed)}
    told = {reason: meaning(reason, facts.given.rules) for reason in reasons}
    sums = cells(
        ["step", "rows in", "kept", "dropped", "failed", "kept of them"],
        [
            [step.name, number(step.rows_in), number(step.rows_out), number(sum(step.dropped.values())),
             number(sum(step.failed.values())), share(step.rows_out, step.rows_in)]
            for step in steps
        ],
    )  # fmt: skip
    lead = (
        "Rows in = kept + dropped + failed, in every step. "
        "A dropped row was fine and not wanted; a failed one could not be used."
    )
    parts = [element("p", lead, class_="soft"), waterfall(steps, told), element("h3", "Step by step"), sums]
    if facts.failures:
        rows = [
            [element("code", one.reason), outside(one.key, limit=60), outside(one.detail, limit=200)]
            for one in facts.failures
        ]
        parts += [element("h3", "Some that failed"), cells(["reason", "key", "in words"], rows, left=3)]
    return _section("funnel", "Funnel", *parts)


def groups(facts: Facts) -> Html | None:
    """Return what became of the rows of each source, language and other value."""
    parts = []
    if facts.sources:
        parts += [element("h3", "By source"), _grouped(facts.sources, facts.given.dataset.manifest.funnel)]
    for column, found in facts.groups.items():
        parts += [element("h3", "By ", element("code", column)), _grouped(found, ())]
    return _section("groups", "Sources and languages", *parts) if parts else None


def _grouped(found: Sequence[Group], steps: Sequence[Step]) -> Html:
    failing = {reason for step in steps for reason in step.failed}
    is_known = any(group.rows_in is not None for group in found)
    rows = [_group(group, failing) for group in found[:_SHOWN_GROUPS]]
    if len(found) > _SHOWN_GROUPS:
        others = found[_SHOWN_GROUPS:]
        taken = sum(group.rows_in or 0 for group in others) if is_known else None
        rows.append(_group(Group(f"{len(others):,} others", taken, sum(group.rows_out for group in others)), failing))
    head = ["", "rows in", "kept", "kept of them", "", "lost to"]
    if is_known:
        is_told = any(group.lost for group in found)
        return (
            cells(head, rows, class_="groups")
            if is_told
            else cells(head[:5], [row[:5] for row in rows], class_="groups")
        )
    return cells(["", "kept"], [[row[0], row[2]] for row in rows])


def _group(group: Group, failing: set[str]) -> list[Html | str]:
    name = element("em", "none") if not group.name else outside(LANGUAGES.get(group.name, group.name), limit=60)
    whole = group.rows_in or 0
    failed = sum(count for reason, count in group.lost.items() if reason in failing)
    dropped = max(0, whole - group.rows_out - failed)
    parts = [("kept", group.rows_out), ("dropped", dropped), ("failed", failed)]
    lost = [join([element("code", reason), f" {number(count)}"]) for reason, count in group.lost.items() if count]
    more = [Html(f"and {len(lost) - _SHOWN_REASONS} more reasons")] if len(lost) > _SHOWN_REASONS else []
    return [
        name, UNKNOWN if group.rows_in is None else number(whole), number(group.rows_out), share(group.rows_out, whole),
        bar([(kind, count / whole) for kind, count in parts]) if whole else "",
        join([*lost[:_SHOWN_REASONS], *more], " · "),
    ]  # fmt: skip


def scores(facts: Facts) -> Html:
    """Return the histograms of the scores, and of the columns that rules have limits on."""
    if not facts.scores:
        return _section("scores", "Scores", _empty("There is no score to draw: no row has one, or none is left."))
    by = facts.given.by
    drawn = [
        histogram(found, title=outside(found.column), limit="cut at" if found.column == by else "limit")
        for found in facts.scores
    ]
    parts = [element("div", *drawn, class_="plots")]
    if facts.measures:
        drawn = [histogram(found, title=outside(found.column), limit="limit") for found in facts.measures]
        parts += [element("h3", "What rules look at"), element("div", *drawn, class_="plots")]
    return _section("scores", "Scores", *parts)


def samples(facts: Facts) -> Html:
    """Return the strips of rows, kept ones first."""
    strips = [strip(found, None) for found in facts.kept]
    strips += [strip(found, meaning(found.reason or "", facts.given.rules)) for found in facts.dropped]
    if not facts.kept:
        strips.insert(0, _empty("No row was kept."))
    if facts.given.samples is None:
        strips.append(_empty("No sample of the dropped rows was left by the build."))
    elif not facts.dropped:
        strips.append(_empty("No row was dropped."))
    return _section("samples", "Samples", *strips)


def duplicates(facts: Facts) -> Html | None:
    """Return how many duplicates were removed, at which distances, and some pairs."""
    found = facts.pairs
    if found is None:
        return None
    if not found.removed:
        return _section("duplicates", "Duplicates", _empty("No row was removed because of another."))
    rows = []
    for reason, count in sorted(found.removed.items(), key=lambda one: -one[1]):
        counts = found.distances.get(reason, {})
        spread = [value(_quantile(counts, part)) if counts else UNKNOWN for part in (0.0, 0.5, 0.9, 1.0)]
        rows.append([element("code", reason), number(count), *spread])
    table = cells(["reason", "removed", "least distance", "median", "90 % within", "most"], rows)
    shown = element("div", *map(pair, found.shown), class_="pairs") if found.shown else None
    lead = (
        "Each removed row gave way to one that is better by the score. "
        "The distance is 0 for equal ones, else bits between hashes, or 1 less the cosine; the farthest come first."
    )
    return _section("duplicates", "Duplicates", element("p", lead, class_="soft"), table, shown)


def _quantile(counts: Mapping[float, int], part: float) -> float:
    """Return the smallest of the counted values that at least this part of them do not exceed."""
    values, total = sorted(counts), 0
    sums = [total := total + counts[found] for found in values]
    return next(found for found, seen in zip(values, sums, strict=True) if seen >= part * total)


def lengths(facts: Facts) -> Html | None:
    """Return how long texts and captions are, and how large pictures."""
    drawn = [histogram(found, title=found.column, limit="") for found in facts.lengths]
    return (
        _section("lengths", "Texts, captions and pictures", element("div", *drawn, class_="plots")) if drawn else None
    )


def made(facts: Facts) -> Html:
    """Return the vectors, the models, what lies on disk, and the recipe, folded."""
    manifest = facts.given.dataset.manifest
    spaces = [
        [
            outside(space.name),
            number(space.per_row),
            number(space.dim),
            space.dtype,
            "one" if space.unit_norm else "any",
        ]
        for space in manifest.spaces
    ]
    models = [
        [outside(name), made_of, outside(record.model, limit=60), outside(record.pretrained, limit=60),
         element("code", outside(record.weights_sha256[:12])), outside(record.license, limit=40)]
        for made_of, records in (("score", manifest.scorers), ("vectors", manifest.encoders))
        for name, record in records.items()
    ]  # fmt: skip
    disk = [[outside(role), megabytes(size)] for role, size in sizes(manifest).items()]
    parts: list[Html] = []
    if spaces:
        parts += [element("h3", "Vectors"), cells(["space", "per row", "dim", "type", "length"], spaces)]
    if models:
        head = ["name", "gives", "model", "weights", "sha256", "licence"]
        parts += [element("h3", "Models"), cells(head, models, left=6)]
    if apart := [[outside(name), outside(words)] for name, words in drifts(manifest).items()]:
        parts.append(element("p", "Pictures were decoded the fast way; beside exactly decoded ones, vectors have:"))
        parts.append(cells(["encoder", "apart"], apart, left=2))
    parts += [element("h3", "On disk"), cells(["", "size"], disk)]
    if manifest.recipe.strip():
        folded = element("pre", outside_lines(manifest.recipe))
        parts.append(element("details", element("summary", "The recipe"), folded))
    return _section("made", "Made of", *parts)


def outside_lines(text: str) -> Html:
    """Return a text of several lines that somebody else wrote."""
    return join([element("bdi", line) for line in text.strip().split("\n")], "\n")


def _section(name: str, title: str, *content: object) -> Html:
    return element("section", element("h2", title), *content, id=name)


def _empty(text: str) -> Html:
    return element("p", text, class_="empty")
