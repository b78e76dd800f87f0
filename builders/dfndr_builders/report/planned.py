"""The plan that was kept before a build, set beside what happened; read with suspicion, as all that is in `phases/`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dfndr.describe import sizes
from dfndr.markup import Html, cells, element, join
from dfndr_builders.report.facts import Facts
from dfndr_builders.report.inputs import finite
from dfndr_builders.report.words import UNKNOWN, duration, megabytes, number

__all__ = ["planned"]


def planned(facts: Facts) -> Html | None:
    """Return a table of what was estimated and what it was; None where no plan of this recipe was kept."""
    given = facts.given.plan.get("estimate")
    if not isinstance(given, Mapping):
        return None
    rows = [[what, then, now, _ratio(before, after)] for what, before, after, then, now in _compared(facts, given)]
    if not rows:
        return None
    lead = "The plan that was kept before the build (dfndr plan --out), beside what happened."
    head = ["", "estimated", "happened", "happened by estimated"]
    return join([element("p", lead, class_="soft"), cells(head, rows, left=1)])


def _compared(facts: Facts, given: Mapping[str, Any]) -> Iterator[tuple[str, float, float, str, str]]:
    manifest = facts.given.dataset.manifest
    pool = given.get("pool")
    counts = [("rows of the pool", pool.get("rows") if isinstance(pool, Mapping) else None, _rows_in(facts))]
    counts += [("rows kept, at most", given.get("kept"), len(manifest))]
    counts += [("shards", given.get("shards"), len(manifest.shards))]
    for what, before, after in counts:
        if (known := _positive(before)) is not None and after is not None:
            yield what, known, after, number(round(known)), number(after)
    disk = given.get("disk")
    found = sizes(manifest)
    for name, before in _disk(disk if isinstance(disk, Mapping) else {}).items():
        if name in found:
            yield f"{name} on disk", before, found[name], megabytes(round(before)), megabytes(found[name])
    seconds = given.get("seconds")
    took = {timing.phase: timing.seconds for timing in facts.given.timings}
    for phase, given_s in (seconds if isinstance(seconds, Mapping) else {}).items():
        before_s = _positive(given_s)
        if before_s is not None and phase in took:
            yield f"time to {phase}", before_s, took[phase], duration(before_s), duration(took[phase])


def _rows_in(facts: Facts) -> int | None:
    funnel = facts.given.dataset.manifest.funnel
    return funnel[0].rows_in if funnel else None


def _disk(given: Mapping[str, Any]) -> dict[str, float]:
    """Return the estimated bytes by the names of a dataset's files: thumbnails stand in the rows."""
    known = {str(name): size for name, value in given.items() if (size := _positive(value)) is not None}
    thumbnails = known.pop("thumbnails", 0.0)
    return known | ({"rows": known["rows"] + thumbnails} if "rows" in known else {})


def _positive(given: object) -> float | None:
    value = finite(given)
    return value if value is not None and value >= 0 else None


def _ratio(before: float, after: float) -> str:
    return f"{after / before:.2f}" if before else UNKNOWN
