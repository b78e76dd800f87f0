"""The pictures of a shard's rows for its tar, each compared with what the row says of it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterator
from typing import TypeAlias

import pyarrow as pa

from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr.format.uid import UID
from dfndr_builders.opened import open_pool_at
from dfndr_builders.pictures import pictures_of
from dfndr_builders.pools.base import Pool

__all__ = ["Find", "find_at", "found_pictures"]

Find: TypeAlias = Callable[[Collection[str], float], Iterator[tuple[str, bytes]]]
"""Yields uids with the bytes of their pictures, until a moment."""


def find_at(dataset: Dataset, place: str) -> Find:
    """Return what finds pictures: `pool` for the pools of the dataset's own recipe, else in a recipe's or in tars.

    Raises UsageError where the dataset's recipe names no pool of this machine.
    """
    if place != "pool":
        return _InPool(open_pool_at(place))
    found = pictures_of(dataset)
    if found is None:
        do = "Name tars, or a recipe with their [[pool]]."
        raise UsageError("--pictures", expected="pools in files of this machine", found="none", do=do)
    return found


class _InPool:
    """Pictures by uid, or by key, from a pool that is walked through once to see where each is."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._owners: dict[bytes, int] | None = None

    def __call__(self, uids: Collection[str], until: float) -> Iterator[tuple[str, bytes]]:
        wanted, shards = set(uids), self._pool.shards()
        if self._owners is None:
            self._owners = {
                bytes.fromhex(uid): shard.index for shard in reversed(shards) for uid, _ in self._read(shard.index)
            }
        owners = self._owners
        for number in sorted({owners[packed] for uid in wanted if (packed := bytes.fromhex(uid)) in owners}):
            for uid, image in self._read(number):
                if uid in wanted and image:
                    wanted.discard(uid)
                    yield uid, image

    def _read(self, number: int) -> Iterator[tuple[str, bytes | None]]:
        for table in self._pool.read(self._pool.shards()[number]):
            for uid, key, image in zip(table["uid"].to_pylist(), table["key"].to_pylist(), table["image"], strict=True):
                yield uid, image.as_py()
                name = key.rpartition("/")[2].lower()
                if name != uid and UID.fullmatch(name):
                    yield name, image.as_py()


def found_pictures(rows: pa.Table, find: Find) -> Iterator[tuple[int, bytes | None]]:
    """Yield row numbers with their pictures, as they are found; None where one is not the row's by its sha256.

    That is compared where the row has a width: else nobody here saw the picture, and the sha256 is that of an original
    which whoever downloads it may have shrunk.
    """
    places = {uid: row for row, uid in enumerate(rows["uid"].to_pylist())}
    hashes = rows["sha256"].to_pylist() if "sha256" in rows.column_names else [None] * len(rows)
    sizes = rows["width"].to_pylist() if "width" in rows.column_names else [None] * len(rows)
    for uid, image in find(list(places), math.inf):
        row = places[uid]
        is_own = sizes[row] is None or hashes[row] in (None, hashlib.sha256(image).hexdigest())
        yield row, image if is_own else None
