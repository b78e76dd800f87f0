"""The samples that a build dropped because of one that it kept, from the dataset's own record of duplicates."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from dfndr.dataset import Dataset
from dfndr.errors import FormatError
from dfndr.explore.values import plain
from dfndr.format.shard import parquet_errors

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Dropped"]

_ROLE = "audit/duplicates"
_COLUMNS = ("uid", "reason", "kept_uid", "distance")
_MOST = 50


class Dropped:
    """`audit/duplicates` of a dataset, read when it is first needed; empty where there is none."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._table = cache(self._read)

    def _read(self) -> pa.Table | None:
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        stored = self._dataset.manifest.files.get(_ROLE)
        if stored is None:
            return None
        path = str(self._dataset.local_file(stored))
        with parquet_errors(path):
            table = pq.read_table(path)
        if missing := set(_COLUMNS) - set(table.column_names):
            do = "Run `dfndr verify` on the dataset."
            raise FormatError(path, expected=f"columns {_COLUMNS}", found=f"no {sorted(missing)}", do=do)
        table = table.select(list(_COLUMNS))
        gone = self._dataset.removed
        return table if gone is None else table.filter(~pc.field("uid").isin(gone.uids.combine_chunks()))

    def of(self, uid: str) -> dict[str, Any]:
        """Return how many samples were dropped for this one, and the 50 closest: `uid`, `reason` and `distance`."""
        import pyarrow.compute as pc

        table = self._table()
        if table is None:
            return {"rows": 0, "samples": []}
        mine = table.filter(pc.field("kept_uid") == uid).sort_by("distance")
        closest = mine.slice(0, _MOST).drop_columns("kept_uid").to_pylist()
        return {"rows": len(mine), "samples": [plain(row) for row in closest]}
