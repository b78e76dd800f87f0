"""What clip-retrieval leaves: `img_emb/img_emb_N.npy`, `text_emb/text_emb_N.npy`, `metadata/metadata_N.parquet`.

Row i of the three files of a number is one sample. The texts' vectors may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dfndr import storage
from dfndr.errors import FormatError, PoolError
from dfndr.format.schema import Space
from dfndr.format.shard import parquet_errors, parquet_file, row_types
from dfndr.format.storage_types import read_type
from dfndr_builders.imports.arrays import mapped_array
from dfndr_builders.imports.beside import split_of
from dfndr_builders.imports.layout import (
    NOTHING_PROMISED,
    Promised,
    Teacher,
    imported_schema,
    table_of,
    uid_without_image,
)
from dfndr_builders.layout_file import LayoutFile
from dfndr_builders.pools.base import PoolShard
from dfndr_builders.stage import POOL_SCHEMA

__all__ = ["ClipRetrieval"]

_ROWS = 4096
_NAMES = {"image": "img_emb", "text": "text_emb"}
_KEPT = {"caption": "text", "image_path": "key", "key": "key"}
"""What its columns are called here; a column of another name is carried along under its own."""


@dataclass(frozen=True)
class ClipRetrieval:
    """A local folder that `clip-retrieval inference` wrote."""

    path: str
    teacher: Teacher
    promised: Promised = NOTHING_PROMISED
    source: str | None = None
    license: str | None = None
    layout: LayoutFile | None = None
    kind: str = "clip-retrieval"

    def shards(self) -> Sequence[PoolShard]:
        """List the partitions by number; raises PoolError where there is none, or one lacks its metadata."""
        return self._listed

    @cached_property
    def _listed(self) -> Sequence[PoolShard]:
        numbers = sorted(self._numbers("img_emb", ".npy"), key=int)
        missing = [number for number in numbers if not storage.exists(self._metadata(number))]
        if not numbers or missing:
            found = f"no metadata_{missing[0]}.parquet" if missing else "no img_emb/img_emb_0.npy"
            expected = "img_emb/, metadata/ and perhaps text_emb/, as clip-retrieval writes them"
            raise PoolError(self.path, expected=expected, found=found, do="Name the folder that holds img_emb/.")
        return [
            PoolShard(index, self._vectors("image", number), storage.size_of(self._vectors("image", number)))
            for index, number in enumerate(numbers)
        ]

    def _numbers(self, folder: str, suffix: str) -> list[str]:
        place = storage.join(self.path, folder)
        pattern = re.compile(rf"{folder}_(\d+){re.escape(suffix)}")
        names = storage.list_files(place) if storage.exists(place) else []
        return [found[1] for found in map(pattern.fullmatch, names) if found]

    def _vectors(self, modality: str, number: str) -> str:
        return storage.join(self.path, _NAMES[modality], f"{_NAMES[modality]}_{number}.npy")

    def _metadata(self, number: str) -> str:
        return storage.join(self.path, "metadata", f"metadata_{number}.parquet")

    @staticmethod
    def _number(shard: PoolShard) -> str:
        return shard.name.rpartition("_")[2].removesuffix(".npy")

    @cached_property
    def _modalities(self) -> tuple[Literal["image", "text"], ...]:
        return ("image", "text") if self._numbers("text_emb", ".npy") else ("image",)

    def spaces(self) -> tuple[Space, ...]:
        """Return the space of the pictures and, where there are vectors of texts, of these."""
        return tuple(
            self.promised.space(modality, self.teacher, int(_mapped(self._vectors(modality, self._first)).shape[1]))
            for modality in self._modalities
        )

    @property
    def _first(self) -> str:
        return self._number(self.shards()[0])

    def split(self, shard: PoolShard) -> str:
        """Return the split of the partition's metadata."""
        return split_of(self.layout, self._metadata(self._number(shard)))

    @property
    def has_pictures(self) -> bool:
        """No picture is part of this layout."""
        return False

    @cached_property
    def _columns(self) -> list[pa.Field[Any]]:
        taken = {*POOL_SCHEMA.names, *_KEPT, *(space.name for space in self.spaces())}
        schema, fixed = self._table_schema(self._metadata(self._first)), row_types()
        return [pa.field(one.name, fixed.get(one.name, one.type)) for one in schema if one.name not in taken]

    @staticmethod
    def _table_schema(path: str) -> pa.Schema:
        with storage.open_read(path) as file, parquet_errors(path):
            return pq.read_schema(file).remove_metadata()

    def schema(self) -> pa.Schema:
        """Return the schema; what the metadata of the first partition holds beyond the text is carried along."""
        return imported_schema(self._columns, self.spaces())

    def uids(self, shard: PoolShard) -> list[str]:
        """Return the uids by the metadata alone."""
        return [uid for table in self._metadata_tables(shard) for uid in self._about(table)["uid"]]

    def _metadata_tables(self, shard: PoolShard) -> Iterator[pa.Table]:
        path = self._metadata(self._number(shard))
        wanted = [field.name for field in self._columns]
        with storage.open_read(path) as file, parquet_file(path, file) as metadata:
            missing = sorted(set(wanted) - set(metadata.schema_arrow.names))
            if missing:
                do = "Import the partitions that differ on their own."
                raise FormatError(path, expected="the first partition's columns", found=f"no {missing}", do=do)
            for batch in metadata.iter_batches(batch_size=_ROWS):
                batch.validate(full=True)
                yield pa.Table.from_batches([batch])

    def _rows_of_metadata(self, number: str) -> int:
        path = self._metadata(number)
        with storage.open_read(path) as file, parquet_file(path, file) as metadata:
            return int(metadata.metadata.num_rows)

    def _about(self, table: pa.Table) -> dict[str, list[Any]]:
        """Return the columns of a table of metadata as they are called here."""
        given = {name: table[name].to_pylist() for name in table.column_names}
        rows, nothing = len(table), [None] * len(table)
        texts, owns = given.get("caption", nothing), given.get("uid", nothing)
        keys = [str(key) for key in given.get("image_path", given.get("key", range(rows)))]
        places = [url or key for url, key in zip(given.get("url", nothing), keys, strict=True)]
        uids = [
            uid_without_image(own if isinstance(own, str) else None, str(place), text)
            for own, place, text in zip(owns, places, texts, strict=True)
        ]
        about = {field.name: given[field.name] for field in self._columns}
        about |= {"uid": uids, "key": keys, "text": texts}
        for name, told in (("source", self.source), ("license", self.license)):
            about[name] = [told] * rows if told else [one and str(one) for one in given.get(name, nothing)]
        return about

    def read(self, shard: PoolShard) -> Iterator[pa.Table]:
        """Yield the partition's rows; raises FormatError where its files do not hold equally many rows."""
        schema, number = self.schema(), self._number(shard)
        maps = {space.name: self._mapped(space, number) for space in self.spaces()}
        kinds = {space.name: read_type(space.dtype) for space in self.spaces()}
        rows = self._rows_of_metadata(number)
        for name, vectors in maps.items():
            if len(vectors) != rows:
                do = "Files of one number belong together row by row: these do not, so nothing was taken from them."
                where = f"partition {number}"
                raise FormatError(where, expected=f"{rows} vectors in {name}", found=str(len(vectors)), do=do)
        start = 0
        for table in self._metadata_tables(shard):
            stop = start + len(table)
            blocks = {name: vectors[start:stop].astype(kinds[name])[:, None] for name, vectors in maps.items()}
            yield table_of(self._about(table), blocks, schema)
            start = stop

    def _mapped(self, space: Space, number: str) -> npt.NDArray[np.floating[Any]]:
        path = self._vectors(space.modality, number)
        vectors = _mapped(path)
        if vectors.shape[1] != space.dim:
            expected, found = f"{space.dim} dimensions, as in the first partition", str(vectors.shape[1])
            raise FormatError(path, expected=expected, found=found, do="Import them on their own.")
        return vectors


def _mapped(path: str) -> npt.NDArray[np.floating[Any]]:
    """Memory-map a `.npy` of float16 or float32 vectors, shape (rows, dim); raises FormatError where it is none."""
    expected = "a .npy of float16 or float32 vectors, shape (rows, dim)"
    try:
        vectors = mapped_array(path)
    except (OSError, ValueError) as error:
        do = "Copy it again, or leave its number out of the folder."
        raise FormatError(path, expected=expected, found=str(error)[:200], do=do) from error
    if vectors.ndim != 2 or not vectors.shape[1] or vectors.dtype not in (np.float16, np.float32):
        found = f"{vectors.dtype} of shape {vectors.shape}"
        raise FormatError(path, expected=expected, found=found, do="Check what wrote it.")
    return vectors
