"""Union-find over the rows of a dataset, in arrays: pairs stream in, and each row's group comes out.

A row is a position in the dataset of scores, counted through its shards. 8 bytes a row while pairs come in, some 50 at
the end; pairs are held only while they are joined.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.dataset import Dataset
from dfndr.errors import DataError

__all__ = ["Groups", "Rows", "join_equal", "require_column"]

Rows = npt.NDArray[np.int64]


class Groups:
    """A partition of the rows 0..count-1; every row is alone at first, and a group is named by its smallest row."""

    def __init__(self, count: int) -> None:
        self._parents: Rows = np.arange(count, dtype=np.int64)

    def roots(self, rows: Rows) -> Rows:
        """Return the smallest row of each row's group, and shorten the way there."""
        while True:
            parents = self._parents[rows]
            above = self._parents[parents]
            if np.array_equal(parents, above):
                return parents
            self._parents[rows] = above

    def join(self, ones: Rows, others: Rows) -> None:
        """Put each row of `ones` and the row of `others` at its place into one group."""
        first, second = self.roots(ones), self.roots(others)
        while (differ := first != second).any():
            low, high = np.minimum(first, second)[differ], np.maximum(first, second)[differ]
            np.minimum.at(self._parents, high, low)
            both = self.roots(np.concatenate([low, high]))  # together: the way from high to a root leads through low
            first, second = both[: len(low)], both[len(low) :]

    def tables(self, name: str, scores: Dataset) -> Iterator[pa.Table]:
        """Yield, shard by shard, a table of one int64 column: the group, null where the row is alone."""
        groups = self.roots(np.arange(len(self._parents), dtype=np.int64))
        is_alone = np.bincount(groups, minlength=len(groups))[groups] == 1
        start = 0
        for shard in scores.shards:
            here = slice(start, start + shard.rows)
            yield pa.table({name: pa.array(groups[here], pa.int64(), mask=is_alone[here])})
            start += shard.rows


def join_equal(groups: Groups, values: npt.NDArray[np.uint64], rows: Rows) -> tuple[npt.NDArray[np.uint64], Rows]:
    """Join rows of equal value, and return the distinct values, ascending, with the first of `rows` that has each."""
    order = np.argsort(values, kind="stable")
    values, rows = values[order], rows[order]
    is_first = np.ones(len(values), dtype=bool)
    is_first[1:] = values[1:] != values[:-1]
    del order
    firsts, again = np.flatnonzero(is_first), np.flatnonzero(~is_first)
    groups.join(rows[again], rows[firsts[np.searchsorted(firsts, again) - 1]])
    return values[firsts], rows[firsts]


def require_column(scores: Dataset, name: str, kind: pa.DataType) -> None:
    """Raise DataError where the scores lack a column or hold another type; a dataset without shards lacks nothing."""
    if not scores.shards:
        return
    schema = scores.schema()
    found = str(schema.field(name).type) if name in schema.names else "no such column"
    if found != str(kind):
        do = "Let the recipe measure it, then score again."
        raise DataError(f"the scores in {scores.root}", expected=f"a column {name!r} of {kind}", found=found, do=do)
