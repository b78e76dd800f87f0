"""Copying chosen rows out of many memory-mapped shards, at the speed of the memory.

All shards lie in one address space, so a gather over any number of them is one call over byte offsets from the lowest
address. One call matters: going shard by shard halves the speed at 20 shards, and is hopeless at 1,000.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from dfndr.order import RUN

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows: TypeAlias = npt.NDArray[np.int64]
    Bytes: TypeAlias = npt.NDArray[np.uint8]

__all__ = ["Buffers", "Picked", "Stack", "pick_out"]

_KEPT_BUFFERS = 4


@dataclass(frozen=True)
class Picked:
    """Rows to copy, the shard that each lies in, and which groups of RUN of them can be copied as one.

    `whole` says it for each group of the batch, in order; `loose` holds the places of the rows in no such group.
    """

    rows: Rows
    shard: Rows
    whole: npt.NDArray[np.bool_]
    loose: Rows


def pick_out(rows: Rows, starts: Rows) -> Picked:
    """Look rows up in shards that start at the rows `starts` (ascending, the first is 0)."""
    import numpy as np

    shard = np.searchsorted(starts, rows, side="right") - 1
    grouped = len(rows) // RUN * RUN
    groups, shards = rows[:grouped].reshape(-1, RUN), shard[:grouped].reshape(-1, RUN)
    whole = shards[:, 0] == shards[:, -1]
    whole &= groups[:, -1] - groups[:, 0] == RUN - 1
    if whole.any():
        whole &= (groups == groups[:, :1] + np.arange(RUN)).all(axis=1)
    loose = np.concatenate([np.repeat(~whole, RUN), np.ones(len(rows) - grouped, dtype=bool)])
    return Picked(rows, shard, whole, np.flatnonzero(loose))


class Stack:
    """The shards of one space, one below the other, to copy rows from; holds them mapped for as long as it lives."""

    def __init__(self, shards: Sequence[npt.NDArray[np.floating[Any]]], starts: Rows, *, torch: bool) -> None:
        """Take arrays of shape (rows, per_row, dim), of one type, and the row that each starts at."""
        import numpy as np

        self._shards = [np.ascontiguousarray(shard) for shard in shards]
        addresses = np.array([shard.ctypes.data for shard in self._shards], dtype=np.int64)
        sizes = np.array([shard.nbytes for shard in self._shards], dtype=np.int64)
        lowest = int(addresses.argmin())
        self.dtype, self.per_row, self.dim = self._shards[0].dtype, shards[0].shape[1], shards[0].shape[2]
        self.place_bytes = self.dim * self.dtype.itemsize
        self.row_bytes = self.per_row * self.place_bytes
        self._first = addresses - addresses[lowest] - starts * self.row_bytes
        span = int((addresses + sizes).max() - addresses[lowest])
        # Between the shards lies memory that is not ours, perhaps not even mapped: only offsets of rows are ever read.
        self._bytes = np.frombuffer(
            memoryview((ctypes.c_uint8 * span).from_address(int(addresses[lowest]))), dtype=np.uint8
        )
        self._torch = torch
        self._views: dict[int, Any] = {}

    def copy_rows(self, picked: Picked, out: Bytes) -> None:
        """Copy whole rows to `out`, of shape (rows, row_bytes)."""
        import numpy as np

        offsets = self._first[picked.shard] + picked.rows * self.row_bytes
        if not picked.whole.any():
            return self._copy(offsets, out)
        groups = len(picked.whole)
        heads = offsets[: groups * RUN : RUN]
        # A group that is no run is copied from a place that is surely there, and then written over.
        heads = np.where(picked.whole, heads, heads[picked.whole.argmax()])
        self._copy(heads, out[: groups * RUN].reshape(groups, RUN * self.row_bytes))
        if len(picked.loose):
            pieces = np.empty((len(picked.loose), self.row_bytes), dtype=np.uint8)
            self._copy(offsets[picked.loose], pieces)
            out[picked.loose] = pieces
        return None

    def copy_places(self, picked: Picked, places: Rows, out: Bytes) -> None:
        """Copy one vector of each row to `out`, of shape (rows, place_bytes)."""
        self._copy(self._first[picked.shard] + picked.rows * self.row_bytes + places * self.place_bytes, out)

    def used(self, picked: Picked) -> npt.NDArray[np.bool_]:
        """Say which places of each row hold a vector that is not all zeros, shape (rows, per_row)."""
        import numpy as np

        offsets = (self._first[picked.shard] + picked.rows * self.row_bytes)[:, None]
        offsets = (offsets + np.arange(self.per_row) * self.place_bytes).reshape(-1)
        first = np.empty((len(offsets), self.dtype.itemsize), dtype=np.uint8)
        self._copy(offsets, first)
        used: npt.NDArray[np.bool_] = first.view(self.dtype)[:, 0] != 0
        doubtful = np.flatnonzero(~used)
        vectors = np.empty((len(doubtful), self.place_bytes), dtype=np.uint8)
        self._copy(offsets[doubtful], vectors)
        used[doubtful] = vectors.view(self.dtype).any(axis=1)
        return used.reshape(-1, self.per_row)

    def _copy(self, offsets: Rows, out: Bytes) -> None:
        """Copy as many bytes as `out` is wide from each offset; every one must lie within a shard."""
        if not len(offsets):
            return
        view = self._view(out.shape[1])
        if self._torch:
            import torch

            torch.index_select(view, 0, torch.from_numpy(offsets), out=torch.from_numpy(out))
        else:
            out.view(view.dtype)[:, 0] = view[offsets]

    def _view(self, width: int) -> Any:  # noqa: ANN401  a torch tensor or an array
        """Return what looks like an array of all `width` bytes that follow any byte from the lowest address on."""
        import numpy as np

        if width not in self._views:
            items = len(self._bytes) - width + 1
            if self._torch:
                import torch

                self._views[width] = torch.from_numpy(self._bytes).as_strided((items, width), (1, 1))
            else:
                self._views[width] = np.ndarray((items,), f"V{width}", self._bytes.data, strides=(1,))
        return self._views[width]


class Buffers:
    """Memory for batches, used again once nothing refers to it any more: fresh pages cost as much as the copying."""

    def __init__(self) -> None:
        self._free: dict[int, list[memoryview]] = {}

    def take(self, size_bytes: int) -> Bytes:
        """Return an array of bytes whose memory is nobody else's until the array and all views of it are gone."""
        import numpy as np

        if not size_bytes:
            return np.empty(0, dtype=np.uint8)
        free = self._free.setdefault(size_bytes, [])
        memory = free.pop() if free else memoryview(np.empty(size_bytes, dtype=np.uint8))  # type: ignore[arg-type]
        # The base of this array is no array, so NumPy makes it the base of every view of it, and torch holds it too.
        array = np.frombuffer(memory, dtype=np.uint8)
        weakref.finalize(array, _give_back, free, memory).atexit = False
        return array


def _give_back(free: list[memoryview], memory: memoryview) -> None:
    if len(free) < _KEPT_BUFFERS:
        free.append(memory)
