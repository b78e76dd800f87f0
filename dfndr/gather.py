"""Copying chosen rows out of many memory-mapped shards, at the speed of the memory.

All shards lie in one address space, so a gather over any number of them is one call over offsets from the lowest
address. One call matters: going shard by shard costs a third of the speed at 20 shards, and more with every other one.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from dfndr.order import Runs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows: TypeAlias = npt.NDArray[np.int64]
    Bytes: TypeAlias = npt.NDArray[np.uint8]

__all__ = ["Buffers", "Lookup", "Stack"]

_KEPT_BUFFERS = 4
_LINE, _HUGE_PAGE = 64, 1 << 21
"""Where buffers begin: copying to the middle of cache lines takes nearly twice as long."""


class Lookup:
    """Finds the shard that each row lies in, by a table; the branches of a binary search would mostly miss."""

    def __init__(self, counts: Sequence[int]) -> None:
        """Take the rows of each shard."""
        import numpy as np

        self.ends: Rows = np.cumsum(np.asarray(counts, dtype=np.int64))
        self.starts: Rows = self.ends - np.asarray(counts, dtype=np.int64)
        total = int(sum(counts))
        self._shift = max(0, (total // (8 * max(len(counts), 1))).bit_length() - 1)
        self._guess = np.searchsorted(self.ends, np.arange(0, total, 1 << self._shift), side="right")

    def shard_of(self, rows: Rows) -> Rows:
        """Return the number of each row's shard, int64."""
        shard: Rows = self._guess[rows >> self._shift]
        while (late := rows >= self.ends[shard]).any():
            shard += late
        return shard

    def torn(self, runs: Runs, shard: Rows) -> Torn | None:
        """Return the runs that go on in another shard than `shard`, where they begin; None where all are whole."""
        import numpy as np

        torn = runs.heads + runs.length > self.ends[shard]
        if not torn.any():
            return None
        number = torn.nonzero()[0]
        slots = (number[:, None] * runs.length + np.arange(runs.length)).reshape(-1)
        rows = Runs(runs.heads[number], runs.length, runs.ring).rows()
        return Torn(number, None if torn.all() else int(torn.argmin()), slots, rows, self.shard_of(rows))


@dataclass(frozen=True, eq=False)
class Torn:
    """Runs that go on in another shard: their numbers, that of any whole one, and their rows' slots and shards."""

    number: Rows
    whole: int | None
    slots: Rows
    rows: Rows
    shard: Rows


