"""The indexes of a dataset: each is made once, when it is first needed, and tells how far it is while it is made."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.explore.reading import Reading
from dfndr.nearest import opened_index
from dfndr.progress import Task
from dfndr.search import Index

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Indexes"]


class Indexes:
    """One index for each space, and the dataset's row of each row in it."""

    def __init__(self, reading: Reading, *, place: str | None = None) -> None:
        self._reading, self._place = reading, place
        self._making = {name: _Making() for name in self._dataset.spaces}
        self._rows: dict[str, npt.NDArray[np.int64]] = {}

    @property
    def _dataset(self) -> Dataset:
        return self._reading.dataset

    def of(self, space: str) -> Index:
        """Return the index over a space: the one at hand, the one saved, or a new one, which is saved where asked."""
        name = self._dataset.space(space).name
        making = self._making[name]
        with making.lock:
            if making.index is None:
                making.state = "making"
                try:
                    index = opened_index(self._dataset, name, self._saved_at(name), progress=making)
                    self._rows[name] = self._reading.rows_of(index.packed_uids)
                    making.index, making.state = index, "ready"
                finally:
                    making.state = "ready" if making.index is not None else "failed"
            return making.index

    def rows_of(self, space: str) -> npt.NDArray[np.int64]:
        """Return the dataset's row of each row of an index: rows without a vector are not in it."""
        self.of(space)
        return self._rows[space]

    def told(self) -> list[dict[str, Any]]:
        """Return, for each space, how its index stands: `none`, `making` with `done` and `total`, `ready` or `failed`.

        One that is ready tells its `kind` and the share of the ten nearest that it finds.
        """
        return [{"space": name, **making.told()} for name, making in self._making.items()]

    def _saved_at(self, space: str) -> str | None:
        if self._place is None:
            return None
        # One index alone, as `dfndr search --index` saves it, is taken for its space.
        if storage.exists(storage.join(self._place, "index.json")):
            only = Index.load(self._place, dataset=self._dataset)
            return self._place if only.space.name == space else None
        return str(Path(self._place) / space)


class _Making:
    """How far one index is; a `Progress` with a single task at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.index: Index | None = None
        self.state, self._done, self._total, self._note = "none", 0, 0, ""

    @contextmanager
    def task(self, name: str, total: int | None, unit: str = "rows") -> Iterator[Task]:
        """Open a task; the page shows how far it is."""
        del name, unit
        self._done, self._total, self._note = 0, total or 0, ""
        yield self

    def say(self, text: str) -> None:
        """Show a short text beside the step."""
        self._note = text

    note = say

    def advance(self, count: int = 1) -> None:
        """Say that `count` more rows are done."""
        self._done += count

    def expect(self, total: int) -> None:
        """Say how many rows there will be in all."""
        self._total = total

    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = {"state": self.state}
        if self.state == "making":
            found |= {"done": self._done, "total": self._total, "note": self._note}
        if self.index is not None:
            found |= {"kind": self.index.kind, "recall_at_10": self.index.recall_at_10}
        return found
