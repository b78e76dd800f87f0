"""The funnel: what became of every row, step by step, in all and source by source; and that it adds up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dfndr.errors import FormatError
from dfndr.format.fields import DO, count, json_object, known_fields, typed
from dfndr.format.schema import FAILED, REASON

__all__ = ["Counts", "Step", "adds_up", "check_join", "reasons_of", "step_of_json"]


@dataclass(frozen=True)
class Counts:
    """What became of some rows; rows_in = rows_out + dropped + failed, always."""

    rows_in: int
    rows_out: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return the JSON object that stands in the manifest."""
        given = {"dropped": dict(self.dropped), "failed": dict(self.failed)}
        return {"rows_in": self.rows_in, "rows_out": self.rows_out, **given}


@dataclass(frozen=True)
class Step:
    """One line of the funnel; rows_in = rows_out + dropped + failed, of all rows and of each source's.

    `sources` is keyed by what the rows' `source` says, "" where it says nothing; empty where they were not counted.
    """

    name: str
    rows_in: int
    rows_out: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    sources: Mapping[str, Counts] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return the JSON object that stands in the manifest."""
        whole = Counts(self.rows_in, self.rows_out, self.dropped, self.failed).to_json()
        parts = {name: counts.to_json() for name, counts in self.sources.items()}
        return {"name": self.name, **whole, **({"sources": parts} if parts else {})}


def step_of_json(given: object, where: str) -> Step:
    """Read a step; raises FormatError where it does not add up, in all or source by source."""
    fields = known_fields(given, Step, f"{where}, funnel")
    name = typed(fields, "name", str, where)
    where = f"{where}, funnel step {name!r}"
    whole = _counts(fields, where)
    sources = {
        source: _counts(known_fields(value, Counts, where), f"{where}, source {source!r}")
        for source, value in json_object(fields.get("sources", {}), f"{where}, sources").items()
    }
    step = Step(name, whole.rows_in, whole.rows_out, whole.dropped, whole.failed, sources)
    if sources and _total(sources.values()) != _total([whole]):
        found = "sources that add up to something else"
        raise FormatError(where, expected="the sum of its sources", found=found, do="Rows were lost.")
    return step


def _counts(fields: Mapping[str, Any], where: str) -> Counts:
    dropped, failed = reasons_of(fields, "dropped", where), reasons_of(fields, "failed", where)
    counts = Counts(count(fields, "rows_in", where), count(fields, "rows_out", where), dropped, failed)
    adds_up(where, counts.rows_in, counts.rows_out, dropped, failed)
    return counts


def _total(parts: Iterable[Counts]) -> Counter[tuple[str, str]]:
    """Return the sums of counts, those of zero left out."""
    total: Counter[tuple[str, str]] = Counter()
    for part in parts:
        total.update({("rows", "in"): part.rows_in, ("rows", "out"): part.rows_out})
        total.update({("dropped", reason): number for reason, number in part.dropped.items()})
        total.update({("failed", reason): number for reason, number in part.failed.items()})
    return +total


def check_join(before: Step, after: Step, where: str) -> None:
    """Raise where a step takes other rows than the one before gave, of all or of a source."""
    given, taken = {"all": before.rows_out}, {"all": after.rows_in}
    if before.sources and after.sources:
        given |= {f"source {name!r}": counts.rows_out for name, counts in before.sources.items()}
        taken |= {f"source {name!r}": counts.rows_in for name, counts in after.sources.items()}
    for part in [*given, *taken]:
        if given.get(part, 0) != taken.get(part, 0):
            found = f"{before.name} gives {given.get(part, 0)}, {after.name} takes {taken.get(part, 0)} ({part})"
            raise FormatError(where, expected="steps that join", found=found, do=DO)


def adds_up(where: str, rows_in: int, rows: int, dropped: Mapping[str, int], failed: Mapping[str, int]) -> None:
    """Raise FormatError where a row was lost, or came from nowhere."""
    accounted = rows + sum(dropped.values()) + sum(failed.values())
    if rows_in != accounted:
        found = f"{rows} kept + {sum(dropped.values())} dropped + {sum(failed.values())} failed = {accounted}"
        raise FormatError(where, expected=f"{rows_in} rows accounted for", found=found, do="Rows were lost.")


def reasons_of(fields: Mapping[str, Any], key: Literal["dropped", "failed"], where: str) -> dict[str, int]:
    """Return counts by reason: the reasons to fail are a closed list, those to drop are also what rules are called."""
    given = json_object(fields.get(key), f"{where}, {key}")
    is_closed = key == "failed"
    unknown = sorted(name for name in given if not REASON.fullmatch(name) or (is_closed and name not in FAILED))
    if unknown:
        expected = "reasons from the closed list for failed" if is_closed else f"reasons like {REASON.pattern}"
        raise FormatError(where, expected=expected, found=str(unknown)[:80], do=DO)
    return {reason: count(given, reason, where) for reason in given}
