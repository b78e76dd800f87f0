"""Where the seconds of a unit go, as the thread that runs the models sees it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from dfndr.encoder import Encoder
from dfndr_builders.timings import Spent

__all__ = ["Clock"]


class Clock:
    """Begins when it is made; `encoders` are those whose own seconds are told apart."""

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        self._encoders = tuple(dict.fromkeys(encoders))
        self._before = self._of_encoders()
        self._began = time.perf_counter()
        self._rows = self._files = 0.0

    def rows(self, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """Yield tables, and count how long they were waited for."""
        began = time.perf_counter()
        for table in tables:
            self._rows += time.perf_counter() - began
            yield table
            began = time.perf_counter()
        self._rows += time.perf_counter() - began

    @contextmanager
    def files(self) -> Iterator[None]:
        """Count the time that files take to be written."""
        began = time.perf_counter()
        yield
        self._files += time.perf_counter() - began

    def spent(self) -> Spent:
        """Return where the time since the beginning went."""
        whole = time.perf_counter() - self._began
        models, pictures = (now - before for now, before in zip(self._of_encoders(), self._before, strict=True))
        rest = whole - models - pictures - self._rows - self._files
        return Spent(self._rows, pictures, models, self._files, max(0.0, rest))

    def _of_encoders(self) -> tuple[float, float]:
        return sum(one.seconds for one in self._encoders), sum(one.waited for one in self._encoders)
