"""Which rows an export shows, their columns, and the rows that are nearest to them: a shard at a time, never all."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from dfndr.dataset import Dataset
from dfndr.format.schema import Space
from dfndr.progress import Task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Rows: TypeAlias = npt.NDArray[np.int64]
    Vectors: TypeAlias = npt.NDArray[np.float32]

__all__ = ["chosen_rows", "counted", "first_space", "nearest_rows", "rows_at", "unit_blocks", "unit_vectors"]

_BLOCK, _QUERIES = 8_192, 1_024


def chosen_rows(dataset: Dataset, count: int | None) -> Rows:
    """Return the numbers of all rows, or of `count` rows with the lowest hashes of their uids, ascending."""
    import numpy as np

    if count is None or count >= len(dataset):
        return np.arange(len(dataset), dtype=np.int64)
    uids = (uid for table in dataset.tables(["uid"]) for uid in table["uid"].to_pylist())
    hashed = ((hashlib.sha256(uid.encode()).digest(), row) for row, uid in enumerate(uids))
    return np.array(sorted(row for _, row in heapq.nsmallest(count, hashed)), dtype=np.int64)


def first_space(dataset: Dataset, name: str | None) -> Space | None:
    """Return the space of a name, else the first one of pictures, else the first, else None; raises UsageError."""
    if name is not None:
        return dataset.space(name)
    spaces = sorted(dataset.manifest.spaces, key=lambda space: space.modality != "image")
    return spaces[0] if spaces else None


def rows_at(dataset: Dataset, rows: Rows, columns: Sequence[str]) -> pa.Table:
    """Return columns at ascending row numbers; shards that hold none of them are not read."""
    import pyarrow as pa

    parts, start = [dataset.schema().empty_table().select(list(columns))], 0
    for shard in dataset.shards:
        here = rows[(rows >= start) & (rows < start + shard.rows)] - start
        if len(here):
            view = dataset.only([shard])
            parts.append(view.rows(columns).take(here).replace_schema_metadata(None))
        start += shard.rows
    return pa.concat_tables(parts)


def unit_vectors(dataset: Dataset, space: Space, rows: Rows) -> Vectors:
    """Return the first vector of each row at unit length, shape (rows, dim), float32; zeros stay zeros."""
    return _unit(dataset.vectors(space.name, rows)[:, 0])


def unit_blocks(dataset: Dataset, space: Space) -> Iterator[tuple[Rows, Vectors]]:
    """Yield the numbers and the unit vectors of all rows, as `unit_vectors` gives them, in blocks."""
    import numpy as np

    start = 0
    for block in dataset.mapped(space.name):
        for first in range(0, len(block), _BLOCK):
            piece = _unit(np.asarray(block[first : first + _BLOCK, 0]))
            yield np.arange(start + first, start + first + len(piece)), piece
        start += len(block)


def counted(blocks: Iterable[tuple[Rows, Vectors]], task: Task) -> Iterator[tuple[Rows, Vectors]]:
    """Yield blocks, and tell of each once it was used."""
    for rows, vectors in blocks:
        yield rows, vectors
        task.advance(len(rows))


def _unit(vectors: npt.NDArray[np.floating]) -> Vectors:
    import numpy as np

    wide = vectors.astype(np.float32)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def nearest_rows(queries: Vectors, own: Rows, blocks: Iterable[tuple[Rows, Vectors]], k: int) -> tuple[Rows, Vectors]:
    """Return the k rows nearest to each query and their cosines, best first, ties by row, the query's own row left out.

    Both are of shape (queries, k), narrower where there are fewer rows; the cosines are sums in float32.
    """
    import numpy as np

    best = np.empty((len(queries), 0), dtype=np.int64)
    scores = np.empty((len(queries), 0), dtype=np.float32)
    for rows, vectors in blocks:
        pieces = []
        for start in range(0, len(queries), _QUERIES):
            part = slice(start, start + _QUERIES)
            cosines = queries[part] @ vectors.T
            cosines[own[part, None] == rows] = -np.inf
            pieces.append(_best(np.broadcast_to(rows, cosines.shape), cosines, k))
        found, more = (np.concatenate(part) for part in zip(*pieces, strict=True)) if pieces else (best, scores)
        best, scores = _best(np.hstack([best, found]), np.hstack([scores, more]), k)
    width = int(np.isfinite(scores).sum(axis=1).min(initial=scores.shape[1])) if len(scores) else 0
    return best[:, :width], scores[:, :width]


def _best(rows: Rows, scores: Vectors, k: int) -> tuple[Rows, Vectors]:
    import numpy as np

    if scores.shape[1] > 4 * k:  # all that is not below the k-th, so that ties are settled by row and not by chance
        limit = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
        width = int((scores >= limit).sum(axis=1).max(initial=k))
        keep = np.argpartition(-scores, min(width, scores.shape[1]) - 1, axis=1)[:, :width]
        rows, scores = np.take_along_axis(rows, keep, axis=1), np.take_along_axis(scores, keep, axis=1)
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
