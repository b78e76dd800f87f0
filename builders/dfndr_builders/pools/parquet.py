"""Parquet files that hold the images' bytes, one shard each."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from dfndr.errors import FormatError, PoolError
from dfndr.format.footers import check_footer
from dfndr_builders.pools.base import PoolShard
from dfndr_builders.pools.columns import BATCH_ROWS, ColumnsPool
from dfndr_builders.pools.files import Damaged, PoolFile, damage, files_of, shards_of

__all__ = ["ParquetPool"]


@dataclass(frozen=True)
class ParquetPool(ColumnsPool):
    """Parquet files, named by brace and glob patterns; kept columns have one type throughout, that of the first file.

    A file that cannot be opened is one row with the problem `shard_unreadable`; one that is damaged further on gives
    the rows before the damage, and one row `shard_truncated`.
    """

    paths: tuple[str, ...]

    @cached_property
    def _files(self) -> list[str]:
        return files_of(self.paths, "a Parquet file")

    @cached_property
    def _schema(self) -> pa.Schema:
        for path in self._files:
            try:
                with PoolFile(path) as file:
                    return self.pool_schema(_opened(file).schema_arrow, path)
            except Damaged:
                continue
        do = "Check the files: the columns cannot be known without one."
        raise PoolError(self.paths[0], expected="at least one whole Parquet file", found="none", do=do)

    def schema(self) -> pa.Schema:
        """Return POOL_SCHEMA and the kept columns; raises PoolError where a column is missing or no file is whole."""
        return self._schema

    def shards(self) -> Sequence[PoolShard]:
        """List the files; raises PoolError for a pattern that matches nothing and for a folder."""
        return self._shards

    @cached_property
    def _shards(self) -> list[PoolShard]:
        return shards_of(self._files)  # once, for it costs requests where the files are remote

    def read(self, shard: PoolShard) -> Iterator[pa.Table]:
        """Yield the file's rows, streaming; raises PoolError where its columns are not those of the first file."""
        schema, path = self.schema(), self._files[shard.index]
        return self.tables(self._batches(path, schema), schema, name=shard.name)

    def _batches(self, path: str, schema: pa.Schema) -> Iterator[pa.Table]:
        with PoolFile(path) as file:
            parquet = _opened(file)
            its_own = self.pool_schema(parquet.schema_arrow, path)
            if its_own != schema:
                column, kind = next((field.name, field.type) for field in its_own if field != schema.field(field.name))
                expected = f"the column {column!r} as {schema.field(column).type}, as in the first file"
                do = "Write the files with one type, or leave the column out of `keep`."
                raise PoolError(path, expected=expected, found=str(kind), do=do)
            columns = self.columns(parquet.schema_arrow)
            for group in range(parquet.num_row_groups):  # so that damage in one leaves the rows before it whole
                with damage():
                    batches = parquet.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns)
                while (batch := _next(batches)) is not None:
                    yield pa.Table.from_batches([batch])


def _next(batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
    with damage():
        batch = next(batches, None)
        if batch is not None:
            batch.validate()
        return batch


def _opened(file: PoolFile) -> pq.ParquetFile:
    with damage():
        opened = pq.ParquetFile(pa.PythonFile(cast("io.IOBase", file), mode="r"))
        size_bytes = file.seek(0, io.SEEK_END)
    try:
        check_footer(opened.metadata, size_bytes, "its footer")
    except FormatError as error:
        raise Damaged(str(error)) from error
    return opened
