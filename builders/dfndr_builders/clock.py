"""Where the seconds of a unit go, as the thread that runs the models sees it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from dfndr.encoder import Encoder
from dfndr.format.manifest import Shard
from dfndr.looks import Looks
from dfndr_builders.timings import Spent
from dfndr_builders.units import Finished

__all__ = ["Clock"]

_Part = TypeVar("_Part")


class Clock:
    """Begins when it is made; `encoders` are those whose own seconds are told apart.

    `looks` are of those who are shown pictures before rows are given: waiting for these is no waiting for rows.
    """

    def __init__(self, encoders: Sequence[Encoder], looks: Sequence[Looks[Any]] = ()) -> None:
        self._encoders = tuple(dict.fromkeys(encoders))
        shown = [one.looks for one in self._encoders]
        self._looks = [one for one in looks if one not in shown]
        self._rows = self._files = 0.0
        self._before = self._sums()

    def rows(self, parts: Iterator[_Part]) -> Iterator[_Part]:
        """Yield what is given, and count how long it was waited for."""
        began = time.perf_counter()
        for part in parts:
            self._rows += time.perf_counter() - began
            yield part
            began = time.perf_counter()
        self._rows += time.perf_counter() - began

    def told(self, writing: Future[Shard]) -> Finished:
        """Wait until a shard is committed, and return it with where the time went since the one before."""
        began = time.perf_counter()
        shard = writing.result()
        self._files += time.perf_counter() - began
        now = self._sums()
        whole, models, pictures, looked, rows, files = (
            one - before for one, before in zip(now, self._before, strict=True)
        )
        self._before = now
        blamed = min(looked, rows)  # rows that were waited for may have waited for pictures themselves
        rest = whole - models - pictures - rows - files
        return Finished(**vars(shard), spent=Spent(rows - blamed, pictures + blamed, models, files, max(0.0, rest)))

    def _sums(self) -> tuple[float, ...]:
        return (
            time.perf_counter(),
            sum(one.passes.seconds for one in self._encoders),
            sum(one.waited for one in self._encoders),
            sum(one.waited for one in self._looks),
            self._rows,
            self._files,
        )
