"""Counts of rows before and after by what a column says, and which rows to look at; streamed shard by shard."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dfndr.dataset import Dataset
from dfndr.format.funnel import Step
from dfndr.format.shard import parquet_errors
from dfndr.seeds import rng_for
from dfndr_builders.report.histograms import column_values

__all__ = ["Extremes", "Group", "by_source", "by_value", "columns_of", "extremes", "rows_at", "text_lengths"]

_SAMPLED_ROWS = 1_000_000


@dataclass(frozen=True)
class Group:
    """Rows of one value: how many came in (None: not known), how many are kept, what became of the rest."""

    name: str | None
    rows_in: int | None
    rows_out: int
    lost: Mapping[str, int] = field(default_factory=dict)


def by_source(funnel: Sequence[Step]) -> list[Group]:
    """Return what became of each source's rows, first step to last; empty where steps did not count them."""
    told = [step for step in funnel if step.sources]
    if not told or not funnel[0].sources or not funnel[-1].sources:
        return []
    groups = []
    for name in dict.fromkeys(name for step in told for name in step.sources):
        lost: Counter[str] = Counter()
        for step in told:
            if name in step.sources:
                lost.update(step.sources[name].dropped)
                lost.update(step.sources[name].failed)
        first, last = funnel[0].sources.get(name), funnel[-1].sources.get(name)
        groups.append(
            Group(name, first.rows_in if first else 0, last.rows_out if last else 0, dict(lost.most_common()))
        )
    return sorted(groups, key=lambda group: (-(group.rows_in or 0), group.name or ""))


def by_value(scores: Dataset | None, dataset: Dataset, column: str) -> list[Group]:
    """Return the rows before and after for each value of a string or boolean column, the most frequent first."""
    before, after = (_counted(source, column) for source in (scores, dataset))
    if after is None or (scores is not None and before is None):
        return []
    counted = before if before is not None else after
    names = sorted(counted, key=lambda name: (-counted[name], name is None, str(name)))
    return [Group(name, before[name] if before is not None else None, after.get(name, 0)) for name in names]


def _counted(dataset: Dataset | None, column: str) -> Counter[str | None] | None:
    if dataset is None or (len(dataset) and column not in columns_of(dataset)):
        return None
    counts: Counter[str | None] = Counter()
    for table in dataset.tables([column]) if len(dataset) else ():
        for entry in table[column].value_counts().to_pylist():
            found = entry["values"]
            name = found if found is None or isinstance(found, str) else ("yes" if found else "no")
            counts[name] += entry["counts"]
    return counts


def columns_of(dataset: Dataset) -> dict[str, pa.DataType]:
    """Return the types of a dataset's columns by name; none where it has no shard."""
    if not dataset.manifest.shards:
        return {}
    return {field.name: field.type for field in dataset.schema()}


@dataclass(frozen=True)
class Extremes:
    """Places (shard, row): of the highest scores, best first; of the lowest, highest first; of some others."""

    best: list[tuple[int, int]]
    lowest: list[tuple[int, int]]
    others: list[tuple[int, int]]


def extremes(dataset: Dataset, by: str | None, *, count: int, seed: str) -> Extremes:
    """Return the places of `count` rows of each kind, none of them twice; only one column is read.

    Without the score `by`, or with few rows, there are others alone, three times as many. They depend on `seed` and the
    number of rows.
    """
    taken: set[tuple[int, int]] = set()
    best: list[tuple[float, int, int]] = []
    lowest: list[tuple[float, int, int]] = []
    kind = columns_of(dataset).get(by or "", pa.null())
    if by is not None and pa.types.is_floating(kind) and len(dataset) >= 3 * count:
        for number, table in enumerate(dataset.tables([by])):
            scores = np.nan_to_num(table[by].to_numpy().astype(np.float64))
            order = np.argsort(scores, kind="stable")
            ends = np.unique(np.concatenate([order[:count], order[-count:]]))
            places = [(float(scores[row]), -number, -int(row)) for row in ends]
            best = heapq.nlargest(count, [*best, *places])
            lowest = heapq.nsmallest(count, [*lowest, *places])
        taken = {(-shard, -row) for _, shard, row in (*best, *lowest)}
    starts = np.cumsum([0, *(shard.rows for shard in dataset.shards)])
    others: list[tuple[int, int]] = []
    wanted = count if best else 3 * count
    drawn = rng_for(0, "report", seed).choice(len(dataset), min(len(dataset), 4 * count), replace=False)
    for row in map(int, drawn):
        shard = int(np.searchsorted(starts, row, side="right")) - 1
        place = (shard, row - int(starts[shard]))
        if place not in taken and len(others) < wanted:
            others.append(place)
    first, last = ([(-shard, -row) for _, shard, row in kind] for kind in (best, lowest[::-1]))
    return Extremes(first, last, others)


def rows_at(dataset: Dataset, places: Iterable[tuple[int, int]]) -> dict[tuple[int, int], dict[str, object]]:
    """Return whole rows by place; of each file only the row groups that hold them are read."""
    found: dict[tuple[int, int], dict[str, object]] = {}
    wanted: dict[int, dict[int, int]] = {}
    for shard, row in places:
        wanted.setdefault(shard, {})[_stored(dataset, shard, row)] = row
    for shard, rows in sorted(wanted.items()):
        path = str(dataset.local_file(dataset.shards[shard].files["rows"]))
        with parquet_errors(path), pq.ParquetFile(path) as file:
            start = 0
            for group in range(file.num_row_groups):
                stop = start + file.metadata.row_group(group).num_rows
                here = sorted(row for row in rows if start <= row < stop)
                if here:
                    table = file.read_row_group(group).take([row - start for row in here])
                    found |= {(shard, rows[row]): given for row, given in zip(here, table.to_pylist(), strict=True)}
                start = stop
    return found


def _stored(dataset: Dataset, shard: int, row: int) -> int:
    """Return where a row of a shard lies in its files."""
    first = sum(given.rows for given in dataset.shards[:shard])
    return int(dataset.places.within(np.array([first + row]))[1][0])


def text_lengths(dataset: Dataset) -> Iterator[dict[str, npt.NDArray[np.float64]]]:
    """Yield words per text and per caption, caption scores, and the longer side, of shards with a million rows in all.

    Shards are spread evenly. A word is a run of what is not white space.
    """
    there = columns_of(dataset)
    columns = [name for name in ("text", "captions", "caption_scores", "width", "height") if name in there]
    average = max(1, len(dataset) // max(1, len(dataset.shards)))
    step = max(1, len(dataset.shards) * average // _SAMPLED_ROWS)
    for table in dataset.only(dataset.shards[::step]).tables(columns):
        found = {}
        if "text" in there:
            found["words per text"] = column_values(pc.count_substring_regex(table["text"], r"\S+"))
        if "captions" in there:
            found["words per caption"] = column_values(pc.count_substring_regex(_flat(table["captions"]), r"\S+"))
        if "caption_scores" in there:
            found["caption score"] = column_values(_flat(table["caption_scores"]))
        if {"width", "height"} <= set(there):
            found["longer side in pixels"] = column_values(pc.max_element_wise(table["width"], table["height"]))
        yield found


def _flat(lists: pa.ChunkedArray) -> pa.Array:
    return pc.list_flatten(lists).combine_chunks()
