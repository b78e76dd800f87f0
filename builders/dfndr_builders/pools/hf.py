"""Anything that Hugging Face `datasets` loads: a dataset on the Hub, a folder of one, or what save_to_disk left."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from dfndr import storage
from dfndr.errors import DfndrError, MissingExtra, PoolError
from dfndr_builders.pools.base import PoolShard
from dfndr_builders.pools.columns import BATCH_ROWS, ColumnsPool
from dfndr_builders.pools.files import MAX_FILE_BYTES, PoolFile, base_name

__all__ = ["HfPool"]

_ROWS_PER_SHARD = 1000
_TIMEOUT_S = 20


@dataclass(frozen=True)
class HfPool(ColumnsPool):
    """`name` is a Hub name or a local path; rows are streamed, and images stay the bytes they are.

    Shards are those of the dataset's files; what save_to_disk left is cut into shards of about 1,000 rows. What cannot
    be reached or loaded is a PoolError, also in mid-shard: nothing here tells a lost connection from a damaged file.
    """

    name: str
    split: str = field(default="train", kw_only=True)
    config: str | None = field(default=None, kw_only=True)

    def schema(self) -> pa.Schema:
        """Return POOL_SCHEMA and the kept columns; raises PoolError where a column is missing."""
        return self.pool_schema(_schema(self.name, self.config, self.split), self._where)

    def shards(self) -> Sequence[PoolShard]:
        """List the shards; raises PoolError where the dataset cannot be reached or has no such split."""
        count = _dataset(self.name, self.config, self.split).num_shards
        return [PoolShard(index, f"{base_name(self.name)}-{self.split}-{index:05d}") for index in range(count)]

    def read(self, shard: PoolShard) -> Iterator[pa.Table]:
        """Yield the shard's rows, streaming."""
        return self.tables(self._batches(shard.index), self.schema(), name=shard.name)

    def outside(self, path: str) -> bytes | None:
        """Return the bytes of an image that the dataset names by its path, as image folders do."""
        if not storage.exists(path):
            return None
        with PoolFile(path) as file:
            data = file.read(MAX_FILE_BYTES + 1)
        return data if len(data) <= MAX_FILE_BYTES else None

    @property
    def _where(self) -> str:
        return f"dataset {self.name!r}, split {self.split!r}"

    def _batches(self, index: int) -> Iterator[pa.Table]:
        dataset = _dataset(self.name, self.config, self.split)
        columns = self.columns(_schema(self.name, self.config, self.split))
        with _explained(self._where):
            batches = iter(dataset.shard(num_shards=dataset.num_shards, index=index).iter(BATCH_ROWS))
        while True:
            with _explained(self._where):
                batch = next(batches, None)
                if batch is None:
                    return
                batch = batch.select(columns).replace_schema_metadata(None)
            yield batch


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Turn what `datasets` raises into one PoolError; its errors, and those of the network below, are an open list."""
    try:
        yield
    except DfndrError:
        raise
    except Exception as error:
        found = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
        do = "Check the name, the split and the network connection (a private dataset needs `hf auth login`)."
        raise PoolError(where, expected="a dataset that loads", found=found, do=do) from error


@cache
def _dataset(name: str, config: str | None, split: str) -> Any:  # noqa: ANN401  a datasets.IterableDataset
    """Return the dataset as a stream of Arrow tables whose images are not decoded."""
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra.of("datasets", "build") from error

    with _explained(f"dataset {name!r}, split {split!r}"):
        folder = Path(name)
        if (folder / "state.json").exists() or (folder / "dataset_dict.json").exists():
            saved = datasets.load_from_disk(name)
            saved = saved[split] if isinstance(saved, datasets.DatasetDict) else saved
            stream = saved.to_iterable_dataset(num_shards=max(1, math.ceil(len(saved) / _ROWS_PER_SHARD)))
        else:
            if not folder.exists():
                from huggingface_hub import HfApi

                HfApi().dataset_info(
                    name, timeout=_TIMEOUT_S
                )  # fails at once where load_dataset tries for half a minute
            stream = datasets.load_dataset(name, config, split=split, streaming=True)
        for column, feature in (stream.features or {}).items():
            if isinstance(feature, datasets.Image):
                stream = stream.cast_column(column, datasets.Image(decode=False))
        return stream.with_format("arrow")


@cache
def _schema(name: str, config: str | None, split: str) -> pa.Schema:
    """Return the schema of the dataset's tables, from its first row, since not every dataset declares one."""
    where = f"dataset {name!r}, split {split!r}"
    with _explained(where):
        first = next(iter(_dataset(name, config, split).iter(1)), None)
    if first is None:
        raise PoolError(where, expected="at least one row", found="none", do="Choose another split.")
    schema: pa.Schema = first.schema
    return schema.remove_metadata()
