"""Checks of what was taken out of a dataset: that lists, rows and log say the same, as `verify` asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from dfndr.dataset import Dataset
from dfndr.errors import DataError
from dfndr.format.removed import LOG, ROWS, hashed_uid, read_log

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Found = tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]
    Uids = Mapping[str, Found]

__all__ = ["removed_findings"]

_T = TypeVar("_T")


def removed_findings(
    dataset: Dataset, found: Sequence[tuple[str, npt.NDArray[np.int64], npt.NDArray[np.uint8]]]
) -> Iterator[tuple[str, str, str]]:
    """Yield file, what was expected, and what was found.

    `found` has, for each rows file, its path, and the uids in it, packed, with the rows they stand in.
    """
    uids = {path: (rows, packed) for path, rows, packed in found}
    files = dataset.manifest.files
    gone: set[str] = set()
    if ROWS in files:
        told = _told(lambda: _removed(dataset))
        if isinstance(told, DataError):
            yield files[ROWS].path, told.expected, told.found
            return
        gone = {uid for _, uid in told}
        yield from _against_rows(files[ROWS].path, dataset, told, uids)
    if LOG in files:
        log = _told(lambda: read_log(str(dataset.local_file(files[LOG]))))
        if isinstance(log, DataError):
            yield files[LOG].path, log.expected, log.found
            return
        hashes = {entry.uid_sha256 for entry in log}
        if missing := sorted(uid for uid in gone if hashed_uid(uid) not in hashes):
            yield files[LOG].path, "every uid that was removed", f"none of {missing[0]} and {len(missing) - 1} others"
        if uids and (back := [uid for uid in _shown(dataset, uids, gone) if hashed_uid(uid) in hashes]):
            yield files[LOG].path, "no row of the log in the dataset", f"{back[0]} and {len(back) - 1} others"


def _told(read: Callable[[], _T]) -> _T | DataError:
    try:
        return read()
    except DataError as error:
        return error


def _removed(dataset: Dataset) -> list[tuple[tuple[int, int], str]]:
    """Return shard index, row and uid of each row that is gone and stored."""
    told = dataset.removed
    if told is None:
        return []
    places = [(shard, int(row)) for shard in sorted(told.rows) for row in told.rows[shard]]
    return list(zip(places, told.uids.to_pylist(), strict=True))


def _against_rows(
    path: str, dataset: Dataset, told: list[tuple[tuple[int, int], str]], uids: Uids
) -> Iterator[tuple[str, str, str]]:
    gone = dict(told)
    wrong, left = [], []
    names = {uid for _, uid in told}
    for shard in dataset.manifest.shards:
        rows, packed = uids.get(shard.files["rows"].path, ((), ()))
        for row, uid in zip(rows, packed, strict=True):
            found, wanted = uid.tobytes().hex(), gone.get((shard.index, int(row)))
            if wanted is not None and wanted != found:
                wrong.append(f"{wanted}, and row {row} of shard {shard.index} is {found}")
            if wanted is None and found in names:
                left.append(f"{found}, row {row} of shard {shard.index}")
    if wrong:
        yield path, "the uids of the rows that are gone", wrong[0]
    if left:
        yield path, "every row of a uid that was removed", f"not {left[0]}"


def _shown(dataset: Dataset, uids: Uids, gone: set[str]) -> Iterator[str]:
    for shard in dataset.manifest.shards:
        for uid in uids.get(shard.files["rows"].path, ((), ()))[1]:
            if (name := uid.tobytes().hex()) not in gone:
                yield name
