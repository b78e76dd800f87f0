"""Values of a dataset's columns at chosen rows, each shard read once and only when it is needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from dfndr.dataset import Dataset
from dfndr.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Rows: TypeAlias = npt.NDArray[np.int64]

__all__ = ["Columns", "Values"]


class Columns:
    """Some columns of a dataset, each shard's read once, when a row of it is first asked for."""

    def __init__(self, dataset: Dataset, names: Sequence[str]) -> None:
        """Raise UsageError for a column that is not there."""
        import numpy as np

        self.names = tuple(names)
        there = dataset.schema().names if dataset.manifest.shards else list(names)
        for name in names:
            if name not in there:
                raise UsageError(
                    f"column {name!r}", expected=f"one of {there}", found="no such column", do="Name one of them."
                )
        self._dataset, self._starts = dataset, np.cumsum([0, *(shard.rows for shard in dataset.shards)])
        self._tables: dict[int, pa.Table] = {}

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_tables": {}}  # another process reads them by itself

    def take(self, name: str, rows: Rows) -> list[Any]:
        """Return a column's values at some rows, in their order."""
        import numpy as np
        import pyarrow as pa

        if not len(rows):
            return []
        by_row = np.argsort(rows)
        ascending = rows[by_row]
        cuts = pairwise(np.searchsorted(ascending, self._starts))
        pieces = [
            self._table(number)[name].take(ascending[start:stop] - self._starts[number])
            for number, (start, stop) in enumerate(cuts)
            if start < stop
        ]
        back = np.empty_like(by_row)
        back[by_row] = np.arange(len(rows))
        values: list[Any] = (
            pa.concat_arrays([chunk for piece in pieces for chunk in piece.chunks]).take(back).to_pylist()
        )
        return values

    def keep(self, numbers: Collection[int]) -> None:
        """Forget what was read of all shards but these."""
        self._tables = {number: table for number, table in self._tables.items() if number in numbers}

    def _table(self, number: int) -> pa.Table:
        if number not in self._tables:
            self._tables[number] = self._dataset.table(number, self.names).combine_chunks()
        return self._tables[number]


class Values:
    """Values of columns that were taken already, at a batch's rows."""

    def __init__(self, taken: Mapping[str, list[Any]]) -> None:
        self.names, self._taken = tuple(taken), taken

    def take(self, name: str, rows: Rows) -> list[Any]:
        """Return a column's values; they were taken at these rows."""
        return self._taken[name]
