"""Another selection on the scores that are there: what it would change, in seconds, without a model or a picture."""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dfndr import storage
from dfndr.dataset import Dataset, open_dataset
from dfndr.describe import printable
from dfndr.errors import UsageError
from dfndr.format.manifest import MANIFEST, Step
from dfndr.format.schema import SPLITS
from dfndr.format.shard import parquet_errors
from dfndr.seeds import hash_int
from dfndr_builders.choosing import read_lists, rule_of
from dfndr_builders.derived import Columns, read_derived
from dfndr_builders.recipe import default_rules
from dfndr_builders.recipe_file import parse_recipe, read_recipe
from dfndr_builders.rules import Comparison, DropRule, Value
from dfndr_builders.select import Rule, Selection, read_selection, select

__all__ = ["Changes", "Trial", "try_selection"]

_EXAMPLES = 8
_COMPARISONS = {name: name for name in get_args(Comparison)} | {"equals": "is"}  # as a recipe says it
_RULE = re.compile(rf"(?P<column>\w[\w.-]*)\s+(?P<comparison>{'|'.join(_COMPARISONS)})\s+(?P<value>.+)")


@dataclass(frozen=True)
class Changes:
    """What to try instead of what a recipe says; None and nothing leave it as it is."""

    by: str | None = None
    top_fraction: float | None = None
    threshold: float | None = None
    count: int | None = None
    rules: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """A selection that was tried beside the one that the dataset was made by."""

    before: Step
    after: Step
    cuts: tuple[float | None, float | None]
    samples: tuple[int, int]
    both: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    uids: pa.Array
    """The uids that it keeps, in the pool's order."""

    def to_json(self) -> dict[str, object]:
        """Return what `dfndr select --json` prints."""
        return {
            "before": self.before.to_json() | {"cut": self.cuts[0], "samples": self.samples[0]},
            "after": self.after.to_json() | {"cut": self.cuts[1], "samples": self.samples[1]},
            "kept_by_both": self.both,
            "added": self.after.rows_out - self.both,
            "removed": self.before.rows_out - self.both,
            "examples": {"added": list(self.added), "removed": list(self.removed)},
        }

    def __str__(self) -> str:
        added, removed = self.after.rows_out - self.both, self.before.rows_out - self.both
        lines = [
            _line("", "as it is", "as tried", ""),
            _counted("rows in", self.before.rows_in, self.after.rows_in),
            *_reasons("dropped", self.before.dropped, self.after.dropped),
            *_reasons("failed", self.before.failed, self.after.failed),
            _counted("kept", self.before.rows_out, self.after.rows_out),
            "",
            _counted("in the running", *self.samples),
            _line("lowest score kept", *("none" if cut is None else f"{cut:.4f}" for cut in self.cuts), ""),
            "",
            f"{self.both:,} rows are kept either way; {added:,} would come in, {removed:,} would go",
        ]
        for title, texts in (("some that would come in", self.added), ("some that would go", self.removed)):
            if texts:
                lines += ["", title, *(f"  {printable(text[:110])}" for text in texts)]
        return "\n".join(lines)


def _line(*cells: str) -> str:
    label, before, after, change = cells
    return f"  {label:<36} {before:>12} {after:>12} {change:>12}".rstrip()


def _counted(label: str, before: int, after: int) -> str:
    return _line(label, f"{before:,}", f"{after:,}", f"{after - before:+,}" if after != before else "")


