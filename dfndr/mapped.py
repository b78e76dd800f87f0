"""Vectors of a batch's rows, copied out of the memory-mapped files of a dataset, here or fetched meanwhile."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from dfndr.dataset import Dataset
from dfndr.fetching import Fetched
from dfndr.format.schema import Space
from dfndr.format.shard import map_vectors
from dfndr.format.storage_types import decode, is_coded, read_type, stored_type
from dfndr.gather import Buffers, Lookup, Stacks
from dfndr.order import Runs
from dfndr.page_cache import PageCache
from dfndr.streaming import Stream

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows: TypeAlias = npt.NDArray[np.int64]
    Used: TypeAlias = npt.NDArray[np.bool_]

__all__ = ["AtRows", "Mapped", "Source", "Stretch"]


class AtRows(Protocol):
    """Some rows, and their vectors."""

    def part(self, start: int, stop: int) -> AtRows:
        """Return some of these rows."""

    def used(self, space: Space) -> Used:
        """Say which places of each row hold a vector that is not all zeros, shape (rows, per_row)."""

    def vectors(self, spaces: Sequence[Space], places: Mapping[str, Rows], *, flat: bool) -> dict[str, Any]:
        """Return tensors or arrays by space: of those with `places` the vector at each row's, shape (rows, dim).

        Of others all, shape (rows, per_row, dim), or (rows, dim) where they are to be flat.
        """


@dataclass(frozen=True, eq=False)
class Stretch:
    """Rows that follow each other in an epoch: their numbers, the keys of what is drawn for them, where they are."""

    rows: Rows
    keys: Rows
    stored: AtRows

    def part(self, start: int, stop: int) -> Stretch:
        """Return some of these rows, in arrays of their own."""
        rows = self.rows[start:stop].copy()
        keys = rows if self.keys is self.rows else self.keys[start:stop].copy()
        return Stretch(rows, keys, self.stored.part(start, stop))


class Source(Protocol):
    """Where a loader's vectors come from."""

    def at(self, rows: Rows, runs: Runs) -> AtRows:
        """Go to some rows of the dataset; `runs` are the same ones."""

    def wants_plan(self) -> bool:
        """Say whether `plan` would do anything."""

    def plan(self, coming: Sequence[Runs]) -> Sequence[int] | None:
        """Make ready for the rows that come; return the shards that will be touched, None for any."""


class Mapped:
    """Some spaces of a dataset, shard by shard in maps; batches are given memory that is theirs, used again after them.

    Of a remote dataset shards are mapped when a batch needs them.
    """

    def __init__(
        self,
        dataset: Dataset,
        spaces: Sequence[Space],
        *,
        columns: bool,
        torch: bool,
        pinned: bool = False,
        in_blocks: bool = False,
    ) -> None:
        """Take the spaces, and whether columns will be read; `pinned` memory is such as a GPU copies from by itself.

        Where rows come `in_blocks` the system reads from the disk what comes next, and nothing else.
        """
        self._dataset, self._spaces, self._torch, self._in_blocks = dataset, spaces, torch, in_blocks
        self.lookup = Lookup([shard.stored for shard in dataset.shards if shard.stored])
        self.buffers = Buffers(pinned=pinned)
        self._stream: Stream | None = None
        if isinstance(dataset.files, Fetched):
            roles = [*(["rows"] if columns else []), *(space.name for space in spaces)]
            self._stream = Stream(dataset, dataset.files, spaces, self.lookup, roles=roles)

    def at(self, rows: Rows, runs: Runs) -> MappedRows:
        """Go to some rows of the dataset; `runs` are the same ones."""
        stored = self._dataset.places.stored(rows)
        runs = runs if stored is rows else Runs(stored, 1, runs.ring)
        return MappedRows(self, stored, runs, self.lookup.shard_of(runs.heads))

    def wants_plan(self) -> bool:
        """Say whether shards have to come from elsewhere, or pages from the disk that will be wanted in no order."""
        return self._stream is not None or (self._in_blocks and self._pages.is_missing())

    @cached_property
    def _pages(self) -> PageCache:
        import numpy as np

        return PageCache(self._all.maps if self._spaces and len(self.lookup.ends) else np.empty((0, 2), np.int64))

    def plan(self, coming: Sequence[Runs]) -> Sequence[int] | None:
        """Begin to fetch the shards of the rows that come, and let go of others; return which shards these are."""
        if self._stream is None:
            self._read_ahead(coming)
            return None
        stored = (self._dataset.places.stored(runs.rows()) for runs in coming)
        numbers = list(dict.fromkeys(number for rows in stored for number in self.lookup.shard_of(rows).tolist()))
        self._stream.plan(numbers)
        return [self._stream.numbers[number] for number in numbers]

    def _read_ahead(self, coming: Sequence[Runs]) -> None:
        stacks, parts = [self._all[space.name] for space in self._spaces], []
        for runs in coming:
            heads = self._dataset.places.stored(runs.heads)  # what was taken out makes no run longer
            shard = self.lookup.shard_of(heads)
            parts.append([(stack.addresses(heads, shard), runs.length * stack.row_bytes) for stack in stacks])
        self._pages.bring(parts, owner=self._all)

    def stacks(self, here: MappedRows) -> Stacks:
        """Return what is mapped: all shards, where the dataset lies here, or else those of some rows."""
        if self._stream is not None:
            import numpy as np

            return self._stream.stacks(np.unique(here.shard).tolist(), torch=self._torch)
        return self._all

    @cached_property
    def _all(self) -> Stacks:
        return Stacks({space.name: self._maps(space) for space in self._spaces}, self.lookup, torch=self._torch)

    def _maps(self, space: Space) -> list[npt.NDArray[Any]]:
        """Map a space's files; for the loader alone, where the system is told to guess nothing of them."""
        if not self._in_blocks:
            return [shard for shard in self._dataset.stored_vectors(space.name) if len(shard)]
        self._dataset.fetch([space.name], rows=False)
        shards = [shard for shard in self._dataset.shards if shard.stored]
        files = [self._dataset.local_file(shard.files[space.name]) for shard in shards]
        return [map_vectors(str(file), space, shard.stored) for file, shard in zip(files, shards, strict=True)]

    def framed(self, array: npt.NDArray[np.floating[Any]]) -> Any:  # noqa: ANN401
        """Return an array as a tensor, where tensors are wanted."""
        if not self._torch:
            return array
        import torch

        return torch.from_numpy(array)


