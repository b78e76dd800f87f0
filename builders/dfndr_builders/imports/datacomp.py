"""Pools as DataComp publishes them: Parquet files of urls, texts and scores, a `.npz` of the same stem beside each.

Row i of both is one sample. The arrays are `<model>_img` and `<model>_txt`: `b32_img`, `l14_txt`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from dfndr import storage
from dfndr.errors import FormatError
from dfndr.format.schema import Space
from dfndr.format.storage_types import read_type
from dfndr_builders.imports.layout import Teacher, imported_schema
from dfndr_builders.imports.npz_rows import npz_rows, npz_shapes
from dfndr_builders.imports.parquet_files import ParquetFiles
from dfndr_builders.imports.tables import batches, kept_fields, pooled, uids_in
from dfndr_builders.pools.base import PoolShard

__all__ = ["DataComp"]

_ENDINGS = {"image": "img", "text": "txt"}
_SHORT = {"ViT-B-32": "b32", "ViT-L-14": "l14"}
_DO = "Fetch both files again: row i of one is row i of the other."


@dataclass(frozen=True)
class DataComp(ParquetFiles):
    """A folder of metadata, or a pattern of its Parquet files; with no encoders the vectors are left where they are."""

    kind: str = "datacomp"

    @cached_property
    def _arrays(self) -> dict[str, tuple[str, Space]]:
        """The array of each space, and the space; raises FormatError where an encoder has none."""
        if not self.teachers:
            return {}
        path = _npz(self._files[0])
        shapes, found = npz_shapes(path), {}
        for teacher in self.teachers:
            for modality, ending in _ENDINGS.items():
                space = f"{modality}/{teacher.name}"
                name = f"{_short(teacher)}_{ending}" if self.layout is None else self.layout.places.get(space, "")
                if name in shapes:
                    found[space] = name, self.promised.space(modality, teacher, shapes[name][1])
            if not any(space.endswith(f"/{teacher.name}") for space in found):
                expected = f"{_short(teacher)}_img or {_short(teacher)}_txt for the encoder {teacher.name}"
                do = "Call the encoder as the arrays are called, before _img and _txt."
                raise FormatError(path, expected=expected, found=f"{sorted(shapes)}"[:200], do=do)
        return found

    def spaces(self) -> tuple[Space, ...]:
        """Return the space of each array."""
        return tuple(space for _, space in self._arrays.values())

    def schema(self) -> pa.Schema:
        """Return the schema: every column, scores and boxes of faces too, is carried along under its own name."""
        return imported_schema(kept_fields(self._given, ()), self.spaces())

    def uids(self, shard: PoolShard) -> list[str]:
        """Return the uids by the columns that they are made of."""
        return uids_in(self._ranges[shard.index], self._given)

    def read(self, shard: PoolShard) -> Iterator[pa.Table]:
        """Yield the rows; raises FormatError where the two files do not hold equally many."""
        rows, schema, own = self._ranges[shard.index], self.schema(), {"source": self.source, "license": self.license}
        path, first = _npz(rows.path), rows.start
        with storage.open_read(rows.path) as file:
            count = pq.read_metadata(file).num_rows
        with npz_rows(path, [name for name, _ in self._arrays.values()], rows.start) as opened:
            for name, space in self._arrays.values():
                expected = (count, space.dim)
                if opened[name].shape != expected:
                    raise FormatError(
                        path, expected=f"{name} of shape {expected}", found=f"{opened[name].shape}", do=_DO
                    )
            for table in batches(rows, self._given, self._given.names):
                vectors = {
                    key: opened[name].take(len(table)).astype(read_type(space.dtype))[:, None]
                    for key, (name, space) in self._arrays.items()
                }
                yield pooled(table, rows, first, schema, vectors, own, {})
                first += len(table)


def _npz(path: str) -> str:
    return path.removesuffix(".parquet") + ".npz"


def _short(teacher: Teacher) -> str:
    """Return what the arrays of an encoder begin with."""
    return _SHORT.get(teacher.model.removesuffix("-quickgelu"), teacher.name.replace("-", "_"))
