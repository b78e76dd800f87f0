"""What is measured and which rows stay: measures, duplicates, decontamination, clusters, rules, [select]."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from dfndr.format.schema import DROPPED, FAILED
from dfndr_builders import select
from dfndr_builders.inspect import Inspect
from dfndr_builders.measure import image, language, text
from dfndr_builders.rules import Comparison, Default, DropRule, Value
from dfndr_builders.sections.base import Misfit, Part, Positive, Strict
from dfndr_builders.sections.pools import PoolRecipe
from dfndr_builders.stage import POOL_SCHEMA, Stage

__all__ = [
    "Cluster",
    "DecontaminateRecipe",
    "DuplicatesRecipe",
    "Limit",
    "MeasureImage",
    "MeasureLanguage",
    "MeasureRecipe",
    "MeasureText",
    "NearContamination",
    "NearDuplicates",
    "Quota",
    "Rule",
    "SameImage",
    "SameText",
    "Select",
    "SemanticContamination",
    "SemanticDuplicates",
]

Radius = Annotated[int, Field(ge=0, le=16)]
Cosine = Annotated[float, Field(gt=0, le=1)]
Number = Annotated[float, Field(gt=-1e9, lt=1e9)]  # scores are float32


def _is_free(reason: str) -> str:
    if reason in (*DROPPED, *FAILED):
        raise ValueError(f"a name of its own: {reason!r} is what the funnel counts other rows under")
    return reason


Reason = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64), AfterValidator(_is_free)]
_COMPARISONS: dict[str, Comparison] = {
    "below": "below",
    "above": "above",
    "equals": "is",
    "one_of": "one_of",
    "not_one_of": "not_one_of",
    "lowest": "lowest",
    "highest": "highest",
}


class MeasureImage(Strict):
    """Columns that say how large, bright, sharp and varied a picture is, and its perceptual hash."""

    kind: Literal["image"]

    def columns(self) -> list[str]:
        """Return the columns that it adds."""
        return _added(image.MeasureImage())


class MeasureText(Strict):
    """Columns that say how long, odd and repetitive a text is; with `repair`, after boilerplate was taken out of it."""

    kind: Literal["text"]
    ban: str | None = None
    repair: bool = False

    def columns(self) -> list[str]:
        """Return the columns that it adds."""
        return _added(text.MeasureText())


class MeasureLanguage(Strict):
    """The language of a text, and how sure that is."""

    kind: Literal["language"]
    languages: list[str] = []

    def columns(self) -> list[str]:
        """Return the columns that it adds."""
        return _added(language.MeasureLanguage())


def _added(stage: Stage) -> list[str]:
    given = Inspect().schema(POOL_SCHEMA)
    return [name for name in stage.schema(given).names if name not in given.names]


MeasureRecipe = Annotated[MeasureImage | MeasureText | MeasureLanguage, Field(discriminator="kind")]


class SameImage(Strict):
    """Rows with the same image file."""

    kind: Literal["same_image"]


class SameText(Strict):
    """Rows with the same text."""

    kind: Literal["same_text"]


class NearDuplicates(Strict):
    """Rows whose pictures' perceptual hashes differ in few bits."""

    kind: Literal["near"]
    radius: Radius = 4


class SemanticDuplicates(Strict):
    """Rows whose vectors are very close."""

    kind: Literal["semantic"]
    space: str
    cosine: Cosine
    clusters: Positive | None = None


DuplicatesRecipe = Annotated[SameImage | SameText | NearDuplicates | SemanticDuplicates, Field(discriminator="kind")]


class NearContamination(Strict):
    """Rows whose picture hardly differs from one of an evaluation set."""

    kind: Literal["near"]
    pool: Annotated[list[PoolRecipe], Field(min_length=1)]
    radius: Radius = 4


class SemanticContamination(Strict):
    """Rows whose picture's vector is very close to that of one of an evaluation set."""

    kind: Literal["semantic"]
    pool: Annotated[list[PoolRecipe], Field(min_length=1)]
    space: str
    cosine: Cosine


