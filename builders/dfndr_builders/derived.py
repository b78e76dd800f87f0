"""Derived columns: what is made of the whole table of scores (groups, clusters, heads), row by row beside it.

Each kind is made once, under the digest of the scores and of its own settings, and joined to the scores by place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import pyarrow as pa

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import DataError
from dfndr.fetching import Files, files_at
from dfndr.format.shard import write_rows
from dfndr.progress import Progress
from dfndr.storage import Stored

__all__ = ["Columns", "Derive", "derive", "read_derived"]

_DONE = "columns.json"
_NAME = re.compile(r"[0-9]{5,}\.parquet")


class Derive(Protocol):
    """A frozen value that makes columns out of the whole table of scores."""

    def fields(self) -> list[pa.Field]:
        """Return the columns."""

    def tables(self, scores: Dataset, progress: Progress) -> Iterator[pa.Table]:
        """Yield one table for each shard of the scores, in order, row i of it beside row i of the shard's rows."""


@dataclass(frozen=True)
class Columns:
    """Derived columns: one Parquet file for each shard of the scores, in the order of the shards, under `root`."""

    root: str
    files: tuple[Stored, ...]

    def paths(self) -> list[str]:
        """Return where the files are, in the order of the shards."""
        return [storage.join(self.root, stored.path) for stored in self.files]

    def local_paths(self) -> list[str]:
        """Return where the files are on this machine: brought here, and kept for as long as this value, if need be."""
        self._here.fetch(self.files)
        return [str(self._here.path(stored)) for stored in self.files]

    @cached_property
    def _here(self) -> Files:
        return files_at(self.root, check="size")


def read_derived(root: str) -> Columns | None:
    """Return derived columns that are finished and whole, or None."""
    path = storage.join(root, _DONE)
    if not storage.exists(path):
        return None
    try:
        told = json.loads(storage.read_bytes(path))
        found = Columns(
            root, tuple(Stored(_plain(name), int(size), str(digest)) for name, (size, digest) in told.items())
        )
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None  # a damaged record is no record: the columns are made again
    places = {storage.join(root, stored.path): stored.size_bytes for stored in found.files}
    is_whole = all(storage.exists(place) and storage.size_of(place) == size for place, size in places.items())
    return found if is_whole else None


def _plain(name: str) -> str:
    """Return the name of a file in the folder itself; raises ValueError where it may lead elsewhere."""
    if not _NAME.fullmatch(name):
        raise ValueError(name)
    return name


def derive(given: Derive, scores: Dataset, root: str, *, progress: Progress) -> Columns:
    """Make the columns under `root`, or find them there; raises DataError where they do not lie beside the scores."""
    found = read_derived(root)
    if found is not None:
        return found
    schema, files = pa.schema(given.fields()), list[Stored]()
    for number, (shard, table) in enumerate(zip(scores.shards, given.tables(scores, progress), strict=True)):
        if len(table) != shard.rows:
            do = "Report this: a derived column lost its place."
            raise DataError(f"shard {number}", expected=f"{shard.rows} rows", found=f"{len(table)}", do=do)
        files.append(write_rows(root, f"{number:05d}.parquet", table.cast(schema)))
    told = {stored.path: [stored.size_bytes, stored.sha256] for stored in files}
    storage.put(root, _DONE, json.dumps(told, indent=1).encode())
    return Columns(root, tuple(files))
