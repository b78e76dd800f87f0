"""From counted rows to a step of the funnel, in all and source by source; and that it adds up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa

from dfndr.errors import FormatError
from dfndr.format.manifest import Counts, Step

__all__ = ["COUNTED", "MOST_SOURCES", "OTHERS", "counts_by_source", "step_of_counts"]

COUNTED = pa.schema([("source", pa.string()), ("outcome", pa.string()), ("reason", pa.string()), ("count", pa.int64())])
"""Rows that were counted: `outcome` is `kept`, `dropped` or `failed`; `reason` is null for those kept; `source` may be
null. A combination may occur more than once; the counts are added up."""

MOST_SOURCES = 1000
"""A step names at most so many sources; where there are more, the ones with fewest rows are counted as `OTHERS`."""

OTHERS = "(others)"

_DO = "Report this: rows were lost."


def counts_by_source(table: pa.Table) -> dict[str, Counts]:
    """Return the counts of each source of a table of `COUNTED`, sorted by name; a null source is ""."""
    found: dict[str, Counter[tuple[str, str]]] = {}
    for source, outcome, reason, count in _records(table):
        found.setdefault(source or "", Counter())[outcome, reason or ""] += count
    if len(found) > MOST_SOURCES:
        order = sorted(found, key=lambda name: (-found[name].total(), name))
        others: Counter[tuple[str, str]] = Counter()
        for name in order[MOST_SOURCES - 1 :]:
            others.update(found.pop(name))
        found.setdefault(OTHERS, Counter()).update(others)
    return {name: _counts(found[name]) for name in sorted(found)}


def step_of_counts(
    name: str, table: pa.Table, *, rows_in: int, reasons: Iterable[str] = (), by_source: bool = True
) -> Step:
    """Return the step of a table of `COUNTED`; `reasons` to drop are named even where no row was.

    Raises FormatError where the counts do not add up to `rows_in`.
    """
    whole: Counter[tuple[str, str]] = Counter()
    for _, outcome, reason, count in _records(table):
        whole[outcome, reason or ""] += count
    counts = _counts(whole)
    dropped = {reason: 0 for reason in reasons} | dict(counts.dropped)
    if counts.rows_in != rows_in:
        found = f"{counts.rows_in} rows kept, dropped or failed"
        raise FormatError(f"step {name!r}", expected=f"{rows_in} rows", found=found, do=_DO)
    sources = counts_by_source(table) if by_source else {}
    if by_source and sum(part.rows_in for part in sources.values()) != rows_in:
        found = "sources that add up to something else"
        raise FormatError(f"step {name!r}", expected=f"{rows_in} rows", found=found, do=_DO)
    return Step(name, rows_in, counts.rows_out, dropped, counts.failed, sources)


def _records(table: pa.Table) -> Iterable[tuple[str | None, str, str | None, int]]:
    return zip(*(table[name].to_pylist() for name in COUNTED.names), strict=True)


def _counts(found: Counter[tuple[str, str]]) -> Counts:
    by_outcome: dict[str, dict[str, int]] = {"kept": {}, "dropped": {}, "failed": {}}
    for (outcome, reason), count in sorted(found.items()):
        by_outcome[outcome][reason] = count
    return Counts(found.total(), sum(by_outcome["kept"].values()), by_outcome["dropped"], by_outcome["failed"])
