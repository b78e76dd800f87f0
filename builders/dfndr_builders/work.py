"""The unit of work: a Job opens into a function Unit -> Shard, and whoever runs it, the bytes are the same.

`todo` = planned - recorded: a unit is done when its record is there, the files it names have their sizes, and its part
of a pool looks as it did. The record is written after the files, so a killed run loses at most the units it was in the
middle of.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dfndr import storage
from dfndr.encoder import open_encoder
from dfndr.errors import DataError, FormatError
from dfndr.format.manifest import Shard
from dfndr.format.schema import Space
from dfndr.format.shard import rows_path, vectors_path, write_rows, write_vectors
from dfndr.models import EncoderSpec
from dfndr.storage import Stored
from dfndr_builders.ahead import Looking, ahead
from dfndr_builders.clock import Clock
from dfndr_builders.origins import Content, Origin, read_origin, write_origin
from dfndr_builders.stage import HAPPENED, Stage, encoders_shown, parted
from dfndr_builders.timings import Spent
from dfndr_builders.vectors import vectors_of

__all__ = ["Doing", "Finished", "Job", "Source", "Unit", "record_of", "recorded", "records_folder"]

HUB_FEATURES = {"thumbnail": {"_type": "Image"}}
"""What the Hub's viewer and `datasets.load_dataset` take from the Parquet's metadata, where the column is there."""

_AT_ONCE = 16
_BATCH_ROWS = 256
_BATCH_BYTES = 64_000_000
_PROBLEM_COLUMNS = ("uid", "key", "problem", "detail", "source")


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


@dataclass(frozen=True)
class Job:
    """Read -> stages -> commit. `phase` is the digest of all that its bytes depend on; records live under it.

    `device` and `threads` say what one worker takes: a GPU of the device, or so many cores.
    """

    root: str
    phase: str
    source: Source
    stage: Stage
    spaces: tuple[Space, ...] = ()
    encoders: tuple[EncoderSpec, ...] = ()
    device: str = "cpu"
    threads: int = 1

    def schema(self) -> pa.Schema:
        """Return the schema of the rows that are stored."""
        out = self.stage.schema(self.source.schema())
        hidden = {"image", "problem", "detail", HAPPENED.name, *(space.name for space in self.spaces)}
        features = json.dumps({"info": {"features": HUB_FEATURES}})
        return pa.schema([field for field in out if field.name not in hidden], {"huggingface": features})

    def open(self, on_rows: Callable[[int], None] = lambda count: None) -> Doing:
        """Load what is heavy, once per worker, and return the function that does one unit."""
        light, heavy = parted(self.stage)
        measure, step, kept = light.open(), heavy.open(), self.schema()
        encoders = [open_encoder(spec) for spec in self.encoders]
        shown = [open_encoder(spec) for spec in encoders_shown(self.stage)]

        def ready(tables: Iterator[pa.Table], unit: Unit, looking: Looking) -> Iterator[pa.Table]:
            for given in _rebatched(tables):
                table = _same_rows(given, measure(given), unit)
                looking.look(table)
                yield table

        def run(unit: Unit, source: Source | None = None) -> Shard:
            if (same := self._unchanged(unit)) is not None:
                on_rows(same.rows_in)
                return same
            clock, content, given = Clock(encoders), Content(), (source or self.source).read(unit)
            rows = content.of(given) if unit.look else given
            with Looking(shown) as looking, ahead(ready(rows, unit, looking)) as tables:
                shard = through(unit, tables, clock)
            if unit.look:
                write_origin(self._records, unit.index, Origin(unit.name, unit.look, content.sha256()))
            return shard

        def through(unit: Unit, tables_in: Iterator[pa.Table], clock: Clock) -> Shard:
            rows_in, happened = 0, Counter[str]()
            tables: list[pa.Table] = [kept.empty_table()]
            problems: list[pa.Table] = []
            blocks: dict[Space, list[npt.NDArray[np.floating[Any]]]] = {space: [] for space in self.spaces}
            for given in clock.rows(tables_in):
                done = _same_rows(given, step(given), unit)
                rows_in += len(given)
                is_bad = pc.is_valid(done["problem"])
                problems.append(
                    done.filter(is_bad).select([name for name in _PROBLEM_COLUMNS if name in done.column_names])
                )
                good = done.filter(pc.invert(is_bad))
                if HAPPENED.name in good.column_names:
                    happened.update(pc.list_flatten(good[HAPPENED.name]).to_pylist())
                tables.append(good.select(kept.names).cast(kept))
                for space, found in blocks.items():
                    found.append(vectors_of(good, space))
                on_rows(len(given))
            bad = pa.concat_tables(problems) if problems else None
            with clock.files():
                shard = self._commit(unit, rows_in, pa.concat_tables(tables), bad, blocks, happened)
            return Finished(**vars(shard), spent=clock.spent())

        return run

    @property
    def _records(self) -> str:
        return records_folder(self.root, self.phase)

    def _unchanged(self, unit: Unit) -> Shard | None:
        """Return the shard of a unit that was done, where its part of the pool looks changed and holds what it held."""
        known = read_origin(self._records, unit.index) if unit.look else None
        shard = None if known is None else _record(self.root, self.phase, unit)
        if known is None or shard is None:
            return None
        content = Content()
        for _ in content.of(self.source.read(unit)):
            pass
        if content.sha256() != known.content:
            return None
        write_origin(self._records, unit.index, Origin(unit.name, unit.look, known.content))
        return shard

    def _commit(
        self,
        unit: Unit,
        rows_in: int,
        rows: pa.Table,
        problems: pa.Table | None,
        blocks: dict[Space, list[npt.NDArray[np.floating[Any]]]],
        happened: Mapping[str, int],
    ) -> Shard:
        files: dict[str, Stored] = {"rows": write_rows(self.root, rows_path(unit.split, unit.index), rows)}
        for space, found in blocks.items():
            files[space.name] = write_vectors(self.root, vectors_path(space, unit.split, unit.index), space, found)
        failed: dict[str, int] = {}
        if problems is not None and len(problems):
            problems = problems.rename_columns({"problem": "reason"})
            files["problems"] = write_rows(self.root, rows_path(unit.split, unit.index, "problems"), problems)
            counts = problems["reason"].value_counts().to_pylist()
            failed = dict(sorted((entry["values"], entry["counts"]) for entry in counts))
        notes = {what: str(count) for what, count in sorted(happened.items())}
        notes |= {
            f"{spec.name} {key}": note for spec in self.encoders for key, note in open_encoder(spec).notes.items()
        }
        shard = Shard(unit.index, unit.split, rows_in, len(rows), files, failed=failed, notes=notes)
        text = json.dumps(shard.to_json(), indent=1, sort_keys=True) + "\n"
        storage.put(self._records, f"{unit.index:05d}.json", text.encode())
        return shard


def records_folder(root: str, phase: str) -> str:
    """Return where a phase's shard records are."""
    return storage.join(root, "shards", phase[:12])


