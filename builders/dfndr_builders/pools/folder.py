"""A folder tree of images, with `.txt` or `.json` files of the same stem beside them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa

from dfndr import storage
from dfndr.errors import PoolError
from dfndr_builders.pools.base import PoolShard, Sample, tables_of
from dfndr_builders.pools.files import MAX_FILE_BYTES, PoolFile, folders_of
from dfndr_builders.pools.looks import look_of
from dfndr_builders.pools.parts import PartsPool

__all__ = ["FolderPool"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Entry:
    """A sample to be: its key and the path of each of its parts by suffix."""

    key: str
    parts: dict[str, str]
    problem: str | None = None


@dataclass(frozen=True)
class FolderPool(PartsPool):
    """Folders, read in the order of their sorted paths, `files_per_shard` samples to a shard.

    The key is the path inside the folder without the last suffix. A text without an image is a sample with the problem
    `image_missing`; of several images with one key the most preferred is the sample, and the others have the problem
    `duplicate_key`. Any other file (a README, a hidden file) is no sample: it is passed over, and the log says how many
    were and names the first.
    """

    files_per_shard: int = field(default=1000, kw_only=True)

    @cached_property
    def _entries(self) -> list[_Entry]:
        entries: list[_Entry] = []
        for folder in folders_of(self.paths):
            names = storage.list_files(folder)
            found, strays = self._sorted(folder, names)
            if not found:
                found_instead = f"{len(names)} other files" if names else "an empty folder"
                expected = f"images ({', '.join(self.image_suffixes)})"
                raise PoolError(folder, expected=expected, found=found_instead, do="Check the path and the suffixes.")
            if strays:
                _LOG.warning("%s: %d files that are no samples passed over, such as %s", folder, len(strays), strays[0])
            entries += found
        return entries

    def _sorted(self, folder: str, names: Sequence[str]) -> tuple[list[_Entry], list[str]]:
        """Return the samples to be in the order of their keys, and the files that belong to none."""
        groups: dict[str, dict[str, list[str]]] = {}
        strays = []
        for name in names:
            stem, _, suffix = name.rpartition(".")
            suffix = suffix.lower()
            hidden = any(part.startswith(".") for part in name.split("/"))
            if hidden or suffix not in {*self.image_suffixes, self.text_suffix, "json"}:
                strays.append(name)
            else:
                groups.setdefault(stem, {}).setdefault(suffix, []).append(name)
        entries = []
        for key, group in sorted(groups.items()):
            sidecars = [suffix for suffix in (self.text_suffix, "json") if suffix in group]
            beside = {suffix: storage.join(folder, group[suffix][0]) for suffix in sidecars}
            images = [(suffix, name) for suffix in self.image_suffixes for name in group.get(suffix, [])]
            for number, (suffix, name) in enumerate(images):
                problem = "duplicate_key" if number else None
                entries.append(_Entry(key, {**beside, suffix: storage.join(folder, name)}, problem))
            if not images and self.text_suffix in group:
                entries.append(_Entry(key, beside))
            elif not images:
                strays += group["json"]
        return entries, strays

    def shards(self) -> Sequence[PoolShard]:
        """List the shards; raises PoolError for a path that is no folder, and for a folder without images."""
        return self._shards

    @cached_property
    def _shards(self) -> list[PoolShard]:
        starts = range(0, len(self._entries), self.files_per_shard)
        return [
            self._shard(index, self._entries[start : start + self.files_per_shard])
            for index, start in enumerate(starts)
        ]

    def _shard(self, index: int, entries: Sequence[_Entry]) -> PoolShard:
        """Return a shard with a hash of its files' names and sizes; remote sizes cost a request each."""
        digest, times, total = hashlib.sha256(), hashlib.sha256(), 0
        for entry in entries:
            for suffix, path in sorted(entry.parts.items()):
                size, changed = (0, "") if storage.is_remote(path) else look_of(path)
                digest.update(f"{entry.key}\0{suffix}\0{size}\n".encode("utf-8", "surrogateescape"))
                times.update(f"{changed}\n".encode())
                total += size
        name = f"folder-{index:05d}"
        return PoolShard(index, name, total or None, files=digest.hexdigest(), changed=times.hexdigest())

    def read(self, shard: PoolShard) -> Iterator[pa.Table]:
        """Yield the shard's samples; raises StorageError for a file that may not be read."""
        start = shard.index * self.files_per_shard
        return tables_of(self._samples(self._entries[start : start + self.files_per_shard]), self.schema())

    def _samples(self, entries: Sequence[_Entry]) -> Iterator[Sample]:
        wanted = self.wanted
        for entry in entries:
            parts = {suffix: _read(path) for suffix, path in entry.parts.items() if suffix in wanted}
            yield from self.samples(entry.key, parts, problem=entry.problem)


def _read(path: str) -> bytes | None:
    """Return a file's bytes, None for one that is too large."""
    with PoolFile(path) as file:
        data = file.read(MAX_FILE_BYTES + 1)
    return data if len(data) <= MAX_FILE_BYTES else None
