"""How many rows a pool has: counted where it is small, else reckoned from a few shards and the sizes of all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dfndr.errors import DataError, DfndrError
from dfndr.remote import is_remote
from dfndr_builders.opened import open_pool
from dfndr_builders.pools.base import Pool, PoolShard
from dfndr_builders.recipe_file import resolve
from dfndr_builders.sections.pools import Glyphs, Hf, PoolRecipe

__all__ = ["PoolSize", "size_of_pool", "size_of_pools"]

_SHARDS, _SECONDS = 3, 2.0
_BESIDE = 2_000
"""About what a tar holds of a sample beside picture and text: headers, padding and a json."""


@dataclass(frozen=True)
class PoolSize:
    """Shards, bytes and rows of a pool; what is not known is None, and `is_exact` says that the rows were counted."""

    shards: int | None = None
    size_bytes: int | None = None
    rows: int | None = None
    is_exact: bool = False
    text_bytes: float = 0.0

    def plus(self, other: PoolSize) -> PoolSize:
        """Return the sizes of two pools together."""

        def both(one: int | None, two: int | None) -> int | None:
            return None if one is None or two is None else one + two

        rows = both(self.rows, other.rows)
        text = self.text_bytes * (self.rows or 0) + other.text_bytes * (other.rows or 0)
        return PoolSize(
            both(self.shards, other.shards),
            both(self.size_bytes, other.size_bytes),
            rows,
            self.is_exact and other.is_exact,
            text / rows if rows else 0.0,
        )


@dataclass
class _Read:
    rows: int = 0
    text_bytes: int = 0
    bytes: int = 0
    is_whole: bool = False


def size_of_pools(given: Sequence[PoolRecipe], folder: Path, seed: int) -> PoolSize:
    """Return the size of several pools together; no model is loaded and no picture opened."""
    sizes = [size_of_pool(one, folder, seed) for one in given]
    total = PoolSize(0, 0, 0, is_exact=True)
    for size in sizes:
        total = total.plus(size)
    return total


def size_of_pool(given: PoolRecipe, folder: Path, seed: int) -> PoolSize:
    """Return a pool's size; of one that is elsewhere, on the Hub or not there yet, only what a listing tells."""
    if isinstance(given, Hf):
        return PoolSize()
    try:
        pool = open_pool(given, folder, seed)
        shards = pool.shards()
    except DataError:
        return PoolSize()
    sizes = [shard.size_bytes for shard in shards]
    known = PoolSize(len(shards), sum(size or 0 for size in sizes) if None not in sizes else None)
    if not isinstance(given, Glyphs) and _is_elsewhere(given, folder):
        return known
    try:
        rows, is_exact, text_bytes = _rows(pool, shards, stop_at=given.count if isinstance(given, Glyphs) else None)
    except DfndrError:
        return known
    return PoolSize(known.shards, known.size_bytes, rows, is_exact, text_bytes)


def _is_elsewhere(given: PoolRecipe, folder: Path) -> bool:
    paths = getattr(given, "path", [])
    return any(is_remote(resolve(path, folder)) for path in ([paths] if isinstance(paths, str) else paths))


def _rows(pool: Pool, shards: Sequence[PoolShard], *, stop_at: int | None) -> tuple[int, bool, float]:
    """Return the rows, whether they were counted, and the mean bytes of a text, from the first, middle, last shard."""
    until = time.monotonic() + _SECONDS
    places = sorted({0, len(shards) // 2, len(shards) - 1})[:_SHARDS]
    read = {place: _Read() for place in places}
    for place in places:
        for table in pool.read(shards[place]):
            _add(read[place], table["text"].nbytes, table["image"].nbytes, len(table))
            if time.monotonic() > until:
                break
        else:
            read[place].is_whole = True
        if time.monotonic() > until:
            break
    rows = sum(one.rows for one in read.values())
    text_bytes = sum(one.text_bytes for one in read.values()) / max(rows, 1)
    if stop_at is not None:
        return stop_at, True, text_bytes
    if len(places) == len(shards) and all(one.is_whole for one in read.values()):
        return rows, True, text_bytes
    return _reckoned(shards, read), False, text_bytes


def _add(read: _Read, text_bytes: int, image_bytes: int, rows: int) -> None:
    read.rows += rows
    read.text_bytes += text_bytes
    read.bytes += text_bytes + image_bytes + _BESIDE * rows


def _reckoned(shards: Sequence[PoolShard], read: dict[int, _Read]) -> int:
    """Return the rows of all shards: by their bytes where these are known, else as if all were alike."""
    whole = [place for place, one in read.items() if one.is_whole]
    total = sum(shard.size_bytes or 0 for shard in shards)
    if not total:
        known = whole or list(read)
        return round(sum(read[place].rows for place in known) / len(known) * len(shards))
    if whole:
        seen = sum(shards[place].size_bytes or 0 for place in whole)
        return round(sum(read[place].rows for place in whole) * total / max(seen, 1))
    return round(sum(one.rows for one in read.values()) * total / max(sum(one.bytes for one in read.values()), 1))
