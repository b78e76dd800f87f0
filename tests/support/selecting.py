"""Selection said again in plain Python, for small data: rows are dicts, in the pool's order, and all are in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from dfndr_builders.rules import DropRule
from dfndr_builders.select import Fusion, Limit, Quota, Rule

Row = Mapping[str, Any]


def outcomes(rows: Sequence[Row], rule: Rule, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> list[str]:
    """Return what becomes of each row: "kept" or the reason."""
    found = _before_groups(rows, rule, include, exclude)

    def left() -> list[int]:
        return [number for number, outcome in enumerate(found) if outcome is None]

    fuse(rows, left(), rule)
    for reason, column in rule.groups:
        groups: dict[Any, list[int]] = {}
        for number in left():
            if rows[number][column] is not None:
                groups.setdefault(rows[number][column], []).append(number)
        for members in groups.values():
            best = min(members, key=lambda number: (rows[number]["uid"] not in include, *_order(rows[number], rule.by)))
            for number in members:
                found[number] = None if number == best else reason
    fuse(rows, left(), rule)
    running = left()
    forced = [number for number in running if rows[number]["uid"] in include]
    without, kept = judge(rows, rule, running, forced)
    for number in running:
        lost = "over_quota" if number in without else "not_selected"
        found[number] = "kept" if number in kept else lost
    return [str(outcome) for outcome in found]


def _before_groups(rows: Sequence[Row], rule: Rule, include: Sequence[str], exclude: Sequence[str]) -> list[str | None]:
    found: list[str | None] = [None] * len(rows)
    seen: set[str] = set()
    for number, row in enumerate(rows):
        if not all(_is_number(row[name]) for name in _scores(rule)):
            found[number] = "score_not_finite"
        elif row["uid"] in seen:
            found[number] = "duplicate"
        else:
            seen.add(row["uid"])
    samples = [row for row, outcome in zip(rows, found, strict=True) if outcome is None]
    for number, row in enumerate(rows):
        if found[number] is None and row["uid"] in exclude:
            found[number] = "excluded"
        elif found[number] is None and row["uid"] not in include:
            found[number] = next((drop.reason for drop in rule.drop if meets(row, drop, samples)), None)
    return found


def judge(rows: Sequence[Row], rule: Rule, running: list[int], forced: list[int]) -> tuple[set[int], set[int]]:
    """Return the rows that would be kept without the quota, and those that are."""
    free = _sorted(rows, [number for number in running if number not in forced], rule.by)
    inside = set(running)
    for limit in rule.also:
        inside &= set(_within(rows, _sorted(rows, running, limit.by), limit, len(running), 0))
    by = _within(rows, free, rule.limit, len(running), len(forced))
    without = set(forced) | (set(by) & inside)
    if rule.quota is None:
        return without, without
    might = [number for number in free if number in inside and (rule.threshold is None or number in by)]
    return without, quota_of(rows, rule.quota, len(without), might, forced)


def quota_of(rows: Sequence[Row], quota: Quota, total: int, might: list[int], forced: list[int]) -> set[int]:
    """Return the kept rows; `might` are the candidates, best first."""
    values = {rows[number][quota.column] for number in [*might, *forced]}
    has = {value: [n for n in might if rows[n][quota.column] == value] for value in values}
    must = {value: sum(rows[n][quota.column] == value for n in forced) for value in values}
    if quota.balanced:
        caps = {value: must[value] for value in values}  # water, a drop at a time, always to the lowest
        order = sorted(values, key=lambda v: (-len(has[v]) - must[v], v is not None, v or ""))
        while sum(caps.values()) < total:
            open_ = [v for v in order if caps[v] < len(has[v]) + must[v]]
            caps[min(open_, key=lambda v: (caps[v], order.index(v)))] += 1
    elif quota.shares:
        given = dict(quota.shares)
        caps = {value: int(Fraction(repr(given.get(value, 0.0))) * total) for value in values}
    else:
        share = Fraction(repr(quota.most_share or 0.0))
        caps = {value: quota.most if quota.most is not None else int(share * total) for value in values}
    capped = {n for value in values for n in has[value][: max(0, caps[value] - must[value])]}
    if quota.most is not None or quota.most_share is not None:
        capped = set([n for n in might if n in capped][: max(0, total - len(forced))])
    return capped | set(forced)


def meets(row: Row, drop: DropRule, samples: Sequence[Row]) -> bool:
    """Say whether a row meets a rule."""
    value = row[drop.column]
    if value is None or value != value:
        return False
    if drop.comparison in ("lowest", "highest"):
        there = [other for other in samples if _is_there(other[drop.column])]
        count = int(Fraction(repr(drop.value)) * len(there))
        order = [other["uid"] for other in sorted(there, key=lambda other: (-other[drop.column], other["uid"]))]
        first = drop.comparison == "highest"
        return row["uid"] in (order[:count] if first else order[len(there) - count :])
    return {
        "below": lambda: value < drop.value,
        "above": lambda: value > drop.value,
        "is": lambda: value == drop.value,
        "one_of": lambda: value in drop.value,
        "not_one_of": lambda: value not in drop.value,
    }[drop.comparison]()


def fuse(rows: Sequence[Row], running: list[int], rule: Rule) -> None:
    """Set the fused scores of the rows in the running."""
    for fusion in rule.fusions:
        columns = {name: [float(np.float32(rows[number][name])) for number in running] for name, _ in fusion.of}
        for place, number in enumerate(running):
            terms = [weight * _term(fusion, columns[name], place) for name, weight in fusion.of]
            total = terms[0]
            for term in terms[1:]:
                total += term
            if fusion.how != "weighted":
                total /= float(sum(weight for _, weight in fusion.of))
            rows[number][fusion.name] = float(np.float32(total))  # type: ignore[index]


def _term(fusion: Fusion, column: list[float], place: int) -> float:
    value, count = column[place], len(column)
    if fusion.how == "weighted":
        return value
    if fusion.how == "rank":
        less, same = sum(other < value for other in column), column.count(value)
        return 0.5 if count == 1 else (2 * less + same - 1) / (2 * (count - 1))
    mean = sum(map(Fraction, column)) / count
    std = math.sqrt(sum((Fraction(other) - mean) ** 2 for other in column) / count)
    return (value - float(mean)) / std if std else 0.0


def decile(rows: Sequence[Row], kept: Sequence[int], name: str) -> dict[int, int]:
    """Return each kept row's decile by a score."""
    worst_first = _sorted(rows, list(kept), name)[::-1]
    return {number: place * 10 // len(kept) for place, number in enumerate(worst_first)}


def _within(rows: Sequence[Row], order: list[int], limit: Limit, samples: int, forced: int) -> list[int]:
    if limit.threshold is not None:
        return [number for number in order if rows[number][limit.by] >= np.float32(limit.threshold)]
    count = limit.count if limit.count is not None else int(Fraction(repr(limit.top_fraction)) * samples)
    return order[: max(0, min(count, samples) - forced)]


def _scores(rule: Rule) -> list[str]:
    fusions = {fusion.name: [name for name, _ in fusion.of] for fusion in rule.fusions}
    named = [rule.by, *(limit.by for limit in rule.also), *rule.deciles, *fusions]
    return [score for name in named for score in fusions.get(name, [name])]


def _order(row: Row, by: str) -> tuple[float, str]:
    return -row[by], row["uid"]


def _sorted(rows: Sequence[Row], numbers: list[int], by: str) -> list[int]:
    return sorted(numbers, key=lambda number: _order(rows[number], by))


def _is_there(value: float | None) -> bool:
    return value is not None and value == value


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
