"""Copying chosen rows out of many memory-mapped shards, at the speed of the memory.

All shards of all spaces lie in one address space, so a gather over any number of them is one call over offsets from the
lowest address. One call matters: it is shared out among threads once, and going shard by shard costs more with every
other shard.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from dfndr.order import Runs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows: TypeAlias = npt.NDArray[np.int64]
    Bytes: TypeAlias = npt.NDArray[np.uint8]

__all__ = ["Buffers", "Lookup", "Stack", "Stacks"]

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

    def torn(self, runs: Runs, shard: Rows) -> Rows:
        """Return the numbers of the runs that go on in another shard than `shard`, where they begin."""
        if runs.length == 1:
            return shard[:0]
        numbers: Rows = (runs.heads + runs.length > self.ends[shard]).nonzero()[0]
        return numbers

    def parts(self, runs: Runs, shard: Rows, number: int) -> list[tuple[int, int, int, int]]:
        """Return a run in parts, each of one shard: (place among all runs' rows, shard, row within it, rows)."""
        place, end, here = number * runs.length, (number + 1) * runs.length, int(shard[number])
        row, found = int(runs.heads[number] - self.starts[here]), []
        while place < end:
            count = min(end - place, int(self.ends[here] - self.starts[here]) - row)
            found.append((place, here, row, count))
            place, here, row = place + count, (here + 1) % len(self.ends), 0
        return found


class Stack:
    """The shards of one space, one below the other, and where in memory their rows lie."""

    def __init__(self, shards: Sequence[npt.NDArray[Any] | None], lookup: Lookup) -> None:
        """Take at least one array, all of shape (rows, per_row, numbers) with rows above 0, and of one type.

        None stands for a shard that is not at hand, and of which no row may be asked for.
        """
        import numpy as np

        self._shards = [None if shard is None else np.asarray(shard) for shard in shards]
        there = [shard for shard in self._shards if shard is not None]
        first = there[0]
        self.dtype, self.per_row = first.dtype, first.shape[1]
        self.place_bytes = first.shape[2] * self.dtype.itemsize
        self.row_bytes = self.per_row * self.place_bytes
        self.maps: Rows = np.array([(shard.ctypes.data, shard.nbytes) for shard in there], dtype=np.int64)
        """Where the shards lie, (address, bytes) of each."""
        addresses = np.full(len(shards), self.maps[0, 0])
        addresses[[shard is not None for shard in shards]] = self.maps[:, 0]
        self._first: Rows = addresses - lookup.starts * self.row_bytes

    def addresses(self, rows: Rows, shard: Rows) -> Rows:
        """Return where each row begins; `shard` says in which shard."""
        addresses: Rows = self._first[shard]
        addresses += rows * self.row_bytes
        return addresses

    def part(self, shard: int, row: int, count: int) -> npt.NDArray[Any]:
        """Return the vectors of some neighbouring rows of a shard that is at hand, as they are stored."""
        found = self._shards[shard]
        assert found is not None, "a row of a shard that is not at hand"
        return found[row : row + count]


class Stacks:
    """The shards of some spaces, to copy from all of them in one go; holds them mapped for as long as it lives."""

    def __init__(self, spaces: Mapping[str, Sequence[npt.NDArray[Any] | None]], lookup: Lookup, *, torch: bool) -> None:
        """Take at least one space, and the shards of each, as a Stack does."""
        import numpy as np

        self._stacks, self._torch = {name: Stack(shards, lookup) for name, shards in spaces.items()}, torch
        self.maps: Rows = np.concatenate([stack.maps for stack in self._stacks.values()])
        """Where the shards lie, (address, bytes) of each."""
        self._lowest = lowest = int(self.maps[:, 0].min())
        highest = int(self.maps.sum(axis=1).max())
        # Between the shards lies memory that is not ours, perhaps not even mapped: only words of rows are ever read.
        self._span = memoryview((ctypes.c_uint8 * (highest - lowest)).from_address(lowest))
        self._words = {name: _widest(stack, lowest) for name, stack in self._stacks.items()}
        self._views: dict[tuple[int, int], Any] = {}

    def __getitem__(self, space: str) -> Stack:
        return self._stacks[space]

    def copied(self, wanted: Mapping[str, tuple[Rows, int]], buffers: Buffers) -> dict[str, Bytes]:
        """Return copies of so many bytes from some addresses of each space on; what is equally wide in one go."""
        import numpy as np

        alike: dict[tuple[int, int], dict[str, Rows]] = {}
        for space, (addresses, width) in wanted.items():
            alike.setdefault((width, self._words[space]), {})[space] = addresses
        found: dict[str, Bytes] = {}
        for (width, word), group in alike.items():
            out, done = buffers.take(width * sum(map(len, group.values()))), 0
            self._copy(np.concatenate(list(group.values())), out.reshape(-1, width), word)
            for space, addresses in group.items():
                found[space] = out[done : done + width * len(addresses)]
                done += width * len(addresses)
        return found

    def _copy(self, addresses: Rows, out: Bytes, word: int) -> None:
        """Copy as many bytes as `out` is wide from each address on, in words; all of them must lie within one shard."""
        if not len(addresses):
            return
        words, view = (addresses - self._lowest) // word, self._view(out.shape[1] // word, word)
        if self._torch:
            import torch

            torch.index_select(view, 0, torch.from_numpy(words), out=torch.from_numpy(out.view(f"i{word}")))
        else:
            out.view(view.dtype)[:, 0] = view[words]

    def used(self, space: str, rows: Rows, shard: Rows) -> npt.NDArray[np.bool_]:
        """Say which places of each row hold a vector that is not all zeros, shape (rows, per_row)."""
        import numpy as np

        stack = self[space]
        places = np.arange(stack.per_row) * stack.place_bytes
        vectors = (stack.addresses(rows, shard)[:, None] + places).reshape(-1)
        word = self._words[space]
        starts = np.empty((len(vectors), max(stack.dtype.itemsize, word)), dtype=np.uint8)
        self._copy(vectors, starts, word)
        used: npt.NDArray[np.bool_] = np.any(starts.view(stack.dtype), axis=1)
        doubtful = np.flatnonzero(~used)
        found = np.empty((len(doubtful), stack.place_bytes), dtype=np.uint8)
        self._copy(vectors[doubtful], found, word)
        used[doubtful] = found.view(stack.dtype).any(axis=1)
        return used.reshape(-1, stack.per_row)

    def _view(self, width: int, word: int) -> Any:  # noqa: ANN401  a torch tensor or an array
        """Return what looks like an array of all `width` words that follow any word from the lowest address on."""
        import numpy as np

        if (width, word) not in self._views:
            words = np.frombuffer(self._span[: len(self._span) // word * word], dtype=f"i{word}")
            count = len(words) - width + 1
            if self._torch:
                import torch

                view = torch.from_numpy(words).as_strided((count, width), (1, 1))
            else:
                view = np.ndarray((count,), f"V{width * word}", words.data, strides=(word,))
            self._views[width, word] = view
        return self._views[width, word]


def _widest(stack: Stack, lowest: int) -> int:
    """Return the most bytes, at most eight, that all rows of a space can be copied in from an address on.

    Of int8 vectors each may take four bytes more than a multiple of eight.
    """
    steps = [*(stack.maps[:, 0] - lowest).tolist(), stack.place_bytes]
    return next(word for word in (8, 4, 2, 1) if not any(step % word for step in steps))


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
