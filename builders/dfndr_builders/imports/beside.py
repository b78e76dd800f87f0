"""What an export left beside another tool's files: columns of its own, and which files are of which split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import PurePosixPath
from typing import TypeVar

import pyarrow as pa

from dfndr.errors import FormatError
from dfndr_builders.layout_file import LayoutFile

__all__ = ["batched", "split_of", "with_columns_of"]

_Item = TypeVar("_Item")


def batched(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Yield lists of `size` items, the last one perhaps shorter."""
    left = iter(items)
    while found := list(islice(left, size)):
        yield found


def split_of(layout: LayoutFile | None, path: str) -> str:
    """Return the split of a file: `train`, unless an export said otherwise."""
    stem = PurePosixPath(path).name.partition(".")[0]
    return "validation" if layout is not None and stem in layout.validation else "train"


def with_columns_of(table: pa.Table, beside: pa.Table, path: str) -> pa.Table:
    """Return the table with the columns of another one in the place of its own, joined by uid.

    Raises FormatError where that lacks a row.
    """
    places = {uid: row for row, uid in enumerate(beside["uid"].to_pylist())}
    rows = [places.get(uid) for uid in table["uid"].to_pylist()]
    if None in rows:
        found = f"none for uid {table['uid'][rows.index(None)]}"
        do = "Export the dataset again, or delete layout.json to import the tars alone."
        raise FormatError(path, expected="a row in the Parquet file beside it for each sample", found=found, do=do)
    theirs = beside.take(pa.array(rows, pa.int64()))
    for number, field in enumerate(table.schema):
        if field.name in theirs.column_names and field.name != "uid":
            table = table.set_column(number, field, theirs[field.name].cast(field.type))
    return table
