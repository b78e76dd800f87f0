"""What layouts made of Parquet files have in common: shards that are ranges of their rows, and no pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import pyarrow as pa

from dfndr.format.schema import Space
from dfndr_builders.imports.beside import split_of
from dfndr_builders.imports.layout import NOTHING_PROMISED, Promised, Teacher
from dfndr_builders.imports.tables import Rows, files_in, ranges_of, schema_of
from dfndr_builders.layout_file import LayoutFile
from dfndr_builders.pools.base import PoolShard

__all__ = ["ParquetFiles"]


@dataclass(frozen=True)
class ParquetFiles(ABC):
    """A folder, or a pattern of Parquet files; in an export of ours they lie in `exported_in`."""

    exported_in: ClassVar[str] = ""

    path: str
    teachers: tuple[Teacher, ...]
    promised: Promised = NOTHING_PROMISED
    source: str | None = None
    license: str | None = None
    layout: LayoutFile | None = None

    @abstractmethod
    def spaces(self) -> tuple[Space, ...]:
        """Return the spaces that its vectors make."""

    def shards(self) -> Sequence[PoolShard]:
        """List the files' rows, in pieces of about 256 MB of vectors; raises PoolError where there is no file."""
        return [rows.shard(number) for number, rows in enumerate(self._ranges)]

    def split(self, shard: PoolShard) -> str:
        """Return the split of the shard's file."""
        return split_of(self.layout, self._ranges[shard.index].path)

    @property
    def has_pictures(self) -> bool:
        """No picture is part of such a layout."""
        return False

    @cached_property
    def _ranges(self) -> list[Rows]:
        return ranges_of(self._files, sum(space.row_bytes for space in self.spaces()))

    @cached_property
    def _files(self) -> list[str]:
        return files_in(self.path, self.exported_in if self.layout is not None else "")

    @cached_property
    def _given(self) -> pa.Schema:
        return schema_of(self._files[0])
