"""From counted rows to a step of the funnel, in all and source by source; and that it adds up.

A pool may name millions of sources. The 999 with most rows are counted one by one, the others together; which these
are is settled where the pool is scored, and kept to in every step after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from dfndr import storage
from dfndr.errors import FormatError
from dfndr.format.manifest import Counts, Shard, Step
from dfndr.format.shard import parquet_errors

__all__ = ["COUNTED", "MOST_SOURCES", "OTHERS", "count_files", "counts_by_source", "step_of_counts"]

COUNTED = pa.schema([("source", pa.string()), ("outcome", pa.string()), ("reason", pa.string()), ("count", pa.int64())])
"""Rows that were counted: `outcome` is `kept`, `dropped` or `failed`; `reason` is null for those kept; `source` may be
null. A combination may occur more than once; the counts are added up."""

MOST_SOURCES = 1000
"""A step names at most so many sources; where there are more, the ones with fewest rows are counted as `OTHERS`."""

OTHERS = "(others)"

_DO = "Report this: rows were lost."


def count_files(root: str, shards: Sequence[Shard]) -> pa.Table | None:
    """Count the rows and problems of a phase's files as a table of `COUNTED`; None where rows have no `source`."""
    counted = [COUNTED.empty_table()]
    for shard in shards:
        path = storage.join(root, shard.files["rows"].path)
        with storage.open_read(path) as file, parquet_errors(path), pq.ParquetFile(file) as rows:
            if "source" not in rows.schema_arrow.names:
                return None
            counted.append(_grouped(rows.read(["source"]), "kept"))
        if "problems" in shard.files:
            path = storage.join(root, shard.files["problems"].path)
            with storage.open_read(path) as file, parquet_errors(path):
                counted.append(_grouped(pq.read_table(file, columns=["source", "reason"]), "failed"))
    return pa.concat_tables(counted)


def _grouped(rows: pa.Table, outcome: str) -> pa.Table:
    if outcome == "kept":
        rows = rows.append_column("reason", pa.nulls(len(rows), pa.string()))
    found = rows.group_by(["source", "reason"]).aggregate([([], "count_all")]).rename_columns({"count_all": "count"})
    found = found.append_column("outcome", pa.array([outcome] * len(found), pa.string()))
    return found.select(COUNTED.names).cast(COUNTED)


def counts_by_source(table: pa.Table, named: Collection[str] | None = None) -> dict[str, Counts]:
    """Return the counts of each source of a table of `COUNTED`, sorted by name; a null source is "".

    `named` are the sources that the step before counted one by one; None where this is the first step.
    """
    found: dict[str, Counter[tuple[str, str]]] = {}
    for source, outcome, reason, count in _records(table):
        found.setdefault(source or "", Counter())[outcome, reason or ""] += count
    for name in [name for name in found if name not in named] if named is not None else _beyond(found):
        part = found.pop(name)
        found.setdefault(OTHERS, Counter()).update(part)
    return {name: _counts(found[name]) for name in sorted(found)}


def _beyond(found: dict[str, Counter[tuple[str, str]]]) -> list[str]:
    if len(found) <= MOST_SOURCES:
        return []
    return sorted(found, key=lambda name: (-found[name].total(), name))[MOST_SOURCES - 1 :]


def step_of_counts(
    name: str,
    table: pa.Table,
    *,
    rows_in: int,
    reasons: Iterable[str] = (),
    by_source: bool = True,
    named: Collection[str] | None = None,
) -> Step:
    """Return the step of a table of `COUNTED`; `reasons` to drop are named even where no row was.

    `named` is that of `counts_by_source`. Raises FormatError where the counts do not add up to `rows_in`.
    """
    whole: Counter[tuple[str, str]] = Counter()
    for _, outcome, reason, count in _records(table):
        whole[outcome, reason or ""] += count
    counts = _counts(whole)
    dropped = {reason: 0 for reason in reasons} | dict(counts.dropped)
    if counts.rows_in != rows_in:
        found = f"{counts.rows_in} rows kept, dropped or failed"
        raise FormatError(f"step {name!r}", expected=f"{rows_in} rows", found=found, do=_DO)
    sources = counts_by_source(table, named) if by_source else {}
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