class Stack:
    """The shards of one space, one below the other, to copy rows from; holds them mapped for as long as it lives."""

    def __init__(self, shards: Sequence[npt.NDArray[Any] | None], lookup: Lookup, *, torch: bool) -> None:
        """Take at least one array, all of shape (rows, per_row, numbers) with rows above 0, and of one type.

        None stands for a shard that is not at hand, and of which no row may be asked for.
        """
        import numpy as np

        self._shards, self._lookup, self._torch = (
            [np.asarray(shard) for shard in shards if shard is not None],
            lookup,
            torch,
        )
        first = self._shards[0]
        self.dtype, self.per_row = first.dtype, first.shape[1]
        self.place_bytes = first.shape[2] * self.dtype.itemsize
        self.row_bytes = self.per_row * self.place_bytes
        places = np.array([shard.ctypes.data for shard in self._shards], dtype=np.int64)
        ends = places + np.array([len(shard) for shard in self._shards]) * self.row_bytes
        self.maps: Rows = np.stack([places, ends - places], axis=1)
        """Where the shards lie, (address, bytes) of each."""
        self._lowest = lowest = int(places.min())
        highest = int(ends.max())
        addresses = np.full(len(shards), lowest, dtype=np.int64)
        addresses[[shard is not None for shard in shards]] = places
        # Between the shards lies memory that is not ours, perhaps not even mapped: only words of rows are ever read.
        span = memoryview((ctypes.c_uint8 * (highest - lowest)).from_address(lowest))
        kinds = (np.int64, np.int32, np.uint8)  # of int8 vectors each may take four bytes more than a multiple of eight
        sizes = [np.dtype(kind).itemsize for kind in kinds]
        fits = [not (addresses % size).any() and self.place_bytes % size == 0 for size in sizes]
        self._words = np.frombuffer(span, dtype=kinds[fits.index(True)])
        self._word_bytes = self._words.itemsize
        self._place_words, self._row_words = self.place_bytes // self._word_bytes, self.row_bytes // self._word_bytes
        self._first: Rows = (addresses - lowest) // self._word_bytes - lookup.starts * self._row_words
        self._views: dict[int, Any] = {}

    def words_of(self, rows: Rows, shard: Rows) -> Rows:
        """Return where rows begin, in words from the lowest address."""
        words: Rows = self._first[shard]
        words += rows * self._row_words
        return words

    def addresses(self, runs: Runs) -> Rows:
        """Return where in memory each run begins; one that goes on in another shard is thought to go on in its own."""
        return self.words_of(runs.heads, self._lookup.shard_of(runs.heads)) * self._word_bytes + self._lowest

    def copy_rows(self, runs: Runs, shard: Rows, out: Bytes, torn: Torn | None) -> None:
        """Copy whole rows to `out`, of shape (rows, row_bytes); `shard` says where the head of each run lies.

        `torn` are the runs that go on in another shard, as `Lookup.torn` tells; all spaces have them in common.
        """
        import numpy as np

        if torn is None or torn.whole is not None:
            words = self.words_of(runs.heads, shard)
            if torn is not None:
                words[torn.number] = words[torn.whole]  # for now; their rows follow
            self._copy(words, out.reshape(len(words), runs.length * self.row_bytes))
        if torn is not None:
            pieces = np.empty((len(torn.rows), self.row_bytes), dtype=np.uint8)
            self._copy(self.words_of(torn.rows, torn.shard), pieces)
            out[torn.slots] = pieces

    def copy_places(self, words: Rows, places: Rows, out: Bytes) -> None:
        """Copy one vector of each row to `out`, of shape (rows, place_bytes)."""
        self._copy(words + places * self._place_words, out)

    def used(self, words: Rows) -> npt.NDArray[np.bool_]:
        """Say which places of each row hold a vector that is not all zeros, shape (rows, per_row)."""
        import numpy as np

        vectors = (words[:, None] + np.arange(self.per_row) * self._place_words).reshape(-1)
        starts = np.empty((len(vectors), max(self.dtype.itemsize, self._word_bytes)), dtype=np.uint8)
        self._copy(vectors, starts)
        used: npt.NDArray[np.bool_] = np.any(starts.view(self.dtype), axis=1)
        doubtful = np.flatnonzero(~used)
        found = np.empty((len(doubtful), self.place_bytes), dtype=np.uint8)
        self._copy(vectors[doubtful], found)
        used[doubtful] = found.view(self.dtype).any(axis=1)
        return used.reshape(-1, self.per_row)

    def _copy(self, words: Rows, out: Bytes) -> None:
        """Copy as many bytes as `out` is wide from each word on; all of them must lie within one shard."""
        if not len(words):
            return
        view = self._view(out.shape[1] // self._word_bytes)
        if self._torch:
            import torch

            torch.index_select(view, 0, torch.from_numpy(words), out=torch.from_numpy(out.view(self._words.dtype)))
        else:
            out.view(view.dtype)[:, 0] = view[words]

    def _view(self, width: int) -> Any:  # noqa: ANN401  a torch tensor or an array
        """Return what looks like an array of all `width` words that follow any word from the lowest address on."""
        import numpy as np

        if width not in self._views:
            count, step = len(self._words) - width + 1, self._word_bytes
            if self._torch:
                import torch

                self._views[width] = torch.from_numpy(self._words).as_strided((count, width), (1, 1))
            else:
                self._views[width] = np.ndarray((count,), f"V{width * step}", self._words.data, strides=(step,))
        return self._views[width]


class Buffers:
    """Memory for batches, used again once nothing refers to it any more: fresh pages cost as much as the copying."""

    def __init__(self, *, pinned: bool = False) -> None:
        """Take whether the memory is to be such as a GPU copies from while the processor does something else."""
        self._pinned, self._free = pinned, dict[int, list[memoryview]]()

    def take(self, size_bytes: int) -> Bytes:
        """Return an array of bytes whose memory is nobody else's until the array and all views of it are gone."""
        import numpy as np

        if not size_bytes:
            return np.empty(0, dtype=np.uint8)
        free = self._free.setdefault(size_bytes, [])
        memory = free.pop() if free else self._fresh(size_bytes)
        # The base of this array is no array, so NumPy makes it the base of every view of it, and torch holds it too.
        array = np.frombuffer(memory, dtype=np.uint8)
        weakref.finalize(array, _give_back, free, memory).atexit = False
        return array

    def _fresh(self, size_bytes: int) -> memoryview:
        import numpy as np

        if not self._pinned:
            align = _HUGE_PAGE if size_bytes >= 2 * _HUGE_PAGE else _LINE
            spare = np.empty(size_bytes + align, dtype=np.uint8)
            start = -spare.ctypes.data % align
            return memoryview(spare[start : start + size_bytes])  # type: ignore[arg-type]
        import torch

        return memoryview(torch.empty(size_bytes, dtype=torch.uint8, pin_memory=True).numpy())


def _give_back(free: list[memoryview], memory: memoryview) -> None:
    if len(free) < _KEPT_BUFFERS:
        free.append(memory)
