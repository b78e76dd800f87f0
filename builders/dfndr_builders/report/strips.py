"""Rows to look at: the best, those around the cut, the worst, some for each reason, and pairs of duplicates."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dfndr import storage
from dfndr.errors import DfndrError
from dfndr.format.shard import parquet_errors
from dfndr.images import BadImage, decode, inspect, thumbnail
from dfndr_builders.report.inputs import Inputs
from dfndr_builders.report.tallies import extremes, rows_at

__all__ = ["Card", "Pair", "Pairs", "Strip", "dropped_strips", "kept_strips", "pairs", "picture_of"]

_EACH, _BELOW, _PAIRS = 8, 16, 12
_LONGEST, _MAX_BYTES = 160, 24_000


@dataclass(frozen=True)
class Card:
    """One row to look at. `picture` is a small JPEG, PNG, WebP or GIF; `values` are measured values by column."""

    uid: str
    key: str
    text: str
    picture: bytes | None
    score: float | None = None
    caption: str | None = None
    source: str | None = None
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Strip:
    """Some rows under one title; `reason` is what dropped them."""

    title: str
    cards: tuple[Card, ...]
    reason: str | None = None


@dataclass(frozen=True)
class Pair:
    """A duplicate that was removed, the row it gave way to (None where that one cannot be shown), and how far apart."""

    reason: str
    removed: Card
    kept: Card | None
    distance: float | None


@dataclass(frozen=True)
class Pairs:
    """Some pairs, and for each reason how many were removed in all and at which distances (count by distance)."""

    shown: tuple[Pair, ...]
    removed: Mapping[str, int]
    distances: Mapping[str, Mapping[float, int]]


def picture_of(given: object) -> bytes | None:
    """Return a picture's bytes in a form that is small and that every browser shows, or None where that fails."""
    data = given.get("bytes") if isinstance(given, Mapping) else given
    if not isinstance(data, bytes):
        return None
    try:
        width, height, form = inspect(data)
        if form in ("JPEG", "PNG", "WEBP", "GIF") and max(width, height) <= _LONGEST and len(data) <= _MAX_BYTES:
            return data
        return thumbnail(decode(data), _LONGEST)
    except BadImage:
        return None


def _card(row: Mapping[str, Any], score: object, values: Mapping[str, object] | None = None) -> Card:
    captions = row.get("captions")
    return Card(
        uid=str(row.get("uid")),
        key=str(row.get("key") or ""),
        text=str(row.get("text") or ""),
        picture=picture_of(row.get("thumbnail")),
        score=score if isinstance(score, float) else None,
        caption=str(captions[0]) if isinstance(captions, list) and captions else None,
        source=row.get("source"),
        values=values or {},
    )


def kept_strips(given: Inputs) -> list[Strip]:
    """Return the best of the kept rows, some of the others, and those just above the cut."""
    dataset, by = given.dataset, given.by or ""
    if not len(dataset):
        return []
    found = extremes(dataset, given.by, count=_EACH, seed=dataset.digest)
    rows = rows_at(dataset, [*found.best, *found.others, *found.lowest])
    kinds = (
        ("Kept: the best", found.best),
        ("Kept: some others" if found.best else "Kept: some", found.others),
        ("Kept: just above the cut", found.lowest),
    )
    return [
        Strip(title, tuple(_card(rows[place], rows[place].get(by)) for place in places))
        for title, places in kinds
        if places
    ]


