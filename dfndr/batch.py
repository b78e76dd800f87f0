"""What a loader gives at each step: rows of a dataset, with their vectors and, when asked for, values of columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from dfndr.columns import Columns, Values
from dfndr.errors import UsageError
from dfndr.picking import Draws

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows: TypeAlias = npt.NDArray[np.int64]

__all__ = ["Batch"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows of a dataset; `batch["image/enc"]` gives their vectors, `batch["uid"]` the values of a column.

    `rows` are row numbers of the dataset, int64, in the batch's order. `vectors` holds a tensor or array per space, of
    shape (rows, dim), or (rows, per_row, dim) where all were asked for, in the type they are stored in. `places` says,
    for each space with several vectors per row of which one was picked, which one that is. Columns are read when they
    are first asked for.
    """

    rows: Rows
    vectors: Mapping[str, Any]
    places: Mapping[str, Rows]
    columns: Columns | Values
    draws: Draws

    def __len__(self) -> int:
        return len(self.rows)

    def __reduce__(self) -> tuple[object, ...]:
        """Give another process the values of the columns, and not the dataset to read them from."""
        values = Values({name: self.columns.take(name, self.rows) for name in self.columns.names})
        return Batch, (self.rows, dict(self.vectors), dict(self.places), values, self.draws)

    @property
    def picked(self) -> Mapping[str, Rows]:
        """Return which view ("image") and which caption ("caption") each row gives, where one of several was picked."""
        return {name.partition("/")[0]: places for name, places in self.places.items()}

    def drawn(self, what: str, below: int) -> Rows:
        """Return a whole number from 0 to below `below` for each row, such as a teacher's, int64.

        It is a pure function of `what` and the loader's seed, the epoch and the row, as picks are.
        """
        return self.draws.drawn(f"drawn {what}", below)

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  a tensor, an array, or a list of a column's values
        """Return a space's vectors or a list of a column's values; raises UsageError for any other name."""
        if name in self.vectors:
            return self.vectors[name]
        if name in self.columns.names:
            return self.columns.take(name, self.rows)
        there = ", ".join([*self.vectors, *self.columns.names])
        raise UsageError(
            f"batch[{name!r}]", expected=f"one of: {there}", found="no such name", do="Name it to the Loader."
        )
