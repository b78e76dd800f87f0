"""Strikes: what happened to the workers that died over a unit, in tiny files beside the records, across restarts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from dfndr import storage
from dfndr_builders.work import Unit, records_folder

__all__ = ["MOST", "Strikes", "forget"]

MOST = 2
"""So many workers may die over a unit; then it is put aside."""

_STRIKE = re.compile(r"(.*/)?shards/[0-9a-f]{12}/[0-9]{5,}\.strike-[0-9]")
_RECORD = re.compile(r"(.*/)?shards/[0-9a-f]{12}/[0-9]{5,}\.json")


@dataclass(frozen=True)
class Strikes:
    """The strikes of one phase's units."""

    folder: str

    @classmethod
    def of_phase(cls, root: str, phase: str) -> Strikes:
        """Return those of a phase whose shards lie in `root`."""
        return cls(records_folder(root, phase))

    def against(self, unit: Unit) -> list[str]:
        """Return what happened to each worker that died over the unit."""
        paths = [storage.join(self.folder, _name(unit, number)) for number in range(1, MOST + 1)]
        return [storage.read_bytes(path).decode(errors="replace") for path in paths if storage.exists(path)]

    def add(self, unit: Unit, what: str) -> list[str]:
        """Write down one more, up to the most that are looked at, and return all of them."""
        told = self.against(unit)
        if len(told) < MOST:
            storage.put(self.folder, _name(unit, len(told) + 1), what.encode())
        return [*told, what]

    def clear(self, unit: Unit) -> None:
        """Forget them: the unit was done."""
        for number in range(1, MOST + 1):
            storage.remove(storage.join(self.folder, _name(unit, number)))


def _name(unit: Unit, number: int) -> str:
    return f"{unit.index:05d}.strike-{number}"


def forget(root: str) -> int:
    """Forget every strike below an output folder, and the records of units whose rows were counted as failed for them.

    Those units are done again by the next build; returns how many files that were.
    """
    found = [path for path in storage.list_files(root) if _STRIKE.fullmatch(path) or _is_counted(root, path)]
    for path in found:
        storage.remove(storage.join(root, path))
    return len(found)


def _is_counted(root: str, path: str) -> bool:
    if not _RECORD.fullmatch(path):
        return False
    try:
        record = json.loads(storage.read_bytes(storage.join(root, path)))
        return bool({"unit_failed", "row_failed"} & set(record["failed"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return False  # a damaged record is no record
