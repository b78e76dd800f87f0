"""Rules as SQL: which rows of `scores` a rule drops, with the column and its type checked first."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from dfndr.errors import RecipeError
from dfndr_builders.rules import DropRule
from dfndr_builders.select.cuts import cut_at
from dfndr_builders.select.database import literal, number
from dfndr_builders.select.frame import Frame
from dfndr_builders.select.rule import floor_of

__all__ = ["condition_of"]


def condition_of(database: Any, rule: DropRule, frame: Frame, *, samples: str) -> str:  # noqa: ANN401
    """Return the SQL condition under which a row is dropped, never null.

    A null meets no rule, and a NaN none that compares numbers. `samples` is the relation whose rows count for `lowest`
    and `highest`: the last and the first floor(N * share) of its N rows that have a number, best first.
    """
    where = f"[rules] {rule.reason}"
    column, kind = frame.column(rule.column, where), frame.types[rule.column]
    _check(rule, kind, where)
    values = [rule.value] if not isinstance(rule.value, tuple) else list(rule.value)
    texts = [_cast(value, kind) for value in values]
    is_there = f"({column} IS NOT NULL)"
    if pa.types.is_floating(kind):
        is_there = f"coalesce(NOT isnan({column}), false)"
    if rule.comparison in ("lowest", "highest"):
        value = f"CAST({column} AS DOUBLE)"
        relation = f"(SELECT * FROM {samples} WHERE {is_there})"
        rows = number(database, f"SELECT count(*) FROM {relation}")
        count = floor_of(float(values[0]), rows)
        is_first = rule.comparison == "highest"
        kept = count if is_first else rows - count
        is_within = cut_at(database, value, relation, kept=kept, table=f"cut_{column}_{rule.comparison}")
        return f"({is_there} AND {'' if is_first else 'NOT '}{is_within})"
    compare = {
        "below": f"{column} < {texts[0] if texts else ''}",
        "above": f"{column} > {texts[0] if texts else ''}",
        "is": f"{column} = {texts[0] if texts else ''}",
        "one_of": f"{column} IN ({', '.join(texts)})",
        "not_one_of": f"{column} NOT IN ({', '.join(texts)})",
    }[rule.comparison]
    return f"({is_there} AND {compare})"


def _cast(value: Any, kind: pa.DataType) -> str:  # noqa: ANN401
    """Return a value as SQL; beside a column of float32 it is rounded to one, as a threshold is."""
    text = literal(value)
    return f"CAST({text} AS FLOAT)" if pa.types.is_float32(kind) or pa.types.is_float16(kind) else text


def _check(rule: DropRule, kind: pa.DataType, where: str) -> None:
    values = rule.value if isinstance(rule.value, tuple) else (rule.value,)
    is_many, wants_many = isinstance(rule.value, tuple), rule.comparison in ("one_of", "not_one_of")
    if is_many != wants_many or not values:
        expected = "a list of values" if wants_many else "a single value"
        raise RecipeError(where, expected=expected, found=repr(rule.value), do=f"Change what `{rule.comparison}` has.")
    is_number = pa.types.is_floating(kind) or pa.types.is_integer(kind)
    kinds = {"text": _is_text(kind), "true or false": pa.types.is_boolean(kind), "numbers": is_number}
    held = next((name for name, is_it in kinds.items() if is_it), str(kind))
    if rule.comparison in ("below", "above", "lowest", "highest") and not is_number:
        do = "Use equals or one_of, or name another column."
        raise RecipeError(where, expected=f"a column of numbers for `{rule.comparison}`", found=held, do=do)
    for value in values:
        given = "true or false" if isinstance(value, bool) else "text" if isinstance(value, str) else "numbers"
        if given != held:
            found = f"{value!r} beside a column of {held}"
            raise RecipeError(where, expected=f"{held} for {rule.column!r}", found=found, do="Change the value.")
    if rule.comparison in ("lowest", "highest") and not 0 <= float(values[0]) <= 1:
        raise RecipeError(where, expected="a share from 0 to 1", found=repr(values[0]), do="Change the value.")


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
