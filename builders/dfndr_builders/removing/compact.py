"""Compacting: the shards that rows were taken out of are written again without them, and nothing else is.

New files come first, the manifest last, then the old files go: a run that was killed at any moment and is made again
ends with the same files. What the log and the funnel say stays.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr.format.manifest import Manifest, Shard
from dfndr.format.removed import ROWS, Removal
from dfndr.format.shard import parquet_errors, rows_path, vectors_path, write_rows, write_vectors
from dfndr.progress import SILENT, Progress
from dfndr.storage import Stored
from dfndr_builders.output import sweep
from dfndr_builders.removing.folder import commit, held, today

__all__ = ["Compacted", "compact"]

_PHASES = "phases"
_UIDS = ("uid", "kept_uid")
"""The columns of audit files that name a row."""


@dataclass(frozen=True)
class Compacted:
    """What was done: rows that files hold no more, shards written again, and what may still hold something of them.

    `echoes` counts the rows that have the text of a removed one among their captions; `phases_bytes` is the size of
    the phases that are left, in which a build keeps the texts, and perhaps vectors, of its whole pool.
    """

    root: str
    digest: str
    rows: int
    taken_out: int
    shards: int
    audit_rows: int
    echoes: int
    phases_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.root}: {self.rows:,} rows; digest {self.digest}"]
        if self.taken_out:
            lines.append(f"{self.taken_out:,} removed rows are in no file any more; {self.shards:,} shards written")
        else:
            lines.append("no file held a removed row")
        if self.audit_rows:
            lines.append(f"{self.audit_rows:,} rows of audit/ named one, and are gone too")
        if self.echoes:
            lines.append(f"{self.echoes:,} rows have the text of a removed row as a caption, and keep it: look at them")
        if self.phases_bytes:
            told = f"{self.phases_bytes:,} bytes, with texts of the whole pool"
            lines.append(f"{_PHASES}/ was left: {told}; `dfndr compact --phases` deletes it")
        return "\n".join(lines)


def compact(
    root: str | os.PathLike[str], *, phases: bool = False, date: str | None = None, progress: Progress = SILENT
) -> Compacted:
    """Write the shards that hold removed rows again without them; `phases` also deletes `phases/`.

    Without removed rows the dataset and its digest stay as they are. Raises UsageError for what is no finished
    dataset in a local folder, and where `phases/` is a link.
    """
    with held(os.fspath(root)) as dataset:
        folder = Path(dataset.root.removeprefix("file://")) / _PHASES
        if phases and folder.is_symlink():
            found, do = f"a link to {folder.readlink()}", "Delete what it leads to, and the link, yourself."
            raise UsageError(str(folder), expected="a folder of the dataset's own", found=found, do=do)
        manifest, shards, audit_rows, echoes = dataset.manifest, 0, 0, 0
        if manifest.removed:
            echoes = _echoes(dataset)
            manifest, shards, audit_rows = _written(dataset, date or today(), progress)
            commit(dataset, manifest)
        sweep(dataset.root, manifest)
        if phases:
            storage.remove_folder(str(folder))
        left = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        taken_out = dataset.manifest.removed
        return Compacted(dataset.root, manifest.digest, len(manifest), taken_out, shards, audit_rows, echoes, left)


def _written(dataset: Dataset, date: str, progress: Progress) -> tuple[Manifest, int, int]:
    """Write all that holds a removed row; return the manifest, and how many shards and rows of audits that were."""
    given, gone = dataset.manifest, dataset.removed
    uids = pa.array([] if gone is None else gone.uids.to_pylist(), pa.string())
    shards: list[Shard] = []
    with progress.task("compact", len(given.shards), "shards") as task:
        for number, shard in enumerate(given.shards):
            files = dict(shard.files)
            if shard.removed:
                files |= _shard_files(dataset, number)
            if "problems" in files:
                files["problems"] = _problems(dataset, shard, uids)
            shards.append(replace(shard, files=files, removed=0))
            task.advance()
    files, audit_rows = {role: stored for role, stored in given.files.items() if role != ROWS}, 0
    for role in files:
        if role.startswith("audit/"):
            files[role], less = _audit(dataset, role, uids)
            audit_rows += less
    removal = Removal(dataset.digest, date, "compacted", 0)
    changed = sum(before.files != after.files for before, after in zip(given.shards, shards, strict=True))
    manifest = replace(given, shards=tuple(shards), files=files, removals=(*given.removals, removal))
    return manifest, changed, audit_rows


def _shard_files(dataset: Dataset, number: int) -> dict[str, Stored]:
    shard = dataset.shards[number]
    table = dataset.table(number)
    files = {"rows": write_rows(dataset.root, rows_path(shard.split, shard.index), table)}
    for space in dataset.manifest.spaces:
        gone = dataset.places.removed_of(number)
        block = np.delete(dataset.stored_vectors(space.name)[number], gone, axis=0)
        path = vectors_path(space, shard.split, shard.index)
        files[space.name] = write_vectors(dataset.root, path, space, [block])
    return files


def _problems(dataset: Dataset, shard: Shard, uids: pa.Array) -> Stored:
    """Write the rows that failed without what names a removed one; each stays counted under its reason."""
    stored = shard.files["problems"]
    table = _read(dataset, stored)
    mine = pc.fill_null(pc.is_in(table["uid"], uids), False)
    if not pc.any(mine).as_py():
        return stored
    for name in ("uid", "key", "detail"):
        place = table.schema.get_field_index(name)
        blank = pc.if_else(mine, pa.scalar(None, pa.string()), table[name])
        table = table.set_column(place, table.schema.field(place), blank)
    return write_rows(dataset.root, rows_path(shard.split, shard.index, "problems"), table)


def _audit(dataset: Dataset, role: str, uids: pa.Array) -> tuple[Stored, int]:
    """Write an audit file without the rows that name a removed one; return it, and how many rows that were."""
    stored = dataset.manifest.files[role]
    table = _read(dataset, stored)
    left = table
    for name in _UIDS:
        if name in table.column_names:
            left = left.filter(pc.invert(pc.fill_null(pc.is_in(left[name], uids), False)))
    if len(left) == len(table):
        return stored, 0
    return write_rows(dataset.root, f"{role}-{{hash8}}.parquet", left), len(table) - len(left)


def _read(dataset: Dataset, stored: Stored) -> pa.Table:
    path = str(dataset.local_file(stored))
    with parquet_errors(path), pq.ParquetFile(path) as file:
        return file.read()


def _echoes(dataset: Dataset) -> int:
    """Count the rows that have the text of a removed row among their captions: a bank may be made of the pool's."""
    names = dataset.schema().names
    if dataset.removed is None or not {"text", "captions"} <= set(names):
        return 0
    texts: set[str] = set()
    for number, shard in enumerate(dataset.shards):
        if shard.removed:
            stored = _read_text(dataset, shard)
            for row in dataset.places.removed_of(number).tolist():
                texts.add(str(stored[row].as_py()).strip())
    wanted, found = pa.array(sorted(texts), pa.string()), 0
    for table in dataset.tables(["captions"]):
        captions = table["captions"].combine_chunks()
        met = pc.is_in(pc.list_flatten(captions), wanted)
        found += len(pc.unique(pc.list_parent_indices(captions).filter(met)))
    return found


def _read_text(dataset: Dataset, shard: Shard) -> pa.ChunkedArray:
    path = str(dataset.local_file(shard.files["rows"]))
    with parquet_errors(path), pq.ParquetFile(path) as file:
        return file.read(["text"])["text"]
