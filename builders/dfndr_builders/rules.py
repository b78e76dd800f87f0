"""Rules: a named condition on a column, and the rows that meet it are dropped under its name.

A rule looks at columns that stages have measured, so it can be changed without measuring again. The default rules
stand beside the stages that measure what they look at (`measure/`), each with its source and two examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Comparison", "Default", "DropRule", "Value"]

Comparison = Literal["below", "above", "is", "one_of", "not_one_of", "lowest", "highest"]
"""How a column is compared with a value: `below` and `above` are strict; `lowest` and `highest` are a share of the
distinct samples that could be scored, floor(N x share) of them exactly, ties by uid as in a selection."""

Value = float | bool | str | tuple[str, ...]


@dataclass(frozen=True)
class DropRule:
    """Drop the rows whose `column` compares so with `value`, for `reason`. A null meets no rule."""

    reason: str
    column: str
    comparison: Comparison
    value: Value


@dataclass(frozen=True)
class Default:
    """A rule that comes with dfndr: its family (what `use` names), where its limit is from, and two examples.

    `drops` and `keeps` are texts, or, for rules on pictures, descriptions such as "black 64x64".
    """

    rule: DropRule
    family: Literal["image", "text"]
    source: str
    drops: str
    keeps: str
