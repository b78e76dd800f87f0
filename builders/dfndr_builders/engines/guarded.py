"""Trying a unit again that cost a worker its life: each row is looked at in a process of its own first.

That process does with a row what a job does with it before any model runs, and decodes its picture. It may die of it,
or hang: then that row has the problem `row_failed`, and all others are done as ever.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from types import TracebackType
from typing import Self

import pyarrow as pa

from dfndr.errors import DataError
from dfndr.images import BadImage, Picture
from dfndr_builders.stage import Stage, Step, good_rows, mark_problems, parted
from dfndr_builders.work import Job, Source, Unit

__all__ = ["Guarded", "guarded", "serve"]

_TRIES = 2
"""So many processes must end over a row: one may be killed by chance."""
_SHORT_SIDE = 224
_LATE, _BROKEN = 1, 3
"""The status of a process that was held up, which is the watchdog's, and of one that failed in another way."""


@dataclass(frozen=True)
class Guarded:
    """The rows of another source, those marked that `stage` cannot be shown; `limit_s` is how long a row may take."""

    source: Source
    stage: Stage
    limit_s: float

    def schema(self) -> pa.Schema:
        """Return the other source's schema."""
        return self.source.schema()

    def describe(self, unit: Unit) -> str:
        """Return what the other source calls the unit's rows."""
        return self.source.describe(unit)

    def read(self, unit: Unit) -> Iterator[pa.Table]:
        """Yield the other source's tables; raises DataError where no process can be started."""
        with _Looker(self.stage, self.limit_s) as looker:
            for table in self.source.read(unit):
                harms = {row: looker.harm(table.slice(row, 1)) for row in good_rows(table)}
                yield mark_problems(table, {row: ("row_failed", how) for row, how in harms.items() if how})


def guarded(job: Job, limit_s: float) -> Guarded:
    """Return the source of a job, guarded."""
    return Guarded(job.source, parted(job.stage)[0], limit_s)


class _Looker:
    """The process that looks at rows, begun anew when it ended; for a `with`."""

    def __init__(self, stage: Stage, limit_s: float) -> None:
        self._stage, self._limit_s = stage, limit_s
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: connection.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def harm(self, row: pa.Table) -> str:
        """Return what a row did to every process that looked at it, "" where one lived."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, row.schema) as stream:
            stream.write_table(row)
        told = []
        for _ in range(_TRIES):
            pipe = self._pipe or self._started()
            try:
                pipe.send_bytes(sink.getvalue())
                pipe.recv_bytes()
            except (EOFError, OSError):
                told.append(self._end())
            else:
                return ""
        return f"looking at it alone, {'; then '.join(told)}"

    def _started(self) -> connection.Connection:
        ours, theirs = connection.Pipe()
        code = f"from dfndr_builders.engines.guarded import serve; serve({theirs.fileno()}, {self._limit_s})"
        paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
        nothing = subprocess.DEVNULL
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=[theirs.fileno()],
            env={**os.environ, **paths},
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
        )
        theirs.close()
        self._pipe = ours
        try:
            ours.send(self._stage)
            ours.recv_bytes()
        except (EOFError, OSError) as error:
            do = "Give it more memory or fewer --workers; --engine inline shows what goes wrong in one process."
            where, expected = "the process that looks at rows", "to load what it needs"
            raise DataError(where, expected=expected, found=f"that {self._end()}", do=do) from error
        return ours

    def _end(self) -> str:
        """End the process, if it did not end by itself, and return how it ended."""
        if self._process is None or self._pipe is None:
            return ""
        self._pipe.close()  # which one that waits for rows ends by
        try:
            status = self._process.wait(timeout=2 * self._limit_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._process = self._pipe = None
        if status == _LATE:
            return f"a process took longer than {self._limit_s:g} s"
        if status < 0:
            return f"a process was killed by {signal.Signals(-status).name}"
        return f"a process ended with status {status}"


def serve(handle: int, limit_s: float) -> None:
    """Be the process: look at each row that comes by the pipe with this file descriptor, and say when that is done.

    A watchdog of the system's own ends it where a row takes too long, whatever holds the interpreter.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the worker decides
    pipe = connection.Connection(handle)
    step = pipe.recv().open()
    _decode(b"")  # what decodes is loaded before a row is timed
    pipe.send_bytes(b"ready")
    with open(os.devnull, "w") as nowhere:
        while True:
            try:
                given = pipe.recv_bytes()
            except (EOFError, OSError):
                return
            faulthandler.dump_traceback_later(limit_s, exit=True, file=nowhere)
            try:
                _look(step, pa.ipc.open_stream(given).read_all())
            except MemoryError:
                os._exit(_BROKEN)
            faulthandler.cancel_dump_traceback_later()
            pipe.send_bytes(b"done")


def _look(step: Step, row: pa.Table) -> None:
    with suppress(Exception):  # what a row makes it raise is raised, or counted, by the worker
        step(row)
    _decode(row["image"][0].as_py())


def _decode(image: bytes | None) -> None:
    """Decode a picture in the ways that encoders do."""
    picture = Picture(image or b"")
    for short_side in (None, _SHORT_SIDE):
        with suppress(BadImage):
            picture.pixels(short_side)
