"""What a reader is to the fuzzer, and whole files that readers of several kinds begin with."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.pools import picture  # noqa: E402

from benchmarks.faults.mutations import Mutation  # noqa: E402

__all__ = ["UIDS", "Opened", "Reader", "all_rows", "parquet_files"]

Opened: TypeAlias = tuple[list[bytes], Callable[[bytes], object]]
"""Whole files, and what reads the bytes of a damaged one."""

UIDS = [f"{number:032x}" for number in range(1, 13)]

_MAKES: list[dict[str, Any]] = [
    {"compression": "zstd", "row_group_size": 5},
    {"compression": "none", "use_dictionary": False},
    {"compression": "snappy", "data_page_version": "2.0", "store_schema": False},
    {"compression": "gzip", "write_page_index": True, "use_dictionary": ["uid"]},
]


@dataclass(frozen=True)
class Reader:
    """`open` prepares a folder, once; `cap_bytes` is how much more memory reading a file of some kilobytes may take."""

    open: Callable[[Path], Opened]
    mutate: Mutation
    cap_bytes: int = 64_000_000


def parquet_files() -> list[bytes]:
    """Return the same twelve rows in files of several makes."""
    table = pa.table(
        {
            "uid": UIDS,
            "image": pa.array([picture((place * 20, 0, 90)) for place in range(12)], pa.binary()),
            "text": [f"text of row {place}" for place in range(12)],
            "captions": [["a", "b"][: place % 3] for place in range(12)],
            "source": pa.array(["web"] * 12).dictionary_encode(),
            "image__enc": pa.array([[0.5] * 4] * 12, pa.list_(pa.float32(), 4)),
        }
    )
    found = []
    for make in _MAKES:
        file = io.BytesIO()
        pq.write_table(table, file, **make)
        found.append(file.getvalue())
    return found


def all_rows(pool: Any) -> None:  # noqa: ANN401  a pool, or a layout that is imported
    """Read all that a pool holds."""
    for shard in pool.shards():
        for table in pool.read(shard):
            table.validate(full=True)
            table.to_pylist()
