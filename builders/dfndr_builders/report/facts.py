"""Everything that the page says, gathered in one value: no part of it is markup."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from dfndr.dataset import Dataset
from dfndr.errors import DfndrError
from dfndr.format.shard import parquet_errors
from dfndr_builders.report.histograms import Histogram, Numbers, Values, column_values, histograms
from dfndr_builders.report.inputs import Inputs, finite
from dfndr_builders.report.strips import Pairs, Strip, dropped_strips, kept_strips, pairs
from dfndr_builders.report.tallies import Group, by_source, by_value, columns_of, text_lengths

__all__ = ["Facts", "Failure", "gather"]

_GROUPED = ("language", "license", "image_format", "swapped")
_FAILURES_EACH, _PROBLEM_FILES = 3, 40


@dataclass(frozen=True)
class Failure:
    """One row that could not be used, and why, in the words of whoever tried."""

    reason: str
    key: str
    detail: str


@dataclass(frozen=True)
class Facts:
    """What the page says beside the manifest itself."""

    given: Inputs
    sources: list[Group]
    groups: Mapping[str, list[Group]]
    scores: list[Histogram]
    measures: list[Histogram]
    lengths: list[Histogram]
    kept: list[Strip]
    dropped: list[Strip]
    pairs: Pairs | None
    failures: list[Failure]


def gather(given: Inputs) -> Facts:
    """Read what the page needs: columns of numbers shard by shard, and a few whole rows.

    Raises FormatError where the dataset itself is damaged.
    """
    dataset, scores = given.dataset, given.scores
    names = given.score_names()
    limits: dict[str, list[float]] = {}
    for rule in given.rules.values():
        column, limit = rule.get("column"), finite(rule.get("value"))
        if rule.get("comparison") in ("below", "above") and isinstance(column, str) and limit is not None:
            limits.setdefault(column, []).append(limit)
    measured = [name for name in dict.fromkeys(limits) if name not in names]
    if given.by is not None and given.cut is not None:
        limits[given.by] = [given.cut]
    before, after = (_values(source, [*names, *measured]) for source in (scores, dataset))
    drawn = {
        found.column: found
        for found in histograms(before if scores else None, after, [*names, *measured], marks=limits)
    }
    lengths = ["words per text", "longer side in pixels", "words per caption", "caption score"]
    groups = {name: by_value(scores, dataset, name) for name in _GROUPED}
    return Facts(
        given=given,
        sources=by_source(dataset.manifest.funnel) or by_value(scores, dataset, "source"),
        groups={name: found for name, found in groups.items() if len(found) > 1 or (name == "language" and found)},
        scores=[drawn[name] for name in names if name in drawn],
        measures=[drawn[name] for name in measured if name in drawn],
        lengths=histograms((lambda: text_lengths(scores)) if scores else None, lambda: text_lengths(dataset), lengths),
        kept=kept_strips(given),
        dropped=dropped_strips(given),
        pairs=pairs(given),
        failures=_failures(scores or dataset),
    )


def _values(dataset: Dataset | None, names: list[str]) -> Values:
    """Return what gives the finite values of the numeric ones of some columns, as often as it is called."""

    def tables() -> Iterator[dict[str, Numbers]]:
        if dataset is None:
            return
        there = columns_of(dataset)
        columns = [name for name in names if name in there and _is_number(there[name])]
        for table in dataset.tables(columns) if columns else ():
            yield {name: column_values(table[name]) for name in columns}

    return tables


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _failures(dataset: Dataset) -> list[Failure]:
    """Return up to three rows that failed for each reason, from the first few files of problems."""
    found: dict[str, list[Failure]] = {}
    files = [shard.files["problems"] for shard in dataset.shards if "problems" in shard.files]
    for stored in files[:_PROBLEM_FILES]:
        try:
            path = str(dataset.local_file(stored))
            with parquet_errors(path):
                rows = pq.read_table(path, columns=["reason", "key", "detail"]).slice(0, 10_000).to_pylist()
        except DfndrError:
            continue
        for row in rows:
            some = found.setdefault(str(row["reason"]), [])
            if len(some) < _FAILURES_EACH:
                some.append(Failure(str(row["reason"]), str(row["key"] or ""), str(row["detail"] or "")))
    return [failure for reason in sorted(found) for failure in found[reason]]
