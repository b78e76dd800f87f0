"""How a job's units are done: each is read while the one before it runs through the models, and written meanwhile.

Nothing here changes a byte: what a unit gives is the same alone and in a row of others.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dfndr.encoder import Encoder
from dfndr.errors import DataError
from dfndr.format.manifest import Shard
from dfndr.format.schema import Space
from dfndr.looks import Looks
from dfndr_builders.ahead import Looking, ahead
from dfndr_builders.clock import Clock
from dfndr_builders.origins import Content
from dfndr_builders.stage import HAPPENED, Step
from dfndr_builders.units import Source, Unit
from dfndr_builders.vectors import vectors_of

__all__ = ["Gathered", "Running"]

_BATCH_ROWS, _FIRST_ROWS = 256, 64
_BATCH_BYTES = 64_000_000
_PROBLEM_COLUMNS = ("uid", "key", "problem", "detail", "source")


@dataclass
class Gathered:
    """What became of a unit's rows: those that are stored, those with a problem, vectors, and what there is to note."""

    kept: pa.Schema
    spaces: Sequence[Space]
    rows_in: int = 0
    tables: list[pa.Table] = field(default_factory=list)
    bad: list[pa.Table] = field(default_factory=list)
    blocks: dict[Space, list[npt.NDArray[np.floating[Any]]]] = field(default_factory=dict)
    happened: Counter[str] = field(default_factory=Counter)
    notes: dict[str, str] = field(default_factory=dict)
    content: str = ""
    """The hash of all that was read, where that is asked for."""

    def add(self, done: pa.Table) -> None:
        """Take a table that went through all stages."""
        self.rows_in += len(done)
        is_bad = pc.is_valid(done["problem"])
        self.bad.append(done.filter(is_bad).select([name for name in _PROBLEM_COLUMNS if name in done.column_names]))
        good = done.filter(pc.invert(is_bad))
        if HAPPENED.name in good.column_names:
            self.happened.update(pc.list_flatten(good[HAPPENED.name]).to_pylist())
        self.tables.append(good.select(self.kept.names).cast(self.kept))
        for space in self.spaces:
            self.blocks.setdefault(space, []).append(vectors_of(good, space))

    @property
    def rows(self) -> pa.Table:
        """The rows that are stored."""
        return pa.concat_tables([self.kept.empty_table(), *self.tables])

    @property
    def problems(self) -> pa.Table | None:
        """The rows that have a problem; None where there is none."""
        bad = pa.concat_tables(self.bad) if self.bad else None
        return bad if bad else None


Write: TypeAlias = Callable[[Unit, Gathered], Shard]


@dataclass(frozen=True)
class _Part:
    """A table of a unit, and its pictures that are looked at; `table` is None after the unit's last.

    Then `content` is the hash of all that was read. `same` is the shard of a unit that need not be done again.
    """

    unit: Unit
    table: pa.Table | None = None
    pictures: Sequence[bytes] = ()
    content: str = ""
    same: Shard | None = None


@dataclass(frozen=True)
class Running:
    """An opened job: called with a unit it does that one, and `each` does any number.

    `light` runs no model and is done ahead, `heavy` follows; `looks` are those of who is shown each row's picture,
    `encoders` those whose seconds are told apart, and `write` commits a unit; `unchanged` finds the
    shard of one whose rows are those it was made from.
    """

    source: Source
    light: Step
    heavy: Step
    looks: Sequence[Looks[Any]]
    encoders: Sequence[Encoder]
    kept: pa.Schema
    spaces: Sequence[Space]
    write: Write
    unchanged: Callable[[Unit], Shard | None]
    on_rows: Callable[[int], None]

    def __call__(self, unit: Unit, source: Source | None = None) -> Shard:
        """Do one unit, of which another source may give the rows."""
        with closing(self.each([unit], source)) as shards:
            return next(shards)

    def each(self, units: Iterable[Unit], source: Source | None = None) -> Generator[Shard, None, None]:
        """Yield each unit's shard, in order, once it is committed.

        While one is gathered, the one before may be written by a thread, and the next one is asked for and read.
        """
        clock, writing = Clock(self.encoders, self.looks), deque[Future[Shard]]()
        with (
            Looking(self.looks) as looking,
            ahead(self._parts(units, source or self.source, looking)) as parts,
            ThreadPoolExecutor(1, thread_name_prefix="dfndr-writing") as writer,
        ):
            gathered = Gathered(self.kept, self.spaces)
            for part in clock.rows(parts):
                if part.table is not None:
                    gathered.add(_same_rows(part.table, self.heavy(part.table), part.unit))
                    looking.forget(part.pictures)
                    self.on_rows(len(part.table))
                if writing and (part.table is None or writing[0].done()):
                    yield clock.told(writing.popleft())
                if part.same is not None:
                    self.on_rows(part.same.rows_in)
                    yield part.same
                elif part.table is None:
                    gathered.notes, gathered.content = self._noted(), part.content
                    writing.append(writer.submit(self.write, part.unit, gathered))
                    gathered = Gathered(self.kept, self.spaces)
            if writing:
                yield clock.told(writing.popleft())

    def _noted(self) -> dict[str, str]:
        return {f"{one.spec.name} {key}": note for one in self.encoders for key, note in one.passes.notes.items()}

    def _parts(self, units: Iterable[Unit], source: Source, looking: Looking) -> Iterator[_Part]:
        for unit in units:
            if (same := self.unchanged(unit)) is not None:
                yield _Part(unit, same=same)
                continue
            content, read = Content(), source.read(unit)
            for given in _rebatched(content.of(read) if unit.look else read):
                pictures = looking.look(given)
                yield _Part(unit, _same_rows(given, self.light(given), unit), pictures)
            yield _Part(unit, content=content.sha256())


def _same_rows(given: pa.Table, found: pa.Table, unit: Unit) -> pa.Table:
    if found["uid"] != given["uid"]:
        do = "Report this: a stage broke the second law."
        raise DataError(f"unit {unit.index}", expected="every row, in order", found="other rows", do=do)
    return found


def _rebatched(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Join small tables up to a batch's worth of rows or bytes, so that encoders run full and memory stays flat.

    The first is a small one, for the models to begin soon.
    """
    waiting: list[pa.Table] = []
    most = _FIRST_ROWS
    for table in tables:
        full = sum(map(len, waiting)) + len(table) > most
        if waiting and (full or sum(part.nbytes for part in waiting) > _BATCH_BYTES):
            yield pa.concat_tables(waiting)
            waiting, most = [], _BATCH_ROWS
        if len(table):
            waiting.append(table)
    if waiting:
        yield pa.concat_tables(waiting)