def dropped_strips(given: Inputs) -> list[Strip]:
    """Return the rows just below the cut, the worst, and some for every other reason, the most frequent first."""
    if given.samples is None:
        return []
    by_reason: dict[str, list[dict[str, Any]]] = {}
    for row in given.samples.to_pylist():
        if row["reason"] is not None:
            by_reason.setdefault(row["reason"], []).append(row)
    strips = []
    below = sorted(by_reason.pop("not_selected", []), key=lambda row: (-(_score(given, row) or 0.0), row["uid"]))
    cards = [_card(row, _score(given, row)) for row in below]
    lowest = cards[_BELOW:][-_EACH:][::-1] if len(cards) > _BELOW else []
    for title, some in (("Dropped: just below the cut", cards[:_BELOW]), ("Dropped: the lowest scores", lowest)):
        if some:
            strips.append(Strip(title, tuple(some), "not_selected"))
    counts = Counter[str]()
    for step in given.dataset.manifest.funnel:
        counts.update(step.dropped)
    for reason in sorted(by_reason, key=lambda reason: (-counts[reason], reason)):
        column = str(given.rules.get(reason, {}).get("column", ""))
        some = [
            _card(row, _score(given, row), {column: row[column]} if row.get(column) is not None else {})
            for row in by_reason[reason][:_EACH]
        ]
        strips.append(Strip(f"Dropped: {reason}", tuple(some), reason))
    return strips


def _score(given: Inputs, row: Mapping[str, Any]) -> float | None:
    """Return what a row was selected by: a column of the scores, or one that the selection made itself."""
    for name in ("selected_by", given.by or ""):
        score = row.get(name)
        if isinstance(score, float):
            return score
    return None


def pairs(given: Inputs) -> Pairs | None:
    """Return pairs of duplicates, those with a picture of both first, or None where there is no audit of them."""
    if given.audit is None:
        return None
    removed, distances = Counter[str](), dict[str, Counter[float]]()
    samples = {row["uid"]: row for row in (given.samples.to_pylist() if given.samples is not None else ())}
    wanted: dict[tuple[str, str], tuple[str, float | None]] = {}
    try:
        with storage.open_read(given.audit) as source, parquet_errors(given.audit), pq.ParquetFile(source) as file:
            columns = [name for name in ("uid", "reason", "kept_uid", "distance") if name in file.schema_arrow.names]
            if not {"uid", "reason", "kept_uid"} <= set(columns):
                return None
            for batch in file.iter_batches(columns=columns):
                table = batch.to_pydict()
                far = table.get("distance") or [None] * len(batch)
                for uid, reason, kept_uid, distance in zip(
                    table["uid"], table["reason"], table["kept_uid"], far, strict=True
                ):
                    if not isinstance(reason, str):
                        continue
                    removed[reason] += 1
                    if isinstance(distance, float):
                        distances.setdefault(reason, Counter())[round(float(distance), 4)] += 1
                    if uid in samples and samples[uid]["reason"] == reason:
                        far_apart = distance if isinstance(distance, float) else None
                        wanted.setdefault((reason, uid), (str(kept_uid), far_apart))
    except DfndrError:
        return None
    return Pairs(_shown(given, samples, wanted), removed, distances)


def _shown(
    given: Inputs,
    samples: Mapping[str, Mapping[str, Any]],
    wanted: Mapping[tuple[str, str], tuple[str, float | None]],
) -> tuple[Pair, ...]:
    kept = _kept_rows(given, {kept_uid for kept_uid, _ in wanted.values()})
    found = []
    for (reason, uid), (kept_uid, distance) in wanted.items():
        row, other = samples[uid], kept.get(kept_uid) or samples.get(kept_uid)
        there = _card(other, other.get(given.by or "")) if other is not None else None
        found.append(Pair(reason, _card(row, _score(given, row)), there, distance))
    of_reason: dict[str, list[Pair]] = {}
    for pair in sorted(found, key=lambda pair: (pair.kept is None, -(pair.distance or 0.0), pair.removed.uid)):
        of_reason.setdefault(pair.reason, []).append(pair)
    each = max(2, _PAIRS // max(1, len(of_reason)))
    return tuple(pair for reason in sorted(of_reason) for pair in of_reason[reason][:each])


def _kept_rows(given: Inputs, uids: set[str]) -> dict[str, dict[str, object]]:
    """Return those of some rows that the dataset holds, by uid."""
    places: list[tuple[int, int]] = []
    for number, table in enumerate(given.dataset.tables(["uid"]) if uids else ()):
        there = pc.indices_nonzero(pc.is_in(table["uid"], pa.array(sorted(uids))))
        places += [(number, row) for row in there.to_pylist()]
    return {str(row["uid"]): row for row in rows_at(given.dataset, heapq.nsmallest(200, places)).values()}
