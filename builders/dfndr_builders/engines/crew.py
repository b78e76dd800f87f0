"""Handing units out to workers that may die: who dies costs the unit a strike, and two strikes put it aside.

After one, the unit is tried with care: rows that kill whoever looks at them fail alone (`guarded`).

What a worker is, a process here or an actor of Ray elsewhere, is the business of a `Crew`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, TypeAlias

from dfndr.errors import DataError
from dfndr.format.manifest import Shard
from dfndr.progress import Task
from dfndr_builders.engines.counted import counting
from dfndr_builders.engines.guarded import guarded
from dfndr_builders.engines.strikes import MOST, Strikes
from dfndr_builders.work import Doing, Job, Unit

__all__ = ["Crew", "Died", "News", "Opened", "Order", "Worker", "done_by", "obey"]


_ROW_TIMEOUT_S = 30.0
_ROWS_OF_UNIT_TIMEOUT = 10
"""A row that is looked at alone may take so long, or this part of the time that a unit may take where that is less."""
_LONGER = 4
"""How many times as long a unit may take that is tried with care."""


@dataclass(frozen=True)
class Order:
    """What a worker is told to do: a unit; with strikes against it with care, with the most only to count its rows."""

    unit: Unit
    strikes: tuple[str, ...] = ()
    row_timeout_s: float = _ROW_TIMEOUT_S

    @property
    def is_to_count(self) -> bool:
        """Whether its rows are only counted."""
        return len(self.strikes) >= MOST


@dataclass(frozen=True)
class Opened:
    """A worker has opened its job."""


@dataclass(frozen=True)
class Died:
    """A worker is no more; `is_blamed` is false where that was surely not for what it did."""

    how: str
    is_blamed: bool = True


News: TypeAlias = int | Shard | Opened | Died | BaseException
"""What is heard of a worker: rows that are done, a shard, that it opened its job, or how it ended."""


class Worker(Protocol):
    """The handle of a worker, which opens its job once and then does one order at a time."""

    def give(self, order: Order) -> None:
        """Send an order; one who died meanwhile is told by `Crew.hear`."""

    def end(self) -> None:
        """End it at once, whatever it is at."""


class Crew(Protocol):
    """Where workers are from."""

    def size(self, job: Job) -> int:
        """Return how many workers there are to be, at most."""

    def hire(self, job: Job, number: int) -> Worker:
        """Start a worker; `number` counts those that were hired."""

    def hear(self, workers: Sequence[Worker], timeout_s: float | None) -> Iterator[tuple[Worker, News]]:
        """Yield what there is to hear of some workers, and nothing where nothing came in time."""


@dataclass
class _Busy:
    order: Order
    since: float | None
    rows: int = 0


@dataclass
class _Shift:
    """The state of one run: who is at what, what comes again, what was put aside."""

    crew: Crew
    job: Job
    strikes: Strikes
    on_failed: Literal["stop", "count"]
    unit_timeout_s: float | None
    busy: dict[Worker, _Busy] = field(default_factory=dict)
    idle: list[Worker] = field(default_factory=list)
    again: deque[Order] = field(default_factory=deque)
    failed: list[Order] = field(default_factory=list)
    hired: int = 0
    never_opened: int = 0

    def hand_out(self, units: Iterator[Unit], size: int) -> None:
        while len(self.busy) < size and (order := self._next(units)) is not None:
            is_open = bool(self.idle)
            worker = self.idle.pop() if is_open else self.crew.hire(self.job, self.hired)
            self.hired += not is_open
            self.busy[worker] = _Busy(order, time.monotonic() if is_open else None)
            worker.give(order)

    def _next(self, units: Iterator[Unit]) -> Order | None:
        for unit in units:
            strikes = self.strikes.against(unit)
            order = Order(unit, row_timeout_s=self._row_timeout_s())
            if len(strikes) < MOST:
                return replace(order, strikes=tuple(strikes))
            self._put_aside(order, strikes)
        return self.again.popleft() if self.again else None

    def _row_timeout_s(self) -> float:
        return min(_ROW_TIMEOUT_S, (self.unit_timeout_s or _ROW_TIMEOUT_S * 10) / _ROWS_OF_UNIT_TIMEOUT)

    def _put_aside(self, order: Order, strikes: Sequence[str]) -> None:
        told = replace(order, strikes=tuple(strikes))
        if self.on_failed == "count" and not order.is_to_count:
            self.again.append(told)
        else:
            self.failed.append(told)

    def listen(self, task: Task) -> Iterator[Shard]:
        for worker, news in self.crew.hear(list(self.busy), self._patience()):
            at = self.busy[worker]
            if isinstance(news, int):
                at.rows += news
                task.advance(news)
            elif isinstance(news, Opened):
                at.since, self.never_opened = time.monotonic(), 0
            elif isinstance(news, Shard):
                self.idle.append(worker)
                del self.busy[worker]
                self.strikes.clear(at.order.unit)
                yield news
            elif isinstance(news, Died):
                self._lose(worker, news, task)
            else:
                raise news
        now = time.monotonic()
        for worker, at in list(self.busy.items()):
            limit_s = self._limit_s(at.order)
            if limit_s and at.since and now - at.since > limit_s:
                self._lose(worker, Died(f"it took longer than {limit_s:g} s and was killed"), task)

    def _limit_s(self, order: Order) -> float:
        """Return how long an order may take, 0 for as long as it likes."""
        return (self.unit_timeout_s or 0.0) * (_LONGER if order.strikes else 1)

    def _patience(self) -> float | None:
        """Return for how long nothing may be heard before somebody has taken too long."""
        ends = [at.since + self._limit_s(at.order) for at in self.busy.values() if at.since is not None]
        if not self.unit_timeout_s or len(ends) < len(self.busy):
            return 1.0 if self.unit_timeout_s else None
        return max(0.0, min(ends) - time.monotonic()) + 0.01

    def _lose(self, worker: Worker, news: Died, task: Task) -> None:
        worker.end()
        at = self.busy.pop(worker)
        task.advance(-at.rows)
        if at.since is None and news.is_blamed:
            self._count_unopened(news)
        if at.since is None or not news.is_blamed:
            self.again.append(at.order)
            return
        strikes = self.strikes.add(at.order.unit, news.how)
        if len(strikes) < MOST:
            self.again.append(replace(at.order, strikes=tuple(strikes)))
        else:
            self._put_aside(at.order, strikes)

    def _count_unopened(self, news: Died) -> None:
        self.never_opened += 1
        if self.never_opened >= MOST:
            do = "Give it more memory or fewer --workers; --engine inline shows what goes wrong in one process."
            raise DataError("a worker", expected="to load what the phase needs", found=f"that {news.how}", do=do)

    def end(self) -> None:
        for worker in (*self.busy, *self.idle):
            worker.end()


def done_by(
    crew: Crew,
    job: Job,
    units: Iterable[Unit],
    task: Task,
    *,
    on_failed: Literal["stop", "count"] = "stop",
    unit_timeout_s: float | None = None,
) -> Generator[Shard, None, None]:
    """Yield each unit's shard as soon as a worker has committed it.

    A unit over which two workers died is put aside: at the end, when all others are done, that is an error, or, where
    `on_failed` says so, its rows are read and counted as failed. A unit that takes longer than `unit_timeout_s` seconds
    costs its worker's life as well.
    """
    strikes, waiting = Strikes.of_phase(job.root, job.phase), iter(units)
    shift = _Shift(crew, job, strikes, on_failed, unit_timeout_s)
    size = crew.size(job)
    try:
        shift.hand_out(waiting, size)
        while shift.busy:
            yield from shift.listen(task)
            shift.hand_out(waiting, size)
    finally:
        shift.end()
    if shift.failed:
        raise _too_many_strikes(job, shift.failed)


def _too_many_strikes(job: Job, failed: Sequence[Order]) -> DataError:
    first = failed[0]
    others = f", and {len(failed) - 1} other units" if len(failed) > 1 else ""
    return DataError(
        f"unit {first.unit.index} ({job.source.describe(first.unit)}){others}",
        expected="a worker that lives to finish it",
        found=f"{len(first.strikes)} that did not: {'; '.join(first.strikes)}",
        do="All other units are done. Find out what kills it; then run the same command again with "
        "--failed-units retry, or with --failed-units count to count its rows as failed and go on without them.",
    )


def obey(job: Job, order: Order, do: Doing) -> Shard:
    """Follow an order, as a worker: `do` is the function that the opened job gave."""
    if order.is_to_count:
        return counting(job, order.strikes).open()(order.unit)
    return do(order.unit, guarded(job, order.row_timeout_s) if order.strikes else None)
