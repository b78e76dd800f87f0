"""The engine of a job array, as SLURM has them: tasks that share a folder and nothing else, and no coordinator.

Each task does its own units first (`index % tasks`), then any that nobody is at and nobody has done, then waits for
those that others are at. So it does not matter which tasks run at the same time, or whether some never do; what a dead
task was at is free again at once.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from dfndr.errors import DataError
from dfndr.format.manifest import Shard
from dfndr.progress import Task
from dfndr_builders.engines.base import Engine
from dfndr_builders.engines.claims import Claims
from dfndr_builders.engines.processes import Processes
from dfndr_builders.work import Job, Unit, record_of, recorded, records_folder

__all__ = ["CLAIMS", "SlurmArray"]

CLAIMS = "claims"
"""The file of claims, beside a phase's records."""

_SHORTEST_S, _LONGEST_S = 0.05, 15.0


@dataclass(frozen=True)
class SlurmArray:
    """Task `number` of `tasks`, counted from 0; `engine` does the units that the task takes.

    Where `wait_s` seconds bring no unit of another task that this one waits for, that is an error.
    """

    shared: ClassVar[bool] = True
    number: int
    tasks: int
    engine: Engine = field(default_factory=Processes)
    wait_s: float = 6 * 3600.0

    @property
    def leads(self) -> bool:
        """Whether this is the first task."""
        return self.number == 0

    def run(self, job: Job, units: Iterable[Unit], task: Task) -> Generator[Shard, None, None]:
        """Yield the shard of each unit, whoever does it; raises DataError where waiting for others takes too long."""
        share = sorted(units, key=lambda unit: (unit.index % self.tasks != self.number, unit.index))
        left = {unit.index: unit for unit in share}
        claims = Claims(records_folder(job.root, job.phase), CLAIMS)
        try:
            yield from self._until_none_is_left(job, left, claims, task)
        finally:
            claims.close()

    def _until_none_is_left(
        self, job: Job, left: dict[int, Unit], claims: Claims, task: Task
    ) -> Generator[Shard, None, None]:
        pause_s, heard = _SHORTEST_S, time.monotonic()
        while left:
            before = len(left)
            for shard in self.engine.run(job, _taken(job, left, claims), task):
                claims.let_go(shard.index)
                del left[shard.index]
                yield shard
            for index, shard in recorded(job.root, job.phase, list(left.values())).items():
                task.advance(shard.rows_in)
                del left[index]
                yield shard
            if len(left) < before:
                pause_s, heard = _SHORTEST_S, time.monotonic()
            elif left:
                self._wait(job, left, pause_s, heard, task)
                pause_s = min(2 * pause_s, _LONGEST_S)

    def _wait(self, job: Job, left: dict[int, Unit], pause_s: float, heard: float, task: Task) -> None:
        if time.monotonic() - heard > self.wait_s:
            unit = next(iter(left.values()))
            raise DataError(
                f"unit {unit.index} ({job.source.describe(unit)})",
                expected=f"the task that is at it to finish within {self.wait_s:g} s",
                found="nothing new",
                do="Look at that task's log, cancel it, and submit the array again: what was done stays done.",
            )
        task.note(f"waiting for {len(left)} units of other tasks")
        task.advance(0)
        time.sleep(pause_s)


def _taken(job: Job, left: dict[int, Unit], claims: Claims) -> Iterator[Unit]:
    """Yield the units that nobody else is at, and nobody has done meanwhile, each as it is asked for, and held."""
    for unit in list(left.values()):
        if claims.take(unit.index):
            if record_of(job.root, job.phase, unit):
                claims.let_go(unit.index)
            else:
                yield unit
