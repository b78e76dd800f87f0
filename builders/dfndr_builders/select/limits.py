"""Limits and quotas as SQL: which of the rows in the running are kept, and which would be without the quota."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.errors import RecipeError
from dfndr_builders.select.cuts import cut_at, find_cuts, within
from dfndr_builders.select.database import literal, number, rows_of
from dfndr_builders.select.rule import Limit, Quota, floor_of
from dfndr_builders.select.running import Running

__all__ = ["Verdict", "filled_up_to", "verdict_of"]

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Verdict:
    """N, and two conditions on rows in the running, of `judged` and what is joined to it."""

    samples: int
    is_kept: str
    without_quota: str
    join: str = ""


def verdict_of(running: Running) -> Verdict:
    """Find all cuts that the limits and the quota ask for."""
    database, rule = running.database, running.rule
    query = "SELECT count(*), count(*) FILTER (forced) FROM running"
    samples, forced = (int(count) for count in rows_of(database, query)[0])
    also = [
        _limit(running, limit, "running", kept=limit.keeps(samples), table=f"also{place}")
        for place, limit in enumerate(rule.also)
    ]
    kept = rule.keeps(samples)
    free = "(FROM running WHERE NOT forced)"
    by = _limit(running, rule.limit, free, kept=None if kept is None else max(0, kept - forced), table="cut")
    without = f"(forced OR ({' AND '.join([by, *also])}))"
    if rule.quota is None:
        return Verdict(samples, without, without)
    might = " AND ".join(["NOT forced", *also, *([by] if rule.threshold is not None else [])])
    rows = number(database, f"SELECT count(*) FROM running WHERE {without}")
    _caps(running, rule.quota, rows, might)
    join, score = "LEFT JOIN caps ON judged.part = caps.part", running.scores[rule.by]
    capped = f"{might} AND {within(database, score, 'caps')}"
    if rule.quota.most is not None or rule.quota.most_share is not None:
        left = f"(SELECT place, {score} FROM running AS judged {join} WHERE {capped})"
        filled = min(rows - forced, number(database, f"SELECT count(*) FROM {left}"))
        capped += f" AND {cut_at(database, score, left, kept=filled, table='filled')}"
    return Verdict(samples, f"(forced OR ({capped}))", without, join)


def _limit(running: Running, limit: Limit, relation: str, *, kept: int | None, table: str) -> str:
    score = running.scores[limit.by]
    if kept is None:
        return f"({score} >= CAST({literal(float(limit.threshold or 0))} AS FLOAT))"
    return cut_at(running.database, score, relation, kept=kept, table=table)


def _caps(running: Running, quota: Quota, rows: int, might: str) -> None:
    """Make the table `caps` of cuts: how far down the rows of each value are let through."""
    database, score = running.database, running.scores[running.rule.by]
    database.execute(
        "CREATE OR REPLACE TEMP TABLE parts AS "
        "SELECT *, row_number() OVER (ORDER BY rows DESC, part) AS nth "
        "FROM (SELECT part, count(*) FILTER (forced) AS forced, count(*) FILTER (forced OR "
        f"({might})) AS rows FROM running GROUP BY part)"
    )
    query = "SELECT nth, value, forced, rows FROM parts JOIN part_codes ON part = code ORDER BY nth"
    found = database.sql(query).to_arrow_table()
    forced, there = (found[name].to_numpy().astype(np.int64) for name in ("forced", "rows"))
    caps = _cap_of_each(quota, rows, found["value"], forced, there)
    wanted = pa.table({"nth": found["nth"], "cap": np.maximum(0, caps - forced)})
    database.register("given", wanted)
    database.execute(
        "CREATE OR REPLACE TEMP TABLE wanted AS "
        "SELECT part, CAST(cap AS BIGINT) AS wanted FROM parts JOIN given USING (nth)"
    )
    database.unregister("given")
    find_cuts(
        database,
        "caps",
        relation=f"(SELECT part, {score} AS value, place FROM running WHERE {might})",
        wanted="wanted",
    )


def _cap_of_each(quota: Quota, rows: int, values: pa.ChunkedArray, forced: Counts, there: Counts) -> Counts:
    if quota.balanced:
        return filled_up_to(rows, forced, there)
    if quota.shares:
        return _shares(quota.shares, rows, values)
    most = quota.most if quota.most is not None else floor_of(quota.most_share or 0.0, rows)
    return np.full(len(there), most, dtype=np.int64)


def _shares(shares: Sequence[tuple[str | float | bool, float]], rows: int, values: pa.ChunkedArray) -> Counts:
    where, total = "[select] quota", sum(Fraction(repr(share)) for _, share in shares)
    if total > 1 or len({value for value, _ in shares}) != len(shares) or min(share for _, share in shares) < 0:
        do = "Lower the shares, or name each value once."
        raise RecipeError(where, expected="shares of at most 1 in all", found=str(shares)[:80], do=do)
    caps = {value: floor_of(share, rows) for value, share in shares}
    found = [0 if value is None else caps.get(value, caps.get(_said(value), 0)) for value in values.to_pylist()]
    return np.array(found, dtype=np.int64)


def _said(value: object) -> str:
    """Return a value as a recipe names it, whose keys are texts: `3`, `true`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def filled_up_to(rows: int, forced: Counts, there: Counts) -> Counts:
    """Return how many of `there` each value may have so that they are even and `rows` in all; at least `forced` each.

    With the level c the values have max(forced, min(there, c)); what is left over at the highest level that fits goes
    to those that can take one more, in the order they are given: most rows first, then by value.
    """
    low, high = 0, int(there.max(initial=0))
    while low < high:
        level = (low + high + 1) // 2
        low, high = (level, high) if _sum_at(level, forced, there) <= rows else (low, level - 1)
    caps = np.maximum(forced, np.minimum(there, low))
    can_grow = np.flatnonzero((there > low) & (forced <= low))
    caps[can_grow[: max(0, rows - int(caps.sum()))]] += 1
    return caps


def _sum_at(level: int, forced: Counts, there: Counts) -> int:
    return int(np.maximum(forced, np.minimum(there, level)).sum())
