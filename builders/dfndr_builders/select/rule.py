"""What to keep, in values: limits by a score, rules, groups of duplicates, fused scores, quotas, deciles."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from dfndr.errors import RecipeError
from dfndr_builders.rules import DropRule

__all__ = ["Fusion", "Limit", "Quota", "Rule", "floor_of"]

_MOST_REASONS = 240
"""What becomes of a row is kept as a byte."""


def floor_of(share: float, rows: int) -> int:
    """Return floor(rows * share) in exact decimals: 0.29 of 100 is 29."""
    return int(Fraction(repr(share)) * rows)


@dataclass(frozen=True)
class Fusion:
    """A new score `name`, made of others over the rows in the running (N of them); `of` gives (score, weight).

    `weighted`: the sum of weight x score. `z`: the sum of weight x (score - mean) / std over the sum of the weights,
    with the population's std; a score that is the same everywhere gives 0. `rank`: the same mean of rank / (N - 1),
    0 for the lowest score and 1 for the highest; equal scores share the mean of their ranks, and a single row has 0.5.
    """

    name: str
    how: Literal["rank", "z", "weighted"]
    of: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Limit:
    """A limit by another score: one of `top_fraction`, `threshold`, `count`, over the same N rows as the rule's."""

    by: str
    top_fraction: float | None = None
    threshold: float | None = None
    count: int | None = None

    def keeps(self, scored: int) -> int | None:
        """Return how many of `scored` rows are within, or None where that depends on the scores."""
        if self.top_fraction is not None:
            return floor_of(self.top_fraction, scored)
        return None if self.count is None else min(self.count, scored)


@dataclass(frozen=True)
class Quota:
    """How many rows each value of `column` may have (null is a value too); just one of the four is given.

    K is the number of rows that would be kept without the quota. `most`: so many rows; `most_share`: floor(K x share)
    rows; what others leave free is filled up, best first, to K in all. `shares`: floor(K x share) rows of each named
    value and none of the others. `balanced`: as many of each as lets the sum be K.
    """

    column: str
    most: int | None = None
    most_share: float | None = None
    shares: tuple[tuple[str | float | bool, float], ...] = ()
    balanced: bool = False


@dataclass(frozen=True)
class Rule:
    """What to keep: one of `top_fraction` in (0, 1], `threshold`, or `count`, by the score `by`, a column or a fusion.

    `validation` is the share of kept rows that go to the validation split, by a hash of the uid alone. `drop` are
    rules, the first of which that a row meets drops it; `groups` are (reason, column) of groups of duplicates, of
    which the best row stays; `also` are further limits; `deciles` are scores whose deciles are written.
    """

    by: str
    top_fraction: float | None = None
    threshold: float | None = None
    count: int | None = None
    validation: float = 0.0
    drop: tuple[DropRule, ...] = ()
    groups: tuple[tuple[str, str], ...] = ()
    fusions: tuple[Fusion, ...] = ()
    also: tuple[Limit, ...] = ()
    quota: Quota | None = None
    deciles: tuple[str, ...] = ()

    @property
    def limit(self) -> Limit:
        """The limit by the rule's own score."""
        return Limit(self.by, self.top_fraction, self.threshold, self.count)

    def keeps(self, scored: int) -> int | None:
        """Return how many of `scored` rows are kept, or None where that depends on the scores."""
        return self.limit.keeps(scored)

    def check(self) -> None:
        """Raise RecipeError where the values do not make a rule."""
        for limit, where in ((self.limit, "[select]"), *((limit, "[select] also") for limit in self.also)):
            _just_one(where, "top_fraction, threshold, count", (limit.top_fraction, limit.threshold, limit.count))
        if self.quota is not None:
            given = (self.quota.most, self.quota.most_share, self.quota.shares or None, self.quota.balanced or None)
            _just_one("[select] quota", "most, most_share, shares, balanced", given)
        reasons = len(self.drop) + len(self.groups)
        if reasons > _MOST_REASONS:
            do = "Join some of them: `one_of` takes many values, and an `exclude` list any number of rows."
            expected = f"at most {_MOST_REASONS} rules and kinds of duplicates"
            raise RecipeError("[[rule]]", expected=expected, found=str(reasons), do=do)
        names = ["shard", "row", "uid", "score", *(fusion.name for fusion in self.fusions)]
        names += [f"{name}_decile" for name in self.deciles]
        for fusion in self.fusions:
            weights = [weight for _, weight in fusion.of]
            where = f"[select] fusion {fusion.name!r}"
            if not weights or (fusion.how != "weighted" and (min(weights) < 0 or not sum(weights))):
                raise RecipeError(
                    where, expected="weights above 0", found=repr(weights), do="Give each score a weight."
                )
            if names.count(fusion.name) > 1:
                raise RecipeError(where, expected="a name of its own", found=fusion.name, do="Call it something else.")


def _just_one(where: str, names: str, given: tuple[object, ...]) -> None:
    found = sum(value is not None for value in given)
    if found != 1:
        raise RecipeError(where, expected=f"just one of {names}", found=f"{found} of them", do="Give just one.")
