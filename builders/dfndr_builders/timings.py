"""How long each phase took, kept beside the phases; no part of the dataset, whose manifest holds no time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields

from dfndr import storage

__all__ = ["Spent", "Timing", "Timings"]

_NAME = "timings.jsonl"


@dataclass(frozen=True)
class Spent:
    """Where the seconds of units went, one after the other, as who does them saw it.

    `rows`: waiting until rows were read and measured; `pictures`: until pictures were decoded; `models`: encoders
    running; `files`: writing; `rest`: all else. Reading and decoding go on meanwhile, so what is waited for is what is
    slower than the models.
    """

    rows: float = 0.0
    pictures: float = 0.0
    models: float = 0.0
    files: float = 0.0
    rest: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    @property
    def whole(self) -> float:
        """All seconds."""
        return float(sum(asdict(self).values()))

    def in_words(self) -> str:
        """Return the share of each, the largest first: the first is the bottleneck; "" where no time was spent."""
        if not self.whole:
            return ""
        shares = sorted(((value / self.whole, _WORDS[name]) for name, value in asdict(self).items()), reverse=True)
        told = ", ".join(f"{words} {share:.0%}" for share, words in shares if share >= 0.005)
        return f"{told} of {self.whole:.1f} s"


_WORDS = {
    "rows": "waiting for rows",
    "pictures": "waiting for pictures",
    "models": "encoders running",
    "files": "writing files",
    "rest": "all else",
}


@dataclass
class Timing:
    """One piece of work: which phase, over how many rows, in how many units; what was not done is not written down."""

    phase: str
    digest: str
    rows: int = 0
    units: int = 1
    seconds: float = field(default=0.0, init=False)
    spent: Spent = field(default_factory=Spent, init=False)


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
            line = json.dumps(_told(timing)) + "\n"
            storage.put(self.root, _NAME, self._written() + line.encode())

    def _written(self) -> bytes:
        path = storage.join(self.root, _NAME)
        return storage.read_bytes(path) if storage.exists(path) else b""


def _told(timing: Timing) -> dict[str, object]:
    spent = {name: round(value, 3) for name, value in asdict(timing.spent).items()}
    return {name: value for name, value in vars(timing).items() if name != "spent"} | (
        {"spent": spent} if timing.spent.whole else {}
    )