def _reasons(kind: str, before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Return a line for each reason that took a row before or after, the most frequent one first."""
    pairs = {reason: (before.get(reason, 0), after.get(reason, 0)) for reason in {*before, *after}}
    ordered = sorted(pairs, key=lambda reason: (-max(pairs[reason]), reason))
    return [_counted(f"{kind}: {reason}", *pairs[reason]) for reason in ordered if any(pairs[reason])]


def try_selection(
    root: str | os.PathLike[str], changes: Changes, *, recipe: str | os.PathLike[str] | None = None
) -> Trial:
    """Select again from the scores that a build left, by its own recipe or another one, with changes; write nothing.

    Raises UsageError where the phases of the build are gone, RecipeError where a column is not there.
    """
    place = os.fspath(root)
    dataset = open_dataset(place)
    scores, chosen, derived = _phases(dataset)
    if recipe is None:
        told, folder = parse_recipe(dataset.manifest.recipe, f"the recipe of {place}"), Path.cwd()
    else:
        told, folder = read_recipe(recipe)[0], Path(recipe).resolve().parent
    beside = [columns.local_paths() for columns in derived]
    names = {name for paths in beside for name in _names_in(paths[0])}
    if changes.by is not None and changes.by not in {score.name for score in told.score}:
        expected = f"one of the recipe's scores: {', '.join(score.name for score in told.score)}"
        raise UsageError("--by", expected=expected, found=changes.by, do="Name one of them.")
    rule = _changed(rule_of(told, names), changes)
    before = read_selection(chosen)
    if before is None:
        raise _gone(place)
    with tempfile.TemporaryDirectory() as out:
        include, exclude = read_lists(told, folder)
        after = select(scores, rule, out, derived=beside, include=include, exclude=exclude)
        was, is_now = _uids(chosen, before), _uids(out, after)
    added = is_now.filter(pc.invert(pc.is_in(is_now, was)))
    removed = was.filter(pc.invert(pc.is_in(was, is_now)))
    return Trial(
        before.step,
        after.step,
        (before.cut, after.cut),
        (before.samples, after.samples),
        len(is_now) - len(added),
        _texts(scores, added),
        _texts(scores, removed),
        is_now,
    )


def _phases(dataset: Dataset) -> tuple[Dataset, str, list[Columns]]:
    """Return the scores, the folder of the selection and the derived columns that a dataset was made from."""
    provenance = dataset.manifest.provenance
    selection, derived = provenance.get("selection"), provenance.get("derived", [])
    chosen = selection.get("phase") if isinstance(selection, Mapping) else None
    scores = storage.join(dataset.root, str(provenance.get("scores")))
    is_there = storage.exists(storage.join(scores, MANIFEST))
    if not is_there or not isinstance(chosen, str) or not isinstance(derived, list):
        raise _gone(dataset.root)
    found = [read_derived(storage.join(dataset.root, str(path))) for path in derived]
    if None in found:
        raise _gone(dataset.root)
    return (
        open_dataset(scores, check="size"),
        storage.join(dataset.root, chosen),
        [columns for columns in found if columns is not None],
    )


def _names_in(path: str) -> list[str]:
    with parquet_errors(path):
        return list(pq.read_schema(path).names)


def _gone(root: str) -> UsageError:
    do = "Run the build again: it makes what is missing."
    return UsageError(root, expected="a dataset with the phases of its build (phases/)", found="some are gone", do=do)


def _changed(rule: Rule, changes: Changes) -> Rule:
    """Return the rule with what is to be tried in place of what it says."""
    there = {one.reason for one in rule.drop}
    unknown = [name for name in changes.without if name not in there]
    if unknown:
        expected = f"one of the recipe's rules: {', '.join(sorted(there)) or 'none'}"
        raise UsageError("--without", expected=expected, found=unknown[0], do="Name one of them.")
    drop = tuple(one for one in rule.drop if one.reason not in changes.without)
    drop += tuple(more for text in changes.rules for more in _parsed(text))
    limits = {key: getattr(changes, key) for key in ("top_fraction", "threshold", "count")}
    if any(limit is not None for limit in limits.values()):
        if sum(limit is not None for limit in limits.values()) > 1:
            do = "Give just one of them."
            raise UsageError("select", expected="one of --top-fraction, --threshold and --count", found="more", do=do)
        if changes.top_fraction is not None and not 0 < changes.top_fraction <= 1:
            found, do = str(changes.top_fraction), "Give a share, such as 0.3."
            raise UsageError("--top-fraction", expected="more than 0 and at most 1", found=found, do=do)
        if changes.threshold is not None and not math.isfinite(changes.threshold):
            found = str(changes.threshold)
            raise UsageError("--threshold", expected="a finite number", found=found, do="Give one, such as 0.25.")
        rule = replace(rule, **limits)
    return replace(rule, by=rule.by if changes.by is None else changes.by, drop=drop)


def _parsed(text: str) -> list[DropRule]:
    """Return the rules that a text names: default ones, or a condition such as `words below 3`."""
    named = [one.rule for name, one in default_rules().items() if text in (name, one.family)]
    if named:
        return named
    match = _RULE.fullmatch(text.strip())
    if match is None:
        expected = "a default rule, or a column, a comparison and a value: 'words below 3'"
        do = f"Compare by {', '.join(_COMPARISONS)}; docs/recipes.md has the rules and columns."
        raise UsageError("--rule", expected=expected, found=repr(text), do=do)
    comparison = cast("Comparison", _COMPARISONS[match["comparison"]])
    reason = re.sub(r"\W+", "_", f"{match['column']}_{comparison}".lower())
    return [DropRule(reason, match["column"], comparison, _value(match["value"], comparison))]


def _value(text: str, comparison: Comparison) -> Value:
    if comparison in ("one_of", "not_one_of"):
        return tuple(part.strip() for part in text.split(","))
    if comparison == "is" and text in ("true", "false"):
        return text == "true"
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        return number
    if comparison == "is":
        return text
    raise UsageError("--rule", expected=f"a number after {comparison}", found=repr(text), do="Mend it.")


def _uids(root: str, selection: Selection) -> pa.Array:
    names = [storage.join(root, f"{split}.parquet") for split in SPLITS if selection.rows[split]]
    parts = []
    for name in names:
        with storage.open_read(name) as file, parquet_errors(name):
            parts.append(pq.read_table(file, columns=["shard", "row", "uid"]))
    if not parts:
        return pa.array([], pa.string())
    return pa.concat_tables(parts).sort_by([("shard", "ascending"), ("row", "ascending")])["uid"].combine_chunks()


def _texts(scores: Dataset, uids: pa.Array) -> tuple[str, ...]:
    """Return the texts of some of the uids: those whose hashes come first."""
    some = sorted(uids.to_pylist(), key=lambda uid: hash_int(0, uid))[:_EXAMPLES] if len(uids) else []
    found = scores.rows(["uid", "text"], where=pc.field("uid").isin(some)).to_pylist() if some else []
    texts = {row["uid"]: " ".join((row["text"] or "").split()) for row in found}
    return tuple(texts[uid] for uid in some)
