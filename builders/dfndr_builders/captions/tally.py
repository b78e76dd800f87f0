"""What asking a server came to: requests, tokens, time, and what that costs; kept beside the phases of a build.

Each worker keeps a file of its own and writes it anew after every batch, so nothing that was paid for is forgotten when
a build is killed. No part of the dataset: a server may be slow or fail, and the captions are the same.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from dfndr import storage
from dfndr.errors import DfndrError

__all__ = ["SPENDING", "Ledger", "Prices", "Tally", "read_tallies", "told_of"]

SPENDING = "phases/asked"
"""Where tallies are below the output folder."""

_MILLION, _MOST = 1e6, 1e18


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost, in whatever money; zero where nothing is known or to be paid."""

    tokens_in: float = 0.0
    tokens_out: float = 0.0


@dataclass
class Tally:
    """Counts of what was asked and answered; retries are among the requests, seconds are those of each worker."""

    pictures: int = 0
    requests: int = 0
    retries: int = 0
    unanswered: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    cost: float = 0.0

    def priced(self, prices: Prices) -> Tally:
        """Return the counts with what the tokens cost."""
        cost = (self.tokens_in * prices.tokens_in + self.tokens_out * prices.tokens_out) / _MILLION
        return replace(self, cost=cost, seconds=round(self.seconds, 3))

    def plus(self, other: Tally) -> Tally:
        """Return the sums."""
        return Tally(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(Tally)))

    def __str__(self) -> str:
        rate = self.pictures / self.seconds if self.seconds else 0.0
        told = [
            f"{self.pictures:,} pictures, {rate:.3g} a second by each worker",
            f"{self.requests:,} requests, {self.retries:,} of them again",
            f"{self.tokens_in:,} tokens in and {self.tokens_out:,} out",
        ]
        told += [f"{self.unanswered:,} pictures without an answer"] if self.unanswered else []
        return "; ".join([*told, f"cost {self.cost:,.4g}"] if self.cost else told)


@dataclass(frozen=True)
class Ledger:
    """Where the tallies of a build are."""

    folder: str

    def new_page(self, name: str) -> str:
        """Return the name of a file for one worker's tally of one captioner."""
        return f"{name}-{uuid.uuid4().hex[:8]}.json"

    def write(self, page: str, tally: Tally) -> None:
        """Write a worker's tally in place of what it wrote before."""
        storage.put(self.folder, page, json.dumps(asdict(tally)).encode())


def read_tallies(folder: str) -> Mapping[str, Tally]:
    """Return what was asked of each captioner's server, over all workers and runs; what cannot be read is left out."""
    found: dict[str, Tally] = {}
    try:
        pages = sorted(storage.list_files(folder)) if storage.exists(folder) else []
    except DfndrError:
        return found
    for page in pages:
        try:
            tally = _tally(json.loads(storage.read_bytes(storage.join(folder, page))))
        except (DfndrError, ValueError, RecursionError):
            continue
        name = page.rpartition("-")[0]
        found[name] = tally.plus(found.get(name, Tally()))
    return found


def told_of(tallies: Mapping[str, Tally]) -> str:
    """Return what was asked in all, in words; nothing where nothing was."""
    return "; ".join(f"{name}: {tally}" for name, tally in tallies.items())


def _tally(given: object) -> Tally:
    """Return a tally from JSON; raises ValueError."""
    whole: dict[str, Any] = {}
    for one in fields(Tally):
        value: object = given.get(one.name) if isinstance(given, dict) else None
        if not isinstance(value, int | float) or not 0 <= value < _MOST:
            raise ValueError(f"no tally: {one.name}")
        whole[one.name] = value
    return Tally(**whole)
