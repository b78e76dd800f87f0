"""Chosen rows and whole columns of a dataset's Parquet, a row group at a time, so a large dataset is never held."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from dfndr.dataset import Dataset
from dfndr.errors import FormatError, UsageError
from dfndr.format.shard import parquet_errors, parquet_file
from dfndr.format.uid import UID, pack_uids

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Rows: TypeAlias = npt.NDArray[np.int64]

__all__ = ["Reading"]

_MOST_BYTES = 256 << 20


class Reading:
    """The rows of a dataset by number and by uid; what was read last is kept, up to 256 MiB."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.schema = dataset.schema()
        self._starts: list[int] = [0]
        self._groups: list[tuple[int, int]] = []  # shard and row group that begin at `_starts`, stored rows
        self._kept: OrderedDict[tuple[int, str], pa.ChunkedArray] = OrderedDict()
        self._bytes, self._lock = 0, threading.Lock()
        self._find_groups()
        self.uids, self._order = self._read_uids()

    def __len__(self) -> int:
        return len(self.dataset)

    def _find_groups(self) -> None:
        import pyarrow.parquet as pq

        for number, shard in enumerate(self.dataset.shards):
            path = str(self.dataset.local_file(shard.files["rows"]))
            with parquet_errors(path):
                metadata = pq.read_metadata(path)
            if metadata.num_rows != shard.stored:
                do = "Run `dfndr verify` on the dataset."
                raise FormatError(path, expected=f"{shard.stored} rows", found=f"{metadata.num_rows} rows", do=do)
            for group in range(metadata.num_row_groups):
                if rows := metadata.row_group(group).num_rows:
                    self._groups.append((number, group))
                    self._starts.append(self._starts[-1] + rows)

    def _read_uids(self) -> tuple[npt.NDArray[np.bytes_], Rows]:
        """Return the uids in the dataset's order, 16 bytes each, and the rows in the order of their uids."""
        import numpy as np

        packed = np.empty((len(self), 16), dtype=np.uint8)
        filled = 0
        for table, shard in zip(self.dataset.tables(["uid"]), self.dataset.shards, strict=True):
            packed[filled : filled + len(table)] = pack_uids(table["uid"].to_pylist(), shard.files["rows"].path)
            filled += len(table)
        uids = packed.view("S16")[:, 0]
        return uids, np.argsort(uids, kind="stable")

    def uid(self, row: int) -> str:
        """Return a row's uid as 32 hex digits."""
        return self.uids[row : row + 1].tobytes().hex()

    def row_of(self, uid: str) -> int:
        """Return the first row that has a uid; raises UsageError where none has it."""
        import numpy as np

        uid = uid.strip().lower()
        if UID.fullmatch(uid):
            wanted = np.frombuffer(bytes.fromhex(uid), dtype="S16")
            place = int(np.searchsorted(self.uids, wanted, sorter=self._order)[0])
            if place < len(self) and self.uid(int(self._order[place])) == uid:
                return int(self._order[place])
        do = "A uid has 32 hex digits; check that it is of this dataset."
        raise UsageError(f"uid {uid[:40]}", expected="a row of this dataset", found="no such row", do=do)

    def rows_of(self, packed: npt.NDArray[np.uint8]) -> Rows:
        """Return the first row of each of many uids, shape (n, 16), which all are here."""
        import numpy as np

        wanted = np.ascontiguousarray(packed).view("S16")[:, 0]
        found: Rows = self._order[np.searchsorted(self.uids, wanted, sorter=self._order)]
        return found

    def take(self, names: Sequence[str], rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return some columns of some rows as dicts, in the order asked for."""
        by_group: dict[int, list[int]] = {}
        stored = self._stored(rows)
        for place, row in enumerate(stored):
            by_group.setdefault(bisect_right(self._starts, row) - 1, []).append(place)
        found: list[dict[str, Any]] = [{} for _ in rows]
        for group, places in by_group.items():
            inside = [stored[place] - self._starts[group] for place in places]
            for name in names:
                values = self._column(group, name).take(inside).to_pylist()
                for place, value in zip(places, values, strict=True):
                    found[place][name] = value
        return found

    def warm(self, names: Sequence[str]) -> None:
        """Read some columns ahead, row group after row group, until three quarters of what is kept is full."""
        for group in range(len(self._groups)):
            if self._bytes > _MOST_BYTES * 3 // 4:
                return
            for name in names:
                self._column(group, name)

    def shard_of(self, row: int) -> int:
        """Return the number of the shard that holds a row, in this view of the dataset."""
        return self._groups[bisect_right(self._starts, self._stored([row])[0]) - 1][0]

    def _stored(self, rows: Sequence[int]) -> list[int]:
        import numpy as np

        found: list[int] = self.dataset.places.stored(np.asarray(rows, dtype=np.int64)).tolist()
        return found

    def column(self, name: str) -> list[pa.ChunkedArray]:
        """Return a whole column, a piece per shard."""
        return [table[name] for table in self.dataset.tables([name])]

    def _column(self, group: int, name: str) -> pa.ChunkedArray:
        with self._lock:
            if (group, name) in self._kept:
                self._kept.move_to_end((group, name))
                return self._kept[group, name]
        number, inside = self._groups[group]
        path = str(self.dataset.local_file(self.dataset.shards[number].files["rows"]))
        with parquet_file(path) as file:
            values = file.read_row_group(inside, columns=[name])[name]
        with self._lock:
            if (group, name) not in self._kept:
                self._kept[group, name] = values
                self._bytes += values.nbytes
            while self._bytes > _MOST_BYTES and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return values