def recorded(root: str, phase: str, units: Sequence[Unit]) -> dict[int, Shard]:
    """Return the shards that are done: a whole record, and every file it names there with its size."""
    folder = records_folder(root, phase)
    names = set(storage.list_files(folder)) if storage.exists(folder) else set()
    there = [unit for unit in units if f"{unit.index:05d}.json" in names]
    if not storage.is_remote(root):
        found = [record_of(root, phase, unit) for unit in there]
    else:  # a request for each record, and the sizes from a list: a request for each file would take hours
        sizes = storage.sizes_below(root) if there else {}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = list(pool.map(lambda unit: record_of(root, phase, unit, sizes=sizes), there))
    return {unit.index: shard for unit, shard in zip(there, found, strict=True) if shard is not None}


def record_of(root: str, phase: str, unit: Unit, *, sizes: Mapping[str, int] | None = None) -> Shard | None:
    """Return a unit's shard where it is done, of a pool that looks as it did, None where it is not.

    `sizes` are those of the files below the root, where they are known.
    """
    shard = _record(root, phase, unit, sizes)
    if shard is None or not unit.look:
        return shard
    origin = read_origin(records_folder(root, phase), unit.index)
    return shard if origin is not None and (origin.name, origin.look) == (unit.name, unit.look) else None


def _record(root: str, phase: str, unit: Unit, sizes: Mapping[str, int] | None = None) -> Shard | None:
    path = storage.join(records_folder(root, phase), f"{unit.index:05d}.json")
    if sizes is None and not storage.exists(path):
        return None
    try:
        shard = Shard.from_json(json.loads(storage.read_bytes(path)), path)
    except (ValueError, RecursionError, FormatError):
        return None  # a damaged record is no record: the unit is done again
    is_this = (shard.index, shard.split) == (unit.index, unit.split)
    return shard if is_this and all(_is_there(root, stored, sizes) for stored in shard.files.values()) else None


def _is_there(root: str, stored: Stored, sizes: Mapping[str, int] | None) -> bool:
    if sizes is not None:
        return sizes.get(stored.path) == stored.size_bytes
    path = storage.join(root, stored.path)
    return storage.exists(path) and storage.size_of(path) == stored.size_bytes


def _same_rows(given: pa.Table, found: pa.Table, unit: Unit) -> pa.Table:
    if found["uid"] != given["uid"]:
        do = "Report this: a stage broke the second law."
        raise DataError(f"unit {unit.index}", expected="every row, in order", found="other rows", do=do)
    return found


def _rebatched(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Join small tables up to a batch's worth of rows or bytes, so that encoders run full and memory stays flat."""
    waiting: list[pa.Table] = []
    for table in tables:
        full = sum(map(len, waiting)) + len(table) > _BATCH_ROWS
        if waiting and (full or sum(part.nbytes for part in waiting) > _BATCH_BYTES):
            yield pa.concat_tables(waiting)
            waiting = []
        if len(table):
            waiting.append(table)
    if waiting:
        yield pa.concat_tables(waiting)
