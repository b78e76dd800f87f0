"""What was taken out of a dataset: the rows that its files still hold, and the log of all that ever were.

Both are Parquet files of the manifest. Until it is compacted, a dataset's files hold the rows that `removed/rows`
names, and no reader shows them; `removed/log` names no row, only the hash of its uid.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dfndr.errors import FormatError
from dfndr.format.fields import DO, count, known_fields, typed
from dfndr.format.shard import parquet_file, write_rows
from dfndr.storage import Stored

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Rows = npt.NDArray[np.int64]

__all__ = [
    "LOG",
    "MAX_REASON",
    "ROWS",
    "Entry",
    "Removal",
    "Tombstones",
    "hashed_uid",
    "read_log",
    "read_tombstones",
    "write_log",
    "write_tombstones",
]

ROWS, LOG = "removed/rows", "removed/log"
"""The roles of the two files among the manifest's."""
MAX_REASON = 500
"""How many characters a reason may have."""

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DO = "Run `dfndr verify` on the dataset, then fetch it again."


@dataclass(frozen=True)
class Removal:
    """One time that rows were taken out: how many, on which day, why, and the digest that the dataset had before.

    A compaction is one of no rows: it changes the digest too.
    """

    before: str
    date: str
    reason: str
    rows: int

    def to_json(self) -> dict[str, object]:
        """Return the JSON object that stands in the manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: object, where: str) -> Removal:
        """Read the manifest's JSON object; raises FormatError."""
        fields = known_fields(given, cls, where)
        before, date, reason = (typed(fields, key, str, where) for key in ("before", "date", "reason"))
        if not _SHA256.fullmatch(before) or not _DAY.fullmatch(date) or len(reason) > MAX_REASON:
            expected = f"a digest, a day like 2026-01-31, and at most {MAX_REASON} characters of reason"
            raise FormatError(where, expected=expected, found=repr(dict(fields))[:160], do=DO)
        return cls(before, date, reason, count(fields, "rows", where))


@dataclass(frozen=True, eq=False)
class Tombstones:
    """The rows that were taken out and that files still hold: by shard index, ascending; and their uids, in order."""

    rows: Mapping[int, Rows]
    uids: pa.ChunkedArray


@dataclass(frozen=True)
class Entry:
    """A line of the log: the sha256 of a uid's 32 hex digits, the day, and the reason."""

    uid_sha256: str
    date: str
    reason: str


def hashed_uid(uid: str) -> str:
    """Return the sha256 of a uid as the log has it."""
    return hashlib.sha256(uid.encode()).hexdigest()


def _schema(*fields: tuple[str, Any]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(fields)


def _rows_schema() -> pa.Schema:
    import pyarrow as pa

    return _schema(("shard", pa.int32()), ("row", pa.int64()), ("uid", pa.string()))


def _log_schema() -> pa.Schema:
    import pyarrow as pa

    return _schema(("uid_sha256", pa.string()), ("date", pa.string()), ("reason", pa.string()))


def write_tombstones(root: str, rows: Sequence[tuple[int, int, str]]) -> Stored:
    """Write which rows are gone, as (shard index, row in its files, uid), in any order."""
    import pyarrow as pa

    schema = _rows_schema()
    columns = list(zip(*sorted(rows), strict=True)) or [(), (), ()]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return write_rows(root, f"{ROWS}-{{hash8}}.parquet", pa.table(arrays, schema=schema))


def read_tombstones(path: str, shards: Mapping[int, tuple[int, int]]) -> Tombstones:
    """Read which rows are gone; `shards` says by index how many rows files hold, and how many of them are gone.

    Raises FormatError where the file says anything else: other counts, a row twice or that no file holds.
    """
    import numpy as np

    table = _read(path, _rows_schema(), sum(gone for _, gone in shards.values()))
    shard, row = table["shard"].to_numpy(), table["row"].to_numpy()
    if (np.diff(shard) < 0).any():
        raise FormatError(path, expected="rows in the order of their shards", found="another order", do=_DO)
    found: dict[int, Rows] = {}
    for index, (stored, gone) in shards.items():
        first, last = np.searchsorted(shard, [index, index + 1])
        mine = row[first:last]
        if len(mine) != gone or (len(mine) and (mine[0] < 0 or mine[-1] >= stored or (np.diff(mine) <= 0).any())):
            expected = f"{gone} rows of 0..{stored - 1} in shard {index}, ascending"
            raise FormatError(path, expected=expected, found=f"{len(mine)} others", do=_DO)
        if gone:
            found[index] = mine
    return Tombstones(found, table["uid"])


def write_log(root: str, entries: Iterable[Entry]) -> Stored:
    """Write the log, sorted by day and then by hash, so that it tells nothing of the order of rows."""
    import pyarrow as pa

    ordered = sorted(entries, key=lambda entry: (entry.date, entry.uid_sha256, entry.reason))
    table = pa.Table.from_pylist([asdict(entry) for entry in ordered], schema=_log_schema())
    return write_rows(root, f"{LOG}-{{hash8}}.parquet", table)


def read_log(path: str) -> list[Entry]:
    """Read the log; raises FormatError for anything that it cannot hold."""
    entries = [Entry(**row) for row in _read(path, _log_schema(), None).to_pylist()]
    for number, entry in enumerate(entries):
        if not _SHA256.fullmatch(entry.uid_sha256) or not _DAY.fullmatch(entry.date) or len(entry.reason) > MAX_REASON:
            expected = "the sha256 of a uid, a day and a reason"
            raise FormatError(f"{path}, row {number}", expected=expected, found=repr(entry)[:160], do=_DO)
    return entries


def _read(path: str, schema: pa.Schema, rows: int | None) -> pa.Table:
    with parquet_file(path) as file:
        there, found = file.schema_arrow.remove_metadata(), file.metadata.num_rows
        if there != schema:
            raise FormatError(path, expected=f"columns {schema.names}", found=f"{there.names}"[:160], do=_DO)
        if rows is not None and found != rows:
            raise FormatError(path, expected=f"{rows} rows", found=f"{found} rows", do=_DO)
        table = file.read()
        table.validate(full=True)
    if any(column.null_count for column in table.columns):
        raise FormatError(path, expected="no nulls", found="a null", do=_DO)
    return table
