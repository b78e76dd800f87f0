"""A finished selection: what it says of itself, and reading it back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

from dfndr import storage
from dfndr.errors import FormatError
from dfndr.format.funnel import step_of_json
from dfndr.format.manifest import Step
from dfndr.format.schema import SPLITS

__all__ = ["DONE", "Selection", "is_validation", "read_selection", "share_limit"]

DONE = "selection.json"


@dataclass(frozen=True)
class Selection:
    """What was selected: rows by split, the cut (the lowest score kept, None if none was), N, and the funnel's step.

    N (`samples`) counts the rows still in the running when limits were applied. `absent` counts the listed uids that
    are not among the scores, by list: `include`, `exclude`.
    """

    rows: dict[str, int]
    cut: float | None
    samples: int
    step: Step
    absent: dict[str, int] = field(default_factory=dict)


def is_validation(uid: str, share: float) -> bool:
    """Say whether a uid belongs to the validation split: the first 32 bits of md5(uid) lie below the share."""
    return hashlib.md5(uid.encode(), usedforsecurity=False).hexdigest()[:8] < share_limit(share)


def share_limit(share: float) -> str:
    """Return the eight hex digits below which a share of all hashes lies."""
    return f"{int(share * 2**32):08x}"


def read_selection(root: str) -> Selection | None:
    """Return a finished selection whose files are there with their sizes, or None."""
    path = storage.join(root, DONE)
    if not storage.exists(path):
        return None
    try:
        given = json.loads(storage.read_bytes(path), parse_constant=_refused)
        step = step_of_json(given["step"], path)
        rows, cut = {split: int(given["rows"][split]) for split in SPLITS}, given["cut"]
        absent = {name: int(count) for name, count in given["absent"].items()}
        found = Selection(rows, None if cut is None else float(cut), int(given["samples"]), step, absent)
        sizes = {storage.join(root, name): size for name, size in given["files"].items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, FormatError):
        return None  # a damaged record is no record: the selection is made again
    is_whole = all(storage.exists(name) and storage.size_of(name) == size for name, size in sizes.items())
    return found if is_whole else None


def _refused(constant: str) -> float:
    """Raise ValueError for NaN and infinity, which `json` reads and no JSON holds."""
    raise ValueError(constant)
