"""Pictures and captions for the rows of an import, by uid, out of a pool that is read once.

What is kept of each picture (its size, sha256, thumbnail) and its text go into a phase of the output folder, a shard
for each of the pool's that is read; so a join that was stopped goes on, and no picture is held for longer than a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dfndr import storage
from dfndr.format.manifest import Shard
from dfndr.format.schema import FAILED
from dfndr.format.shard import parquet_errors
from dfndr.format.uid import UID, pack_uids
from dfndr.progress import Progress
from dfndr_builders.engines.base import Engine
from dfndr_builders.imports.pictured import PICTURE, looking, told_of, with_pictures
from dfndr_builders.phase import phase_digest, run_phase
from dfndr_builders.pools.base import Pool
from dfndr_builders.work import Job, Unit

__all__ = ["Beside", "run_join"]

_TEXT_PROBLEMS = tuple(reason for reason in FAILED if reason.startswith("text_"))


@dataclass(frozen=True)
class _Wanted:
    """The rows of a pool whose uid, or whose key, is among `uids` (sorted, 16 bytes each), under that uid.

    A text that is missing or cannot be stored takes nothing from the picture.
    """

    pool: Pool
    uids: npt.NDArray[np.bytes_]

    def schema(self) -> pa.Schema:
        return self.pool.schema()

    def read(self, unit: Unit) -> Iterator[pa.Table]:
        for table in self.pool.read(self.pool.shards()[unit.start]):
            names = [table[name].to_pylist() for name in ("uid", "key")]
            found = [self._known(uid) or self._known(key) for uid, key in zip(*names, strict=True)]
            rows = [row for row, uid in enumerate(found) if uid]
            if rows:
                wanted = table.take(pa.array(rows, pa.int64()))
                uids = pa.array([found[row] for row in rows], pa.string())
                wanted = wanted.set_column(0, table.schema.field("uid"), uids)
                yield _with_texts_forgiven(wanted)

    def describe(self, unit: Unit) -> str:
        return self.pool.shards()[unit.start].name

    def _known(self, name: str) -> str | None:
        uid = name.rpartition("/")[2].lower()
        if not UID.fullmatch(uid):
            return None
        packed = np.frombuffer(bytes.fromhex(uid), dtype="S16")[0]
        place = int(np.searchsorted(self.uids, packed))
        return uid if place < len(self.uids) and self.uids[place] == packed else None


def _with_texts_forgiven(table: pa.Table) -> pa.Table:
    is_text = pc.fill_null(pc.is_in(table["problem"], pa.array(_TEXT_PROBLEMS)), False)
    for name in ("problem", "detail"):
        column = pc.if_else(is_text, pa.scalar(None, pa.string()), table[name])
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    return table


@dataclass(frozen=True)
class Beside:
    """What was found of the pictures: files of rows and of problems, and where in them each uid is; 24 bytes a uid."""

    root: str
    shards: Sequence[Shard]

    @cached_property
    def _files(self) -> list[tuple[str, bool]]:
        """Files, and whether they hold problems; those of the first shards first, since a first row counts."""
        listed = [(shard.files.get(role), role == "problems") for shard in self.shards for role in ("rows", "problems")]
        return [(storage.join(self.root, stored.path), is_bad) for stored, is_bad in listed if stored is not None]

    @cached_property
    def _places(self) -> tuple[npt.NDArray[np.bytes_], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """The uids in order, and the file and the row of each; where one comes twice, its first picture."""
        packed, files, rows = [np.empty(0, "S16")], [np.empty(0, np.int32)], [np.empty(0, np.int32)]
        for number, (path, _) in enumerate(self._files):
            uids = pack_uids(_read(path, ["uid"])["uid"].to_pylist(), path).reshape(-1)
            packed.append(np.ascontiguousarray(uids).view("S16"))
            files.append(np.full(len(packed[-1]), number, np.int32))
            rows.append(np.arange(len(packed[-1]), dtype=np.int32))
        uids, owners, places = (np.concatenate(part) for part in (packed, files, rows))
        is_bad = np.array([bad for _, bad in self._files], dtype=bool)[owners] if len(owners) else owners.astype(bool)
        order = np.lexsort((places, owners, is_bad, uids))
        first = np.ones(len(order), dtype=bool)
        first[1:] = uids[order][1:] != uids[order][:-1]
        order = order[first]
        return uids[order].astype("S16"), owners[order], places[order]

    def told(self, uids: Sequence[str]) -> pa.Table:
        """Return `text`, `sha256` and the columns of `PICTURE` for each uid: `image_missing` where none was found."""
        known, owners, places = self._places
        wanted = pack_uids(uids, "uids").reshape(-1).view("S16")
        at = np.searchsorted(known, wanted).clip(max=max(0, len(known) - 1))
        is_there = known[at] == wanted if len(known) else np.zeros(len(wanted), dtype=bool)
        parts, order = [_nothing(1)], np.zeros(len(wanted), dtype=np.int64)
        for number in np.unique(owners[at[is_there]]).tolist() if len(known) else []:
            mine = np.flatnonzero(is_there & (owners[at] == number))
            order[mine] = sum(map(len, parts)) + np.arange(len(mine))
            path, is_bad = self._files[number]
            table = _read(path).take(pa.array(places[at[mine]]))
            parts.append(_failed(table) if is_bad else _seen(table))
        return pa.concat_tables(parts).take(pa.array(order))

    def joined(self, table: pa.Table, told: pa.Table) -> pa.Table:
        """Return rows of an import with what is told of them; a text of their own stays."""
        place = table.schema.get_field_index("text")
        text = pc.coalesce(table["text"], told["text"])
        return with_pictures(table.set_column(place, table.schema.field("text"), text), told)


def _read(path: str, columns: list[str] | None = None) -> pa.Table:
    with storage.open_read(path) as file, parquet_errors(path):
        return pq.read_table(file, columns=columns)


_TOLD = pa.schema([pa.field("text", pa.string()), pa.field("sha256", pa.string()), *PICTURE])


def _nothing(rows: int) -> pa.Table:
    columns = {field.name: pa.nulls(rows, field.type) for field in _TOLD}
    return pa.table({**columns, "picture": pa.array(["image_missing"] * rows)}, schema=_TOLD)


def _seen(table: pa.Table) -> pa.Table:
    told = told_of(table.append_column("problem", pa.nulls(len(table), pa.string())))
    return told.add_column(0, "text", table["text"]).select(_TOLD.names).cast(_TOLD)


def _failed(table: pa.Table) -> pa.Table:
    nothing = _nothing(len(table))
    return nothing.set_column(nothing.schema.get_field_index("picture"), _TOLD.field("picture"), table["reason"])


def run_join(
    root: str, pool: Pool, uids: npt.NDArray[np.bytes_], thumbnail: int, *, progress: Progress, engine: Engine
) -> Beside:
    """Look at the pictures of the rows that are wanted, and return what was found; `uids` are sorted."""
    listing = [[shard.name, shard.size_bytes] for shard in pool.shards()]
    digest = phase_digest("pictures", pool=repr(pool), listing=listing, uids=_digest(uids), thumbnail=thumbnail)
    folder = storage.join(root, "phases", f"pictures-{digest[:12]}")
    job = Job(folder, digest, _Wanted(pool, uids), looking(thumbnail))
    units = [Unit(number, "train", number, number + 1) for number in range(len(listing))]
    sizes = [shard.size_bytes for shard in pool.shards()]
    return Beside(folder, run_phase("pictures", job, units, progress, sizes=sizes, engine=engine))


def _digest(uids: npt.NDArray[np.bytes_]) -> str:
    import hashlib

    return hashlib.sha256(uids.tobytes()).hexdigest()
