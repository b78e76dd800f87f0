"""The engine that runs here, in this process, each unit read while the one before it runs."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

from dfndr.format.manifest import Shard
from dfndr.progress import Task
from dfndr_builders.work import Job, Unit

__all__ = ["Inline"]


@dataclass(frozen=True)
class Inline:
    """Nothing is started, and nothing is between an error and who sees it."""

    shared: ClassVar[bool] = False
    leads: ClassVar[bool] = True

    def run(self, job: Job, units: Iterable[Unit], task: Task) -> Generator[Shard, None, None]:
        """Yield each unit's shard, in order; the job is opened when there is a unit to do."""
        waiting = iter(units)
        for first in waiting:
            with closing(job.open(task.advance).each(chain([first], waiting))) as shards:
                yield from shards
