"""The engine of a Ray cluster, or of this machine by Ray: one actor for each GPU, or for each share of the cores.

Actors, and not Ray Data, which begins a unit that kills its worker again without end: here it costs the unit a strike.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from dfndr.errors import DataError, MissingExtra, UsageError
from dfndr.format.manifest import Shard
from dfndr.passes import cores
from dfndr.progress import Task
from dfndr_builders.engines.base import gpus
from dfndr_builders.engines.crew import Died, News, Opened, Order, Worker, done_by, obey
from dfndr_builders.engines.processes import told
from dfndr_builders.work import Job, Unit

__all__ = ["OnRay"]

_STORE_BYTES = 100 * 1024 * 1024
"""Of a cluster that is started here: shards' records pass through it, and no rows."""


@dataclass(frozen=True)
class OnRay:
    """`address` is a cluster's, or "" to start Ray on this machine; `workers` is 0 for as many as it has room for."""

    shared: ClassVar[bool] = False
    leads: ClassVar[bool] = True
    workers: int = 0
    address: str = ""
    on_failed: Literal["stop", "count"] = "stop"
    unit_timeout_s: float | None = None

    def run(self, job: Job, units: Iterable[Unit], task: Task) -> Generator[Shard, None, None]:
        """Yield each unit's shard as soon as one of the actors has committed it."""
        return done_by(self, job, units, task, on_failed=self.on_failed, unit_timeout_s=self.unit_timeout_s)

    def size(self, job: Job) -> int:
        """Return how many actors there are to be; raises UsageError where the cluster has no room for them."""
        room = self._room(self._connected(job), job)
        if room < max(1, self.workers):
            each = "a GPU" if _on_gpus(job) else f"{job.threads} cores"
            do = "Ask for fewer --workers, or wait until the cluster has more nodes."
            expected = f"room for {max(1, self.workers)} workers with {each} each"
            raise UsageError(f"Ray at {self._place()}", expected=expected, found=f"for {room}", do=do)
        return self.workers or room

    def hire(self, job: Job, number: int) -> Worker:
        """Start an actor."""
        ray = self._connected(job)
        actor = ray.remote(max_restarts=0, max_task_retries=0, **_needs(job))(_Actor)
        return _Handle(ray, actor.remote(job))

    def hear(self, workers: Sequence[Worker], timeout_s: float | None) -> Iterator[tuple[Worker, News]]:
        """Yield what an actor gave, or how it died."""
        import ray

        by_ref = {worker.waited[0]: worker for worker in workers if isinstance(worker, _Handle) and worker.waited}
        for ref in ray.wait(list(by_ref), num_returns=1, timeout=timeout_s)[0]:
            by_ref[ref].waited.popleft()
            try:
                yield by_ref[ref], ray.get(ref)
            except ray.exceptions.RayError as error:
                how = f"its actor died: {str(error).strip().splitlines()[0]}"
                yield by_ref[ref], Died(how, is_blamed=not getattr(error, "preempted", False))

    def _connected(self, job: Job) -> Any:  # noqa: ANN401  the module
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError as error:
            raise MissingExtra.of("ray", "ray") from error
        if ray.is_initialized():
            return ray
        logging.getLogger("ray").setLevel(logging.ERROR)
        here: dict[str, Any] = {
            "num_cpus": max(cores(), self.workers * job.threads),
            "object_store_memory": _STORE_BYTES,
            "include_dashboard": False,
        }
        for tries_left in (2, 1, 0):  # Ray gives a node half a minute to start, which is short on a busy machine
            try:
                ray.init(
                    self.address or "local",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    **({} if self.address else here),
                )
                break
            except Exception as error:  # what Ray raises here is of no one kind
                ray.shutdown()
                if not tries_left:
                    said = (str(error).splitlines() or [type(error).__name__])[0]
                    do = "Check the address, and `ray status`; or take --engine processes, which needs no Ray."
                    raise DataError("Ray", expected=f"to reach it at {self._place()}", found=said, do=do) from error
        return ray

    def _place(self) -> str:
        return self.address or "this machine"

    def _room(self, ray: Any, job: Job) -> int:  # noqa: ANN401  the module
        has, needs = ray.cluster_resources(), _needs(job)
        names = {"num_cpus": "CPU", "num_gpus": "GPU"}
        return min(int(has.get(names[key], 0) // count) for key, count in needs.items() if count)


def _on_gpus(job: Job) -> bool:
    return job.device.startswith("cuda") or bool(gpus(job.device))


def _needs(job: Job) -> dict[str, int]:
    return {"num_cpus": 1, "num_gpus": 1} if _on_gpus(job) else {"num_cpus": max(1, job.threads), "num_gpus": 0}


@dataclass(eq=False)
class _Handle:
    """An actor, as its driver sees it: what it was asked for and has not given, in order."""

    ray: Any
    actor: Any
    waited: deque[Any] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.waited.append(self.actor.open.remote())

    def give(self, order: Order) -> None:
        self.waited.append(self.actor.do.remote(order))

    def end(self) -> None:
        self.ray.kill(self.actor)


class _Actor:
    """A worker: opens the job once, then does what it is told; an error is what it gives, and no end of it."""

    def __init__(self, job: Job) -> None:
        os.environ.pop("OMP_NUM_THREADS", None)  # Ray sets it; threads are the recipe's matter
        self._job = job

    def open(self) -> News:
        try:
            self._do = self._job.open()
        except Exception as error:
            return told(error)
        return Opened()

    def do(self, order: Order) -> News:
        try:
            return obey(self._job, order, self._do)
        except Exception as error:
            return told(error)
