"""The engine that runs here, in this process, one unit after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from dfndr.format.manifest import Shard
from dfndr_builders.work import Job, Unit

__all__ = ["run"]


def run(job: Job, units: Sequence[Unit], on_rows: Callable[[int], None]) -> Iterator[Shard]:
    """Yield each unit's shard as soon as it is committed; `on_rows` hears of every batch of rows that is done."""
    if units:
        one = job.open(on_rows)
        yield from map(one, units)
