"""From the rows that a dataset has to the rows that its files hold, which may be more: some were taken out.

Every reader counts rows as if those that were taken out had never been there; this is the one place that knows better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from dfndr.errors import UsageError
from dfndr.format.schema import StorageType
from dfndr.format.storage_types import Block, Decoded, is_coded

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Rows = npt.NDArray[np.int64]
__all__ = ["Blocks", "Places", "row_numbers"]


def row_numbers(given: npt.NDArray[Any], count: int, *, where: str) -> Rows:
    """Return the rows that somebody asked for, those below zero counted from the end of `count` rows.

    Raises UsageError for what are no numbers of rows, and for a row outside [-count, count).
    """
    import numpy as np

    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        found = f"an array of {given.dtype}, shape {given.shape}"
        raise UsageError(where, expected="a list of row numbers", found=found, do="Check them.")
    index = np.where(given < 0, given + count, given).astype(np.int64)
    outside = given[(index < 0) | (index >= count)]
    if len(outside):
        found = f"row {outside[0]}"
        raise UsageError(where, expected=f"rows of 0..{count - 1}", found=found, do="Check them.")
    return index


@dataclass(frozen=True, eq=False)
class Places:
    """Where rows lie in the files of some shards, which are thought of as one below the other.

    `starts` are the stored rows that the shards begin at, and the end of the last; `removed` are the stored rows that
    were taken out, ascending. Both are int64 and count from the first row of the first shard.
    """

    starts: Rows
    removed: Rows

    @classmethod
    def of(cls, shards: Sequence[tuple[int, Rows | Sequence[int]]]) -> Places:
        """Take, for each shard, how many rows its files hold and which of them were taken out, ascending."""
        import numpy as np

        starts = np.cumsum([0, *(stored for stored, _ in shards)], dtype=np.int64)
        gone = [np.asarray(rows, dtype=np.int64) + start for (_, rows), start in zip(shards, starts, strict=False)]
        return cls(starts, np.concatenate([np.empty(0, dtype=np.int64), *gone]))

    def __len__(self) -> int:
        return int(self.starts[-1]) - len(self.removed)

    def stored(self, rows: Rows) -> Rows:
        """Return where rows are stored; `rows` itself where nothing was taken out."""
        import numpy as np

        if not len(self.removed):
            return rows
        before = self.removed - np.arange(len(self.removed))  # for each row that is gone, how many rows come before it
        found: Rows = rows + np.searchsorted(before, rows, side="right")
        return found

    def within(self, rows: Rows) -> tuple[Rows, Rows]:
        """Return for each row the number of its shard and where it is stored in that shard's files."""
        import numpy as np

        stored = self.stored(rows)
        shards = np.searchsorted(self.starts, stored, side="right") - 1
        return shards, stored - self.starts[shards]

    def removed_of(self, shard: int) -> Rows:
        """Return which of the rows that a shard's files hold were taken out, ascending."""
        import numpy as np

        first, last = np.searchsorted(self.removed, self.starts[shard : shard + 2])
        found: Rows = self.removed[first:last] - self.starts[shard]
        return found

    def kept(self, shard: int, table: pa.Table) -> pa.Table:
        """Return the rows of a shard's file without those that were taken out."""
        import numpy as np

        return table.take(np.delete(np.arange(len(table)), self.removed_of(shard)))


class Blocks(Sequence[Block]):
    """Each shard's vectors without those of the rows that were taken out: copied, each time, only where some were.

    Of what is coded, what is asked of a block is decoded.
    """

    def __init__(self, stored: Sequence[npt.NDArray[Any]], places: Places, kind: StorageType) -> None:
        self._stored, self._places, self._kind = stored, places, kind

    def __len__(self) -> int:
        return len(self._stored)

    @overload
    def __getitem__(self, number: int) -> Block: ...

    @overload
    def __getitem__(self, number: slice) -> list[Block]: ...

    def __getitem__(self, number: int | slice) -> Block | list[Block]:
        import numpy as np

        if isinstance(number, slice):
            return [self[one] for one in range(len(self))[number]]
        number = range(len(self))[number]
        gone = self._places.removed_of(number)
        block = np.delete(self._stored[number], gone, axis=0) if len(gone) else self._stored[number]
        return Decoded(block, self._kind) if is_coded(self._kind) else block

    def __iter__(self) -> Iterator[Block]:
        return (self[number] for number in range(len(self)))
