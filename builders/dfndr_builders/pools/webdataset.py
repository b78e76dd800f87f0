"""Tars in the WebDataset format: members that follow one another under one key are a sample.

A key is a member's path up to the first dot of its base name, the suffix is what comes after that dot
(https://github.com/webdataset/webdataset, "The WebDataset Format"). Hidden files are passed over, as there.
"""

from __future__ import annotations

import logging
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any, cast

import pyarrow as pa

from dfndr_builders.pools.base import PoolShard, Sample, tables_of
from dfndr_builders.pools.files import MAX_FILE_BYTES, Damaged, PoolFile, damage, files_of, shards_of
from dfndr_builders.pools.parts import PartsPool
from dfndr_builders.pools.tars import StrictHeader

__all__ = ["WebDatasetPool"]

_LOG = logging.getLogger(__name__)
_PIECE = 1 << 16


@dataclass(frozen=True)
class WebDatasetPool(PartsPool):
    """Tars, plain or compressed, one shard each, read front to back.

    A key that its shard held before, be it through a repeated suffix or further up, is a sample with the problem
    `duplicate_key`. In a tar that is cut or damaged the sample at that place is not trusted, whole or not: it counts as
    the one row `shard_truncated`, and all samples before it are given.
    """

    @cached_property
    def _files(self) -> list[str]:
        return files_of(self.paths, "a tar file")

    def shards(self) -> Sequence[PoolShard]:
        """List the tars; raises PoolError for a pattern that matches nothing and for a folder."""
        return self._shards

    @cached_property
    def _shards(self) -> list[PoolShard]:
        return shards_of(self._files)  # once, for it costs requests where the files are remote

    def read(self, shard: PoolShard) -> Iterator[pa.Table]:
        """Yield the tar's samples; raises StorageError where the disk or the connection fails."""
        return tables_of(self._samples(shard), self.schema())

    def _samples(self, shard: PoolShard) -> Iterator[Sample]:
        key: str | None = None
        parts: dict[str, bytes | None] = {}
        seen: set[str] = set()
        wanted, hidden = self.wanted, 0
        with PoolFile(self._files[shard.index]) as file:
            try:
                archive = _opened(file)
                while (member := _next(archive)) is not None:
                    if member.isdir():
                        continue
                    its_key, suffix = _key_and_suffix(member.name)
                    if not its_key or its_key.endswith("/"):
                        hidden += 1
                        continue
                    if its_key != key or suffix in parts:
                        yield from self._grouped(key, parts, seen)
                        key, parts = its_key, {}
                    if member.isreg():
                        parts[suffix] = _data(archive, member) if suffix in wanted else None
            except Damaged as error:
                problem = "shard_unreadable" if key is None else "shard_truncated"
                yield Sample(key or shard.name, problem=problem, detail=str(error))
                return
        yield from self._grouped(key, parts, seen)
        if key is None:
            yield Sample(shard.name, problem="shard_empty")
        if hidden:
            _LOG.warning("%s: %d hidden files passed over", shard.name, hidden)

    def _grouped(self, key: str | None, parts: dict[str, bytes | None], seen: set[str]) -> Iterator[Sample]:
        if key is not None:
            yield from self.samples(key, parts, problem="duplicate_key" if key in seen else None)
            seen.add(key)


def _key_and_suffix(name: str) -> tuple[str, str]:
    folder, slash, base = name.removeprefix("./").rpartition("/")
    stem, _, suffix = base.partition(".")
    return folder + slash + stem, suffix.lower()


def _opened(file: PoolFile) -> tarfile.TarFile:
    with damage():
        return tarfile.open(fileobj=cast("IO[bytes]", file), mode="r|*", tarinfo=StrictHeader)


def _next(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    with damage():
        _skip(archive)
        member = archive.next()
        archive.members = []  # type: ignore[attr-defined]  # else it remembers every header
        return member


def _skip(archive: tarfile.TarFile) -> None:
    """Go to where the next header begins; raises tarfile.ReadError where the stream ends before.

    tarfile itself would go on reading an ended stream for as many blocks as a header promises.
    """
    tar: Any = archive
    if tar.firstmember is not None:  # it was read when the tar was opened, and its data are still to come
        return
    stream = tar.fileobj
    while (left := tar.offset - 1 - stream.tell()) > 0:
        if not stream.read(min(left, _PIECE)):
            raise tarfile.ReadError("unexpected end of data")


def _data(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | None:
    """Return a member's bytes, None for one that is too large."""
    if member.size > MAX_FILE_BYTES:
        return None
    with damage():
        source = archive.extractfile(member)
        return source.read() if source is not None else b""
