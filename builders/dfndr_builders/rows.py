"""The two sources a build reads: every row of the pools, to be scored; and the selected rows, to be built."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dfndr import storage
from dfndr.dataset import Dataset, open_dataset
from dfndr.errors import DataError
from dfndr.format.shard import parquet_errors
from dfndr_builders.pools.base import Pool
from dfndr_builders.stage import POOL_SCHEMA, good_rows
from dfndr_builders.work import Unit

__all__ = ["PoolRows", "SelectedRows", "read_range"]

_PLACE = ("shard", "row", "uid", "score")
"""The columns of a selection that say where a row is; the others are columns of the dataset."""


@dataclass(frozen=True)
class PoolRows:
    """Every row of a pool, one unit a pool shard."""

    pool: Pool

    def units(self) -> list[Unit]:
        """Return one unit for each shard."""
        shards = enumerate(self.pool.shards())
        return [Unit(number, "train", number, number + 1, shard.name, shard.look) for number, shard in shards]

    def schema(self) -> pa.Schema:
        """Return the pool's schema."""
        return self.pool.schema()

    def read(self, unit: Unit) -> Iterator[pa.Table]:
        """Yield the rows of the unit's pool shards."""
        for shard in self.pool.shards()[unit.start : unit.stop]:
            yield from self.pool.read(shard)

    def describe(self, unit: Unit) -> str:
        """Return what the pool calls its shards."""
        return ", ".join(shard.name for shard in self.pool.shards()[unit.start : unit.stop])


@dataclass(frozen=True)
class SelectedRows:
    """The selected rows, read from the pool again and joined to their scores by uid, never by position.

    A unit is a range of rows of `selection/<split>.parquet`, which names for each row its pool shard, its place among
    the scores, its uid, and what selection made of it (fused scores, deciles). `beside` are columns that lie beside the
    scores, row by row: for each, the files in the order of the scores' shards, and the names wanted of them.
    """

    pool: Pool
    scores: str
    selection: str
    beside: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()

    def schema(self) -> pa.Schema:
        """Return the scores' columns, those beside them and the selection's, then the image and the problem columns."""
        fields = list(open_dataset(self.scores, check="size").schema())
        for paths, names in self.beside:
            fields += [_parquet_schema(paths[0]).field(name) for name in names]
        fields += [field for field in _parquet_schema(self._chosen("train")) if field.name not in _PLACE]
        return pa.schema([*fields, *(POOL_SCHEMA.field(name) for name in ("image", "problem", "detail"))])

    def describe(self, unit: Unit) -> str:
        """Return which rows of the selection they are."""
        return f"rows {unit.start:,} to {unit.stop - 1:,} of {self._chosen(unit.split)}"

    def _chosen(self, split: str) -> str:
        return storage.join(self.selection, f"{split}.parquet")

    def _scored(self, dataset: Dataset, shard: int, chosen: pa.Table) -> pa.Table:
        """Return what is known of the chosen rows of one shard, in the order chosen."""
        rows, stored = chosen["row"], dataset.shards[shard].files["rows"]
        scored = pq.read_table(str(dataset.local_file(stored))).take(rows)
        for paths, names in self.beside:
            with storage.open_read(paths[shard]) as file:
                columns = pq.read_table(file, columns=list(names)).take(rows)
            for name in names:
                scored = scored.append_column(columns.schema.field(name), columns[name])
        for name in chosen.column_names:
            if name not in _PLACE:
                scored = scored.append_column(chosen.schema.field(name), chosen[name])
        return scored

    def read(self, unit: Unit) -> Iterator[pa.Table]:
        """Yield the unit's rows in the pool's order; raises DataError where the pool lacks a row it had when scored."""
        dataset, schema = open_dataset(self.scores, check="size"), self.schema()
        chosen = read_range(self._chosen(unit.split), unit.start, unit.stop)
        for shard in dict.fromkeys(chosen["shard"].to_pylist()):
            scored = self._scored(dataset, shard, chosen.filter(pc.equal(chosen["shard"], shard)))
            hashes = dict(zip(scored["uid"].to_pylist(), scored["sha256"].to_pylist(), strict=True))
            places = {uid: place for place, uid in enumerate(hashes)}
            for table in self.pool.read(self.pool.shards()[shard]):
                found = []
                for row in good_rows(table):
                    uid = table["uid"][row].as_py()
                    if uid in places and _sha256(table["image"][row]) == hashes[uid]:
                        found.append((row, places.pop(uid)))
                if found:
                    pictures, joined = table.take([row for row, _ in found]), scored.take([place for _, place in found])
                    for name in ("image", "problem", "detail"):
                        joined = joined.append_column(schema.field(name), pictures[name])
                    yield joined.cast(schema)
            if places:
                do = "The pool changed after it was scored. Run the same command again: what changed is scored again."
                raise DataError(
                    f"pool shard {self.pool.shards()[shard].name}",
                    expected=f"the {len(scored)} selected rows",
                    found=f"{len(places)} of them missing or with another picture, such as uid {next(iter(places))}",
                    do=do,
                )


def _sha256(image: pa.Scalar) -> str:
    return hashlib.sha256(image.as_buffer()).hexdigest()


def _parquet_schema(path: str) -> pa.Schema:
    with storage.open_read(path) as file:
        return pq.read_schema(file).remove_metadata()


def read_range(path: str, start: int, stop: int) -> pa.Table:
    """Return rows [start, stop) of a Parquet file, touching only the row groups that hold them.

    Raises FormatError where the file is damaged.
    """
    with storage.open_read(path) as source, parquet_errors(path), pq.ParquetFile(source) as file:
        first, wanted = 0, []
        for group in range(file.metadata.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            if first < stop and first + count > start:
                wanted.append((group, first))
            first += count
        table = file.read_row_groups([group for group, _ in wanted])
        return table.slice(start - (wanted[0][1] if wanted else 0), stop - start)
