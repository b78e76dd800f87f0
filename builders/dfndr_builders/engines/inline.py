"""The engine that runs here, in this process, one unit after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dfndr.format.manifest import Shard
from dfndr_builders.work import Job, Unit

__all__ = ["run"]


def run(job: Job, units: Sequence[Unit]) -> Iterator[Shard]:
    """Yield each unit's shard as soon as it is committed."""
    if units:
        one = job.open()
        yield from map(one, units)
