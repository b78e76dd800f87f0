"""A unit of work, where its rows come from, and what is known of it when it is finished."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Protocol

import pyarrow as pa

from dfndr.format.manifest import Shard
from dfndr_builders.timings import Spent

__all__ = ["Doing", "Finished", "Source", "Unit"]


@dataclass(frozen=True)
class Unit:
    """One shard's worth of work: what its source understands by [start, stop), and where the result goes.

    `name` and `look` are what its part of a pool is called, and how it looks from outside; "" where all that its rows
    depend on is in the phase's digest.
    """

    index: int
    split: str
    start: int
    stop: int
    name: str = ""
    look: str = ""


class Source(Protocol):
    """Where a job's rows come from; a frozen value that can travel to a worker."""

    def schema(self) -> pa.Schema:
        """Return the schema of the tables that `read` yields."""

    def read(self, unit: Unit) -> Iterator[pa.Table]:
        """Yield a unit's rows, streaming, always the same and in the same order."""

    def describe(self, unit: Unit) -> str:
        """Return what a person would look for to find the unit's rows."""


class Doing(Protocol):
    """What a job opens into: it does a unit, of which another source than the job's own may give the rows."""

    def __call__(self, unit: Unit, source: Source | None = None) -> Shard:
        """Return the unit's shard, committed."""


@dataclass(frozen=True)
class Finished(Shard):
    """A shard, and what its making took, for who asked for it: that is in no file."""

    spent: Spent = field(default_factory=Spent)

    def record(self) -> Shard:
        """Return the shard alone."""
        return Shard(**{one.name: getattr(self, one.name) for one in fields(Shard)})
