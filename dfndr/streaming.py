"""The vectors of a dataset that is elsewhere, while a loader goes over them: what comes next is fetched meanwhile.

A loader says which shards it will touch. Those are fetched in that order in the background and mapped when a batch
needs them; shards that are no longer on the way are unmapped, and the cache may throw them out.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dfndr.dataset import Dataset
from dfndr.fetching import Fetched
from dfndr.format.manifest import Shard
from dfndr.format.schema import Space
from dfndr.format.shard import map_vectors
from dfndr.gather import Lookup, Stacks

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Stream"]


class Stream:
    """Some spaces of a remote dataset, shard by shard; shards are counted as in the lookup, without the empty ones.

    `numbers` says which shards of the dataset these are.
    """

    def __init__(
        self, dataset: Dataset, files: Fetched, spaces: Sequence[Space], lookup: Lookup, *, roles: Sequence[str]
    ) -> None:
        """Take the spaces, and the roles of all files that are fetched beforehand, such as "rows" for columns."""
        self.numbers = [number for number, shard in enumerate(dataset.shards) if shard.stored]
        self._shards = [dataset.shards[number] for number in self.numbers]
        self._files, self._spaces, self._lookup, self._roles = files, spaces, lookup, roles
        self._planned: dict[int, None] = {}
        self._maps: dict[int, dict[str, npt.NDArray[Any]]] = {}
        self._stacks: Stacks | None = None
        held = self._planned, self._shards, tuple(roles)
        weakref.finalize(self, _release, files, *held).atexit = False

    def plan(self, numbers: Iterable[int]) -> None:
        """Begin to fetch the shards that come, in this order, and let go of all others."""
        planned = dict.fromkeys(numbers)
        for number in [number for number in self._planned if number not in planned]:
            self._let_go(number)
        for number in planned:
            self._begin(number)

    def stacks(self, numbers: Iterable[int], *, torch: bool) -> Stacks:
        """Return the spaces as far as these shards can be read, and only those of the plan for sure."""
        missing = [number for number in numbers if number not in self._maps]
        for number in missing:
            self._begin(number)
        for number in missing:
            shard = self._shards[number]
            self._maps[number] = {
                space.name: map_vectors(str(self._files.started(shard.files[space.name])), space, shard.stored)
                for space in self._spaces
            }
        if missing or self._stacks is None:
            mapped = [self._maps.get(number, {}) for number in range(len(self._shards))]
            spaces = {space.name: [maps.get(space.name) for maps in mapped] for space in self._spaces}
            self._stacks = Stacks(spaces, self._lookup, torch=torch)
        return self._stacks

    def _begin(self, number: int) -> None:
        if number not in self._planned:
            self._planned[number] = None
            self._files.start(self._shards[number].files[role] for role in self._roles)

    def _let_go(self, number: int) -> None:
        self._maps.pop(number, None)
        _release(self._files, {number: self._planned.pop(number)}, self._shards, self._roles)


def _release(files: Fetched, numbers: Iterable[int], shards: Sequence[Shard], roles: Sequence[str]) -> None:
    for number in numbers:
        for role in roles:
            files.release(shards[number].files[role])
