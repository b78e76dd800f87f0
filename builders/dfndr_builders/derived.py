"""Derived columns: what is made of the whole table of scores (groups, clusters, heads), row by row beside it.

Each kind is made once, under the digest of the scores and of its own settings, and joined to the scores by place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import DataError
from dfndr.format.shard import write_rows
from dfndr.progress import Progress

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
    """Derived columns on disk: one Parquet file for each shard of the scores, under `root`."""

    root: str
    files: Mapping[str, int]
    """The files' names with their sizes in bytes, in the order of the shards."""

    def paths(self) -> list[str]:
        """Return where the files are, in the order of the shards."""
        return [storage.join(self.root, name) for name in self.files]


def read_derived(root: str) -> Columns | None:
    """Return derived columns that are finished and whole, or None."""
    path = storage.join(root, _DONE)
    if not storage.exists(path):
        return None
    try:
        found = Columns(root, {_plain(name): int(size) for name, size in json.loads(storage.read_bytes(path)).items()})
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None  # a damaged record is no record: the columns are made again
    places = {storage.join(root, name): size for name, size in found.files.items()}
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
    schema, files = pa.schema(given.fields()), dict[str, int]()
    for number, (shard, table) in enumerate(zip(scores.shards, given.tables(scores, progress), strict=True)):
        if len(table) != shard.rows:
            do = "Report this: a derived column lost its place."
            raise DataError(f"shard {number}", expected=f"{shard.rows} rows", found=f"{len(table)}", do=do)
        stored = write_rows(root, f"{number:05d}.parquet", table.cast(schema))
        files[stored.path] = stored.size_bytes
    storage.put(root, _DONE, json.dumps(files, indent=1).encode())
    return Columns(root, files)
