"""Fused scores as SQL expressions over columns; sums are exact integers, so no order of rows moves a digit."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from dfndr_builders.select.database import literal, number, rows_of
from dfndr_builders.select.rule import Fusion

__all__ = ["fused", "mean_and_std"]

_BITS = 40


def fused(database: Any, fusion: Fusion, scores: dict[str, str], *, running: str, joins: list[str]) -> str:  # noqa: ANN401
    """Return a fused score as a FLOAT expression over the columns `scores`; tables it needs are added to `joins`.

    `running` is the relation whose rows count. Terms are added up in float64 in the order they are given, then rounded.
    """
    terms = []
    for name, weight in fusion.of:
        column = scores[name]
        if fusion.how == "weighted":
            term = f"CAST({column} AS DOUBLE)"
        elif fusion.how == "z":
            mean, std = mean_and_std(database, column, running)
            term = f"((CAST({column} AS DOUBLE) - {literal(mean)}) / {literal(std)})" if std else literal(0.0)
        else:
            term = _rank(database, column, running, joins)
        terms.append(f"{literal(float(weight))} * {term}")
    total = " + ".join(terms)
    if fusion.how != "weighted":
        total = f"({total}) / {literal(float(sum(weight for _, weight in fusion.of)))}"
    return f"CAST({total} AS FLOAT)"


def mean_and_std(database: Any, column: str, running: str) -> tuple[float, float]:  # noqa: ANN401
    """Return the mean and the population's standard deviation, of numbers rounded to 2^-40 of the largest."""
    largest = rows_of(database, f"SELECT max(abs(CAST({column} AS DOUBLE))) FROM {running}")[0][0]
    if not largest:
        return 0.0, 0.0
    shift = _BITS - math.frexp(largest)[1]
    whole = f"CAST(round(CAST({column} AS DOUBLE) * {literal(math.ldexp(1.0, shift))}) AS HUGEINT)"
    query = f"SELECT count(*), sum(w), sum(w * w) FROM (SELECT {whole} AS w FROM {running})"
    rows, total, squares = (int(value) for value in rows_of(database, query)[0])
    variance = Fraction(rows * squares - total * total, rows * rows)
    scale = Fraction(2) ** -shift
    return float(Fraction(total, rows) * scale), math.sqrt(variance * scale * scale)


def _rank(database: Any, column: str, running: str, joins: list[str]) -> str:  # noqa: ANN401
    """Make a table of each value's rank as a fraction, and return the expression that looks it up."""
    table = f"ranks{len(joins)}"
    rows = number(database, f"SELECT count(*) FROM {running}")
    span = 2 * (rows - 1)
    fraction = (
        f"CAST(2 * (sum(rows) OVER (ORDER BY value) - rows) + rows - 1 AS DOUBLE) / {span}" if span > 0 else "0.5"
    )
    database.execute(
        f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT value, CAST({fraction} AS DOUBLE) AS fraction "
        f"FROM (SELECT {column} AS value, count(*) AS rows FROM {running} GROUP BY ALL)"
    )
    joins.append(f"LEFT JOIN {table} ON {column} = {table}.value")
    return f"{table}.fraction"
