"""The third phase: which rows are kept, what dropped each of the others, and who was removed because of whom."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dfndr import storage
from dfndr_builders.context import Context
from dfndr_builders.deriving import REASONS, Derivation
from dfndr_builders.phase import content_digest, phase_digest
from dfndr_builders.recipe import Recipe
from dfndr_builders.recipe_file import resolve
from dfndr_builders.rules import DropRule
from dfndr_builders.scoring import Scored
from dfndr_builders.select import Rule, Selection, read_selection, select
from dfndr_builders.select.marks import Uids
from dfndr_builders.uid_lists import read_uids

__all__ = ["Chosen", "choose", "read_lists", "rule_of"]

_HIDDEN = ("contaminated", "contaminated_by", "contaminated_distance")
"""Derived columns that say why a row is dropped, and nothing of one that is kept."""


@dataclass(frozen=True)
class Chosen:
    """A finished selection: where it is, what it was, and the columns that go into the dataset with its rows."""

    root: str
    rule: Rule
    selection: Selection
    beside: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]


def rule_of(recipe: Recipe, names: Collection[str]) -> Rule:
    """Return the whole rule of a recipe, given the names of the derived columns: what these drop comes first."""
    groups = tuple((reason, column) for reason, column in REASONS.items() if column in names)
    drop = (DropRule("contaminated", "contaminated", "is", True),) if "contaminated" in names else ()
    rule = recipe.selection()
    return replace(rule, drop=(*drop, *rule.drop), groups=groups)


def _lists(recipe: Recipe, folder: Path) -> dict[str, str]:
    given = {"include": recipe.select.include, "exclude": recipe.select.exclude}
    return {key: resolve(path, folder) for key, path in given.items() if path is not None}


def read_lists(recipe: Recipe, folder: Path) -> tuple[Uids | None, Uids | None]:
    """Return the uids that a recipe includes and excludes, packed, of shape (n, 16); None where it has no such list."""
    places = _lists(recipe, folder)
    include, exclude = (read_uids(places[key]) if key in places else None for key in ("include", "exclude"))
    return include, exclude


def choose(context: Context, scored: Scored, derived: Sequence[Derivation]) -> Chosen:
    """Select, or find the selection there; write down who was removed because of whom."""
    rule = rule_of(context.recipe, {name for one in derived for name in one.names})
    digest = phase_digest(
        "select",
        scores=content_digest(scored.manifest),
        derived=[one.digest for one in derived],
        rule=repr(rule),
        lists={key: storage.sha256_of(path) for key, path in _lists(context.recipe, context.folder).items()},
    )
    root = context.phase("select", digest)
    chosen = read_selection(root)
    if chosen is None:
        with context.timings.timed("select", digest) as timing, context.progress.task("select", total=None) as task:
            include, exclude = read_lists(context.recipe, context.folder)
            beside = [one.columns.local_paths() for one in derived]
            # One folder for all selections of a build, which holds its output: so the next one finds what was left.
            sorting = None if storage.is_remote(root) else str(Path(root).parent / "sorting")
            chosen = select(
                scored.dataset(), rule, root, derived=beside, include=include, exclude=exclude, sorting=sorting
            )
            task.advance(chosen.step.rows_in)
            timing.rows = chosen.step.rows_in
        for name, absent in chosen.absent.items():
            if absent:
                context.progress.say(f"{name}: {absent:,} uids of the list are not among the scored rows")
    kept = tuple(
        (tuple(one.columns.paths()), names)
        for one in derived
        if (names := tuple(name for name in one.names if name not in (*REASONS.values(), *_HIDDEN)))
    )
    return Chosen(root, rule, chosen, kept)
