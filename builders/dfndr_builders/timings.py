"""How long each phase took, kept beside the phases; no part of the dataset, whose manifest holds no time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dfndr import storage

__all__ = ["Timing", "Timings"]

_NAME = "timings.jsonl"


@dataclass
class Timing:
    """One piece of work: which phase, over how many rows, in how many units; what was not done is not written down."""

    phase: str
    digest: str
    rows: int = 0
    units: int = 1
    seconds: float = field(default=0.0, init=False)


@dataclass(frozen=True)
class Timings:
    """The list of what was done, a line of JSON each, in `phases/` of the output folder."""

    root: str
    is_kept: bool = True
    """False where another process writes it."""

    @contextmanager
    def timed(self, phase: str, digest: str) -> Iterator[Timing]:
        """Time a piece of work, and write it down where it was finished and touched a row."""
        timing, start = Timing(phase, digest), time.monotonic()
        yield timing
        timing.seconds = round(time.monotonic() - start, 3)
        if timing.rows and self.is_kept:
            line = json.dumps(vars(timing)) + "\n"
            storage.put(self.root, _NAME, self._written() + line.encode())

    def _written(self) -> bytes:
        path = storage.join(self.root, _NAME)
        return storage.read_bytes(path) if storage.exists(path) else b""
