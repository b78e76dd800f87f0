"""What a query gives as NumPy arrays, a million rows at a time: DuckDB hands over far fewer at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["pieces_of"]

_PIECE = 1_000_000


def pieces_of(database: Any, query: str) -> Iterator[list[npt.NDArray[Any]]]:  # noqa: ANN401
    """Yield the query's columns of numbers, without nulls; what was yielded before may be forgotten."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in database.sql(query).to_arrow_reader(_PIECE):
        waiting.append(batch)
        rows += len(batch)
        if rows >= _PIECE:
            yield _joined(waiting)
            waiting, rows = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> list[npt.NDArray[Any]]:
    columns = zip(*(batch.columns for batch in batches), strict=True)
    return [np.concatenate([column.to_numpy() for column in parts]) for parts in columns]
