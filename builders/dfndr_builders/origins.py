"""What a unit was made from, so that it is made again where that changed, and only there.

Beside a unit's record lies how its part of the pool looked from outside (names, sizes, times of change, or an ETag)
and a hash of all that was read of it. Where only the look has changed, as it does when a pool is copied, the rows are
read again, without a model, and compared. Nothing of it enters a digest: equal pools give equal datasets.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import pyarrow as pa

from dfndr import storage

__all__ = ["Content", "Origin", "names_in", "read_origin", "remove_origin", "write_origin"]

_SUFFIX = ".origin"


@dataclass(frozen=True)
class Origin:
    """The name of a unit's part of the pool, its look, and the sha256 of what was read of it."""

    name: str
    look: str
    content: str


class Content:
    """The hash of all rows that pass."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.closed = False

    def of(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Yield the tables as they are."""
        for table in tables:
            with pa.ipc.new_stream(pa.PythonFile(self, mode="w"), table.schema) as stream:
                stream.write_table(table)
            yield table

    def sha256(self) -> str:
        """Return it, once all have passed."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> int:
        """Take bytes, as a file does."""
        self._digest.update(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""


def read_origin(folder: str, index: int) -> Origin | None:
    """Return what a unit was made from; None where that is not known."""
    path = storage.join(folder, _name(index))
    if not storage.exists(path):
        return None
    try:
        given = json.loads(storage.read_bytes(path))
        origin = Origin(**given)
    except (ValueError, TypeError, RecursionError):
        return None  # a damaged one is none: the unit is done again
    return origin if all(isinstance(value, str) for value in given.values()) else None


def names_in(folder: str) -> list[str]:
    """Return the names of the parts of a pool that units were made from."""
    there = storage.list_files(folder) if storage.exists(folder) else []
    indexes = [int(path.removesuffix(_SUFFIX)) for path in there if path.endswith(_SUFFIX)]
    return [origin.name for origin in (read_origin(folder, index) for index in sorted(indexes)) if origin is not None]


def write_origin(folder: str, index: int, origin: Origin) -> None:
    """Write it down."""
    storage.put(folder, _name(index), json.dumps(asdict(origin), indent=1).encode() + b"\n")


def remove_origin(folder: str, index: int) -> None:
    """Forget what a unit was made from; an absent one is fine."""
    storage.remove(storage.join(folder, _name(index)))


def _name(index: int) -> str:
    return f"{index:05d}{_SUFFIX}"
