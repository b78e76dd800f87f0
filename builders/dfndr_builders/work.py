"""The unit of work: a Job opens into a function Unit -> Shard, and whoever runs it, the bytes are the same.

`todo` = planned - recorded: a unit is done when its record is there, the files it names have their sizes, and its part
of a pool looks as it did. The record is written after the files, so a killed run loses at most the units it was in the
middle of.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from dfndr import storage
from dfndr.encoder import open_encoder
from dfndr.errors import FormatError
from dfndr.format.manifest import Shard
from dfndr.format.schema import Space
from dfndr.format.shard import rows_path, vectors_path, write_rows, write_vectors
from dfndr.models import EncoderSpec
from dfndr.storage import Stored
from dfndr_builders.origins import Content, Origin, read_origin, remove_origin, write_origin
from dfndr_builders.running import Gathered, Running
from dfndr_builders.stage import HAPPENED, Stage, looks_of, parted
from dfndr_builders.units import Doing, Finished, Source, Unit

__all__ = ["Doing", "Finished", "Job", "Source", "Unit", "record_of", "recorded", "records_folder"]

HUB_FEATURES = {"thumbnail": {"_type": "Image"}}
"""What the Hub's viewer and `datasets.load_dataset` take from the Parquet's metadata, where the column is there."""

_AT_ONCE = 16


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

    def open(self, on_rows: Callable[[int], None] = lambda count: None) -> Running:
        """Load what is heavy, once per worker, and return what does units."""
        light, heavy = parted(self.stage)
        return Running(
            self.source,
            light.open(),
            heavy.open(),
            looks_of(self.stage),
            [open_encoder(spec) for spec in self.encoders],
            self.schema(),
            self.spaces,
            self._commit,
            self._unchanged,
            on_rows,
        )

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

    def _commit(self, unit: Unit, given: Gathered) -> Shard:
        if unit.look:  # an old one would vouch for what is now written, were this killed on the way
            remove_origin(self._records, unit.index)
        rows = given.rows
        files: dict[str, Stored] = {"rows": write_rows(self.root, rows_path(unit.split, unit.index), rows)}
        for space in self.spaces:
            blocks = given.blocks.get(space, [])
            files[space.name] = write_vectors(self.root, vectors_path(space, unit.split, unit.index), space, blocks)
        failed: dict[str, int] = {}
        if (problems := given.problems) is not None:
            problems = problems.rename_columns({"problem": "reason"})
            files["problems"] = write_rows(self.root, rows_path(unit.split, unit.index, "problems"), problems)
            counts = problems["reason"].value_counts().to_pylist()
            failed = dict(sorted((entry["values"], entry["counts"]) for entry in counts))
        notes = {what: str(count) for what, count in sorted(given.happened.items())}
        notes |= given.notes
        shard = Shard(unit.index, unit.split, given.rows_in, len(rows), files, failed=failed, notes=notes)
        text = json.dumps(shard.to_json(), indent=1, sort_keys=True) + "\n"
        storage.put(self._records, f"{unit.index:05d}.json", text.encode())
        if unit.look:
            write_origin(self._records, unit.index, Origin(unit.name, unit.look, given.content))
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
