"""Checks every promise of docs/format.md on a dataset, local or remote, and names each file and row that breaks one.

Bad data never raises here: it becomes a finding, and the next file is checked. Memory holds a block of one shard, and
16 bytes per row to find a uid that occurs twice.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import TYPE_CHECKING, Literal, get_args

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import DataError, FormatError, StorageError
from dfndr.findings import Finding, Report, What
from dfndr.format.manifest import MANIFEST, Manifest, Shard, read_manifest
from dfndr.format.schema import Modality, Space
from dfndr.format.shard import map_vectors, parquet_file, row_types
from dfndr.format.uid import UID, pack_uids
from dfndr.progress import SILENT, Progress
from dfndr.removed_checks import removed_findings
from dfndr.storage import Stored
from dfndr.vector_checks import vector_findings
from dfndr.views.check import defects

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

__all__ = ["verify"]

_MOST = 1000
"""How many rows of one file are named for one defect; the others are counted."""
_PROBLEM_COLUMNS = ["uid", "key", "reason", "detail"]
_NEEDS = {"text": "text", "caption": "captions"}
"""Which column the vectors of a modality were made from."""


def verify(root: str | os.PathLike[str], *, progress: Progress = SILENT) -> Report:
    """Check every file and row of the dataset at `root`; a dataset that is not there is a finding too."""
    root = os.fspath(root)
    try:
        root = storage.pinned(root)
        manifest = read_manifest(root)
    except DataError as error:
        finding = Finding(MANIFEST, "manifest", error.expected, f"{error.found} ({error.where})")
        return Report(root, None, 0, 0, 0, (finding,))
    check = _Check(root, manifest)
    named = [stored for shard in manifest.shards for stored in shard.files.values()] + list(manifest.files.values())
    with progress.task("verify", len(named), unit="files") as task:
        for shard in manifest.shards:
            check.shard(shard)
            task.advance(len(shard.files))
        for stored in manifest.files.values():
            check.file(stored)
            task.advance()
    check.duplicates()
    for file, expected, found in removed_findings(check.dataset, check.uids):
        check.add(file, "removed", expected, found)
    check.strays({stored.path for stored in named})
    size = sum(stored.size_bytes for stored in named)
    return Report(root, manifest.digest, len(named), len(manifest), size, check.findings())


class _Check:
    """A verification in progress: what was found, and the uids seen so far."""

    def __init__(self, root: str, manifest: Manifest) -> None:
        self.root, self.manifest, self.dataset = root, manifest, Dataset(root, manifest)
        self._found: list[Finding] = []
        self._counts: Counter[tuple[str, What]] = Counter()
        self._columns: pa.Schema | None = None
        self.uids: list[tuple[str, npt.NDArray[np.int64], npt.NDArray[np.uint8]]] = []

    def findings(self) -> tuple[Finding, ...]:
        """Return the findings, with what was left out counted."""
        more = [
            Finding(file, what, "none of these", f"{count - _MOST} more rows with the same defect")
            for (file, what), count in self._counts.items()
            if count > _MOST
        ]
        return (*self._found, *more)

    def add(
        self,
        file: str,
        what: What,
        expected: str,
        found: str,
        *,
        row: int | None = None,
        uid: str | None = None,
        level: Literal["error", "warning"] = "error",
    ) -> None:
        """Note one finding."""
        self._counts[file, what] += row is not None
        if self._counts[file, what] <= _MOST:
            self._found.append(Finding(file, what, expected, found, row, uid, level))

    def file(self, stored: Stored) -> str | None:
        """Check a file as a whole; return where it can be read, None where looking inside makes no sense."""
        path = storage.join(self.root, stored.path)
        try:
            if not storage.exists(path):
                self.add(stored.path, "missing", "the file", "nothing there")
                return None
            size = storage.size_of(path)
            if size != stored.size_bytes:
                self.add(stored.path, "size", f"{stored.size_bytes} bytes", f"{size} bytes")
                return None
            if storage.is_remote(self.root):
                return str(self.dataset.local_file(stored))
            digest = storage.sha256_of(path)
            if digest != stored.sha256:
                self.add(stored.path, "altered", f"sha256 {stored.sha256}", digest)
            return path.removeprefix("file://")
        except FormatError as error:
            self.add(stored.path, "altered", error.expected, error.found)
        except StorageError as error:
            self.add(stored.path, "unreadable", error.expected, error.found)
        return None

    def shard(self, shard: Shard) -> None:
        """Check a shard's files and what is in them."""
        for role, stored in shard.files.items():
            ending = "npy" if "/" in role else "parquet"
            pattern = rf"{re.escape(role)}/{shard.split}-\d{{5,}}-{stored.sha256[:8]}\.{ending}"
            if not re.fullmatch(pattern, stored.path):
                self.add(stored.path, "name", f"{role}/{shard.split}-00000-{stored.sha256[:8]}", stored.path)
        uids: list[str | None] = []
        counts: npt.NDArray[np.int64] | None = None
        rows = shard.files["rows"]
        if path := self.file(rows):
            try:
                uids, counts = self._rows(path, rows.path, shard)
            except FormatError as error:
                self.add(rows.path, "unreadable", error.expected, error.found)
        for space in self.manifest.spaces:
            stored = shard.files[space.name]
            if path := self.file(stored):
                self._vectors(path, stored.path, space, shard, uids, counts)
        if "problems" in shard.files and (path := self.file(shard.files["problems"])):
            self._problems(path, shard)
        elif shard.failed and "problems" not in shard.files:
            self.add(rows.path, "missing", "a file under problems/ beside it", f"none, and {dict(shard.failed)} failed")

    def _rows(self, path: str, name: str, shard: Shard) -> tuple[list[str | None], npt.NDArray[np.int64] | None]:
        """Check a rows file; return its uids and how many captions each row has."""
        import numpy as np
        import pyarrow.compute as pc

        uids: list[str | None] = []
        counts: list[npt.NDArray[np.int64]] = []
        with parquet_file(path) as file:
            if file.metadata.num_rows != shard.stored:
                self.add(name, "rows", f"{shard.stored} rows", f"{file.metadata.num_rows} rows")
            schema = file.schema_arrow.remove_metadata()
            if not self._has_columns(name, schema):
                return [], None
            for batch in file.iter_batches(batch_size=4096):
                batch.validate(full=True)
                self._values(batch, name, len(uids))
                uids += batch.column("uid").to_pylist()
                if "captions" in schema.names:
                    lengths = pc.fill_null(pc.list_value_length(batch.column("captions")), 0)
                    counts.append(np.asarray(lengths, dtype=np.int64))
        good = []
        for row, uid in enumerate(uids):
            if uid is not None and UID.fullmatch(uid):
                good.append(row)
            else:
                self.add(name, "uid", "32 lowercase hex digits", repr(uid)[:60], row=row)
        self.uids.append((name, np.array(good, dtype=np.int64), pack_uids((uids[row] for row in good), name)))
        return uids, np.concatenate([np.empty(0, dtype=np.int64), *counts]) if "captions" in schema.names else None

    def _values(self, batch: pa.RecordBatch, name: str, start: int) -> None:
        import numpy as np

        for score in self.manifest.scorers:
            values = batch.column(score).to_numpy(zero_copy_only=False)
            for row in np.flatnonzero(~np.isfinite(values)):
                self.add(name, "not finite", f"a finite {score}", str(values[row]), row=start + int(row))
        places = {space.per_row for space in self.manifest.spaces if space.modality == "image"}
        for place, expected, found in defects(batch, places):
            self.add(name, "views", expected, found, row=start + place)

    def _has_columns(self, name: str, schema: pa.Schema) -> bool:
        """Check the columns' types; return whether those that are looked into are as they should be."""
        scores, spaces = self.manifest.scorers, self.manifest.spaces
        needed = {"uid", *scores, *(_NEEDS[space.modality] for space in spaces if space.modality in _NEEDS)}
        wrong = [
            (column, kind)
            for column, kind in row_types(scores).items()
            if (column in needed or column in schema.names)
            and (column not in schema.names or schema.field(column).type != kind)
        ]
        for column, kind in wrong:
            found = str(schema.field(column).type) if column in schema.names else "no such column"
            self.add(name, "columns", f"{column}: {kind}", found)
        self._columns = self._columns or schema
        if schema != self._columns:
            self.add(name, "columns", f"the first shard's: {self._columns.names}", f"others: {schema.names}")
        return not wrong

    def _vectors(
        self,
        path: str,
        name: str,
        space: Space,
        shard: Shard,
        uids: list[str | None],
        counts: npt.NDArray[np.int64] | None,
    ) -> None:
        """Check every vector; without `counts` a caption place counts as free where it is zero."""
        try:
            vectors = map_vectors(path, space, shard.stored)
        except FormatError as error:
            self.add(name, "header", error.expected, error.found)
            return
        known = counts if counts is not None and len(counts) == shard.stored else None
        for row, what, expected, found in vector_findings(vectors, space, known):
            self.add(name, what, expected, found, row=row, uid=uids[row] if row < len(uids) else None)

    def _problems(self, path: str, shard: Shard) -> None:
        """Compare the rows that failed with what the manifest counts."""
        name = shard.files["problems"].path
        try:
            with parquet_file(path) as file:
                table = file.read()
                table.validate(full=True)
        except FormatError as error:
            self.add(name, "unreadable", error.expected, error.found)
            return
        if table.column_names not in (_PROBLEM_COLUMNS, [*_PROBLEM_COLUMNS, "source"]):
            self.add(name, "columns", ", ".join(_PROBLEM_COLUMNS) + " (, source)", ", ".join(table.column_names))
            return
        if (counts := dict(Counter(table["reason"].to_pylist()))) != shard.failed:
            self.add(name, "reasons", f"{dict(shard.failed)}", f"{counts}")

    def duplicates(self) -> None:
        """Find the uids that occur twice; where nothing was selected yet, that is only a warning."""
        import numpy as np

        if not self.uids:
            return
        is_selected = bool(self.manifest.spaces) and [step.name for step in self.manifest.funnel[-1:]] != ["score"]
        packed = np.concatenate([uids for _, _, uids in self.uids])
        high, low = packed.view(">u8").reshape(-1, 2).T
        order = np.lexsort((low, high))
        same = (packed[order[1:]] == packed[order[:-1]]).all(axis=1)
        starts = np.cumsum([0, *(len(rows) for _, rows, _ in self.uids)])

        def place(number: int) -> tuple[str, int]:
            shard = int(np.searchsorted(starts, number, side="right")) - 1
            return self.uids[shard][0], int(self.uids[shard][1][number - starts[shard]])

        for position in np.flatnonzero(same):
            (first_file, first_row), (file, row) = place(order[position]), place(order[position + 1])
            found, uid = f"the uid of {first_file}, row {first_row}", packed[order[position]].tobytes().hex()
            level: Literal["error", "warning"] = "error" if is_selected else "warning"
            self.add(file, "duplicate", "a uid of its own", found, row=row, uid=uid, level=level)

    def strays(self, named: set[str]) -> None:
        """Find the files among the dataset's that the manifest does not name."""
        for folder in ("rows", "problems", "removed", *get_args(Modality)):
            for path in storage.list_files(storage.join(self.root, folder)):
                if f"{folder}/{path}" not in named:
                    self.add(f"{folder}/{path}", "stray", f"only what {MANIFEST} names", "another", level="warning")