class MappedRows:
    """Some rows of a dataset in its maps, by where they are stored: one by one, and in runs."""

    def __init__(self, source: Mapped, stored: Rows, runs: Runs, heads: Rows) -> None:
        """Take the rows, the same ones in runs, and the shard that each run begins in."""
        self._source, self._stored, self._runs, self._heads = source, stored, runs, heads

    def part(self, start: int, stop: int) -> MappedRows:
        """Return some of these rows."""
        length = self._runs.length
        if start % length or stop % length:
            return self._single(start, stop)
        heads = self._heads[start // length : stop // length]
        return MappedRows(self._source, self._stored[start:stop], self._runs.part(start, stop), heads)

    def _single(self, start: int, stop: int) -> MappedRows:
        rows = self._stored[start:stop]
        return MappedRows(self._source, rows, Runs(rows, 1, self._runs.ring), self._source.lookup.shard_of(rows))

    @cached_property
    def shard(self) -> Rows:
        """The number of each row's shard."""
        return self._heads if self._runs.length == 1 else self._source.lookup.shard_of(self._stored)

    def used(self, space: Space) -> Used:
        """Say which places of each row hold a vector that is not all zeros, shape (rows, per_row)."""
        return self._source.stacks(self).used(space.name, self._stored, self.shard)

    def vectors(self, spaces: Sequence[Space], places: Mapping[str, Rows], *, flat: bool) -> dict[str, Any]:
        """Return tensors or arrays by space, as AtRows says; what is equally wide is copied in one go."""
        found, rows = self._copied([space.name for space in spaces], places), len(self._stored)
        for space in spaces:
            shape = (rows, space.stored_dim) if flat else (rows, space.per_row, space.stored_dim)
            stored = found[space.name].view(stored_type(space.dtype)).reshape(shape)
            found[space.name] = self._source.framed(self._decoded(stored, space) if is_coded(space.dtype) else stored)
        return found

    def _copied(self, spaces: Sequence[str], places: Mapping[str, Rows]) -> dict[str, Any]:
        """Return the bytes of each space, of the places or of whole rows."""
        import numpy as np

        if not len(self._stored) or not spaces:
            return {name: np.empty(0, dtype=np.uint8) for name in spaces}
        lookup, runs, heads = self._source.lookup, self._runs, self._heads
        torn = lookup.torn(runs, heads)
        if len(torn) > len(heads) // 2:
            return self._single(0, len(self._stored))._copied(spaces, places)
        stacks = self._source.stacks(self)
        wanted: dict[str, tuple[Rows, int]] = {}
        for name in spaces:
            stack = stacks[name]
            if name in places:
                addresses = stack.addresses(self._stored, self.shard) + places[name] * stack.place_bytes
                wanted[name] = addresses, stack.place_bytes
                continue
            addresses = stack.addresses(runs.heads, heads)
            if len(torn):
                addresses[torn] = np.delete(addresses, torn)[0]  # for now; their parts follow
            wanted[name] = addresses, runs.length * stack.row_bytes
        found = stacks.copied(wanted, self._source.buffers)
        for number in torn.tolist():
            for place, shard, row, count in lookup.parts(runs, heads, number):
                for name in wanted.keys() - places.keys():
                    part = stacks[name].part(shard, row, count)
                    found[name].view(part.dtype).reshape(-1, *part.shape[1:])[place : place + count] = part
        return found

    def _decoded(self, stored: npt.NDArray[Any], space: Space) -> npt.NDArray[np.floating[Any]]:
        """Return coded vectors as float32, in memory that is used again."""
        shape, kind = (*stored.shape[:-1], space.dim), read_type(space.dtype)
        out = self._source.buffers.take(math.prod(shape) * kind.itemsize)
        return decode(stored, space.dtype, out.view(kind).reshape(shape))
