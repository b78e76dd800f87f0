"""The engine of one machine: processes of their own, one for each share of the cores or for each GPU.

Each worker has a pipe of its own, so one that is killed holds nothing that another waits for, and its end is heard at
once. A worker whose driver is gone ends itself.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import ClassVar, Literal

from dfndr.format.manifest import Shard
from dfndr.passes import cores
from dfndr.progress import Task
from dfndr_builders.engines.base import gpus
from dfndr_builders.engines.crew import Died, News, Opened, Order, Worker, done_by, obey
from dfndr_builders.work import Job, Unit

__all__ = ["Processes", "told"]

_LOADED, _MODELS = ["dfndr_builders.engines.crew"], ["open_clip"]
"""What a server of forks has loaded before it starts workers from itself, and what for models: seconds, paid once."""


@dataclass(frozen=True)
class Processes:
    """`workers` is 0 for as many as there are GPUs, or cores for the recipe's threads."""

    shared: ClassVar[bool] = False
    leads: ClassVar[bool] = True
    workers: int = 0
    on_failed: Literal["stop", "count"] = "stop"
    unit_timeout_s: float | None = None

    def run(self, job: Job, units: Iterable[Unit], task: Task) -> Generator[Shard, None, None]:
        """Yield each unit's shard as soon as one of the workers has committed it."""
        return done_by(self, job, units, task, on_failed=self.on_failed, unit_timeout_s=self.unit_timeout_s)

    def size(self, job: Job) -> int:
        """Return how many workers there are to be."""
        return self.workers or len(gpus(job.device)) or max(1, cores() // max(1, job.threads))

    def hire(self, job: Job, number: int) -> Worker:
        """Start a process, with a GPU of its own where there are some."""
        names = gpus(job.device)
        return _Process(job, names[number % len(names)] if names else "")

    def hear(self, workers: Sequence[Worker], timeout_s: float | None) -> Iterator[tuple[Worker, News]]:
        """Yield a piece of news of each worker that has sent some, or ended."""
        by_pipe = {worker.pipe: worker for worker in workers if isinstance(worker, _Process)}
        for pipe in connection.wait(list(by_pipe), timeout_s):
            worker = by_pipe[pipe]  # type: ignore[index]
            try:
                yield worker, worker.pipe.recv()
            except (EOFError, OSError):
                yield worker, Died(worker.how_it_ended())


class _Process:
    """A worker, as its driver sees it."""

    def __init__(self, job: Job, gpu: str) -> None:
        context = _context(bool(job.encoders))
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(job, theirs, gpu, dict(os.environ)), daemon=True)
        self._process.start()
        theirs.close()

    def give(self, order: Order) -> None:
        with suppress(OSError):  # its end is heard from the pipe
            self.pipe.send(order)

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()

    def how_it_ended(self) -> str:
        self._process.join(timeout=10)
        status = self._process.exitcode
        if status is None or status >= 0:
            return f"it ended with status {status}"
        return f"it was killed by {signal.Signals(-status).name}"


def _context(with_models: bool) -> ForkServerContext | SpawnContext:
    """Return where processes are from: never forks of this one, which may hold threads, locks and a GPU."""
    if sys.platform != "linux":
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([*_MODELS, *_LOADED] if with_models else _LOADED)  # heard before it starts
    return context


def _serve(job: Job, pipe: connection.Connection, gpu: str, environment: dict[str, str]) -> None:
    """Be a worker: open the job once, then do what the pipe says until it is closed."""
    os.environ.clear()
    os.environ.update(environment)  # that of the driver now, and not of when the server of forks began
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides
    threading.Thread(target=_end_with_driver, daemon=True).start()
    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before CUDA is first asked for anything
    try:
        do = job.open(pipe.send)
        answer: News = Opened()
    except Exception as error:  # whatever it is, it is raised in the driver
        answer = told(error)
    while True:
        with suppress(OSError):
            pipe.send(answer)
        try:
            order = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = obey(job, order, do)
        except Exception as error:
            answer = told(error)


def told(error: Exception) -> Exception:
    """Return an error as it can be sent to another process: with its traceback as a note, and whole."""
    from multiprocessing.reduction import ForkingPickler

    lines = "".join(traceback.format_exception(error))
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}\n{lines}")
    error.add_note(f"In a worker:\n{lines}")
    return error


def _end_with_driver() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