DecontaminateRecipe = Annotated[NearContamination | SemanticContamination, Field(discriminator="kind")]


class Cluster(Strict):
    """The column `cluster`: in which of so many clusters of a space a row lies."""

    space: str
    count: Positive


class Rule(Strict):
    """Rows that are dropped: by a default rule, by a family of them, or by a condition of the recipe's own."""

    use: str | None = None
    leave_out: list[str] = []
    reason: Reason | None = None
    column: str | None = None
    below: Number | None = None
    above: Number | None = None
    equals: bool | float | str | None = None
    one_of: Annotated[list[str], Field(min_length=1)] | None = None
    not_one_of: Annotated[list[str], Field(min_length=1)] | None = None
    lowest: Part | None = None
    highest: Part | None = None

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        given = [name for name in _COMPARISONS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"one comparison, and there are {given}")
        if self.use is None and (self.reason is None or self.column is None or not given or self.leave_out):
            raise ValueError('either use = "...", or a reason, a column and a comparison')
        if self.use is not None and (self.reason is not None or self.column is not None):
            raise ValueError("either use, or a reason and a column of its own, not both")
        return self

    @property
    def condition(self) -> tuple[Comparison, Value] | None:
        """The comparison and its value, where the section gives one."""
        for name, comparison in _COMPARISONS.items():
            value = getattr(self, name)
            if value is not None:
                return comparison, tuple(value) if isinstance(value, list) else value
        return None

    def rules(self, defaults: Mapping[str, Default]) -> list[DropRule]:
        """Return what the section drops; raises ValueError for a default rule that is not there."""
        if self.use is None:
            if self.reason is None or self.column is None or self.condition is None:
                raise ValueError("a reason, a column and a comparison")
            return [DropRule(self.reason, self.column, *self.condition)]
        named = [one.rule for name, one in defaults.items() if self.use in (name, one.family)]
        unknown = [name for name in self.leave_out if name not in {rule.reason for rule in named}]
        if not named or unknown:
            name = unknown[0] if unknown else self.use
            near = difflib.get_close_matches(name, ["text", "image", *defaults], n=1)
            there = (
                f"did you mean {near[0]!r}?"
                if near
                else f"there are the families 'image' and 'text', and {sorted(defaults)}"
            )
            raise Misfit(f"{name!r} is none of the default rules here; {there}")
        if self.condition is None:
            return [rule for rule in named if rule.reason not in self.leave_out]
        if len(named) != 1 or named[0].comparison != self.condition[0]:
            raise ValueError(
                f"a limit of its own needs one default rule, and its own comparison ({named[0].comparison})"
            )
        return [replace(named[0], value=self.condition[1])]


class Limit(Strict):
    """How many rows a score lets pass."""

    by: str
    top_fraction: Part | None = None
    threshold: Number | None = None
    count: Positive | None = None

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if sum(limit is not None for limit in (self.top_fraction, self.threshold, self.count)) != 1:
            raise ValueError("exactly one of top_fraction, threshold and count is needed")
        return self


class Quota(Strict):
    """How much of what is kept the values of a column may have."""

    column: str
    most: Positive | None = None
    most_share: Part | None = None
    shares: Annotated[dict[str, Part], Field(min_length=1)] | None = None
    balanced: Literal[True] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(given is not None for given in (self.most, self.most_share, self.shares, self.balanced)) != 1:
            raise ValueError("exactly one of most, most_share, shares and balanced is needed")
        if self.shares is not None and sum(self.shares.values()) > 1 + 1e-9:
            raise ValueError(f"shares that add up to at most 1, and not to {sum(self.shares.values())}")
        return self

    def rule(self) -> select.Quota:
        """Return it as selection knows it."""
        shares = tuple((self.shares or {}).items())
        return select.Quota(self.column, self.most, self.most_share, shares, self.balanced is True)


class Select(Limit):
    """Which scored rows are kept."""

    also: list[Limit] = []
    quota: Quota | None = None
    include: str | None = None
    exclude: str | None = None
    deciles: list[str] = []
