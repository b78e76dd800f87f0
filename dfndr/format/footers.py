"""What the footer of a Parquet file promises, held against the file's length before anything is made for it.

Arrow takes memory for what a file says that it unpacks to. So a row group is refused that says it holds more rows than
the file has bytes, or unpacks to more than a gigabyte and a hundred times the file. Pictures and texts unpack to a few
times their size at most. Columns are not asked: over some damage to what a footer says of one, Arrow ends the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dfndr.errors import FormatError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = ["MOST_BYTES", "MOST_ROWS", "MOST_TIMES", "check_footer"]

MOST_BYTES = 1 << 30
MOST_TIMES = 100
"""A row group unpacks to this many bytes, or to so many times the file, at most."""
MOST_ROWS = 1 << 20
"""A row group holds at most so many rows, or as many as the file has bytes."""


def check_footer(metadata: pq.FileMetaData, size_bytes: int, where: str) -> None:
    """Raise FormatError for a footer that promises more than a file of that size can hold, or that anybody unpacks."""
    rows = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        rows += group.num_rows
        if group.total_byte_size > max(MOST_BYTES, MOST_TIMES * size_bytes):
            expected = f"row groups that unpack to at most {MOST_TIMES} times the file's {size_bytes:,} bytes"
            raise _error(where, expected, f"one that unpacks to {group.total_byte_size:,}")
        if not 0 <= group.num_rows <= max(MOST_ROWS, size_bytes):
            found = f"one of {group.num_rows:,} rows in {size_bytes:,} bytes"
            raise _error(where, "row groups of as many rows as the file may hold", found)
    if rows != metadata.num_rows:
        raise _error(where, f"row groups of {metadata.num_rows:,} rows in all", f"{rows:,} rows")


def _error(where: str, expected: str, found: str) -> FormatError:
    return FormatError(where, expected=expected, found=found, do="Do not use it: it is hostile or damaged.")
