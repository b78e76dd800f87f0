"""Uids that come again: 64-bit hashes of all, out of core, then an exact look at the few that share one."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr_builders.select.pieces import pieces_of

__all__ = ["mark_repeats", "repeated_hashes"]

Hashes = npt.NDArray[np.uint64]
_PARTS_BITS = 8


def mark_repeats(database: Any, folder: Path, *, mark: int, condition: str) -> int:  # noqa: ANN401
    """Put the places of the rows of `scores` whose uid came before into `marks`, and return how many there are.

    Only rows that meet the condition count; of rows with one uid, that with the smallest place stays.
    """
    found = pieces_of(database, "SELECT hash(uid) AS h FROM uids")
    hashes = repeated_hashes((piece[0] for piece in found), folder)
    if not len(hashes):
        return 0
    database.register("given", pa.table({"h": hashes}))
    database.execute("CREATE OR REPLACE TEMP TABLE hashes AS SELECT h FROM given")
    database.unregister("given")
    database.execute(
        f"INSERT INTO marks SELECT place, {mark} FROM ("
        "  SELECT place, row_number() OVER (PARTITION BY uid ORDER BY place) AS nth"
        f" FROM scores SEMI JOIN hashes ON hash(uid) = h WHERE {condition}) WHERE nth > 1"
    )
    return int(database.execute(f"SELECT count(*) FROM marks WHERE mark = {mark}").fetchall()[0][0])


def repeated_hashes(batches: Iterable[Hashes], folder: Path) -> Hashes:
    """Return the hashes that occur more than once, sorted; they are parted by their first bits into files."""
    paths = [folder / f"hashes-{part}.u64" for part in range(1 << _PARTS_BITS)]
    with ExitStack() as opened:
        files = [opened.enter_context(open(path, "wb")) for path in paths]
        for batch in batches:
            _part(batch, files)
    found = []
    for path in paths:
        found.append(_repeated(np.fromfile(path, dtype=np.uint64)))
        path.unlink()
    return np.sort(np.concatenate(found))


def _part(hashes: Hashes, files: list[Any]) -> None:
    parts = (hashes >> np.uint64(64 - _PARTS_BITS)).astype(np.uint8)
    ordered = hashes[np.argsort(parts, kind="stable")]
    ends = np.cumsum(np.bincount(parts, minlength=len(files)))
    for file, start, end in zip(files, [0, *ends[:-1]], ends, strict=True):
        file.write(ordered[start:end].data)


def _repeated(hashes: Hashes) -> Hashes:
    """Return the values that occur more than once; counting their next bits leaves but few of them to be sorted."""
    bits = max(4, len(hashes).bit_length() + 1)
    slots = ((hashes << np.uint64(_PARTS_BITS)) >> np.uint64(64 - bits)).astype(np.intp)
    few = np.sort(hashes[np.bincount(slots)[slots] > 1])
    return np.unique(few[1:][few[1:] == few[:-1]])
