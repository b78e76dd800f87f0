"""One Parquet file that Apple's Embedding Atlas opens: rows, a place on a map, neighbours, and the picture.

The columns are those that its command line describes (0.26): two of numbers, `neighbors` as
{"ids": zero-based row numbers, "distances"}, and pictures as {"bytes"}. https://apple.github.io/embedding-atlas
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr.format.shard import write_rows
from dfndr.progress import SILENT, Progress
from dfndr_builders.exports.chosen import chosen_rows, counted, first_space, nearest_rows, rows_at, unit_vectors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Vectors = npt.NDArray[np.float32]

__all__ = ["export_atlas", "principal_plane"]

_ROWS, _NEAREST, _BLOCK = 50_000, 15, 8_192
_MADE = ("projection_x", "projection_y", "neighbors", "image")
_FILE = "atlas.parquet"


def export_atlas(
    dataset: Dataset, out: str, *, rows: int | None = None, space: str | None = None, progress: Progress = SILENT
) -> str:
    """Write `atlas.parquet`, and a README.md with the command; 50,000 rows at most unless `rows` says otherwise.

    The places are the two first principal components of the space's vectors. Neighbours are the row itself, as that
    tool has it, and the 15 nearest among the rows that are written; their distances are 1 - cosine. Raises UsageError
    where there is no space.
    """
    import numpy as np
    import pyarrow as pa

    found = first_space(dataset, space)
    if found is None:
        do = "Choose a dataset with vectors."
        raise UsageError(dataset.root, expected="a space of vectors", found="none", do=do)
    chosen = chosen_rows(dataset, _ROWS if rows is None else rows)
    table = _speakable(rows_at(dataset, chosen, _columns(dataset)))
    vectors = unit_vectors(dataset, found, chosen)
    place = principal_plane(vectors)
    numbers = np.arange(len(vectors), dtype=np.int64)
    parts = (slice(start, start + _BLOCK) for start in range(0, len(vectors), _BLOCK))
    with progress.task("neighbours", len(vectors)) as task:
        blocks = counted(((numbers[part], vectors[part]) for part in parts), task)
        near, cosines = nearest_rows(vectors, numbers, blocks, _NEAREST)
    near, cosines = np.hstack([numbers[:, None], near]), np.hstack([np.ones((len(near), 1), np.float32), cosines])
    columns = [place[:, 0], place[:, 1], _neighbors(near, np.maximum(0, 1 - cosines))]
    if "thumbnail" in table.column_names:
        columns.append(table["thumbnail"])
        table = table.drop_columns(["thumbnail"])
    for name, column in zip(_MADE, columns, strict=False):
        table = table.append_column(name, column if isinstance(column, pa.ChunkedArray) else pa.array(column))
    write_rows(out, _FILE, table)
    command = _command(out, table)
    told = f"# {dataset.manifest.name}\n\n{len(table):,} of {len(dataset):,} rows, placed by {found.name}.\n"
    storage.put(out, "README.md", f"{told}```sh\n{_command('.', table)}\n```\n".encode())
    return f"{storage.join(out, _FILE)}: {len(table):,} rows; open it with\n{command}"


def _columns(dataset: Dataset) -> list[str]:
    """Return the dataset's columns; raises UsageError where one has the name of a column that is made here."""
    names: list[str] = dataset.schema().names
    taken = sorted(set(names) & set(_MADE))
    if taken:
        do = "Call it otherwise in the recipe."
        raise UsageError(f"column {taken[0]!r}", expected=f"no column called {_MADE}", found="one", do=do)
    return names


def _speakable(table: pa.Table) -> pa.Table:
    """Return a table without 64-bit unsigned numbers: the page's JavaScript fails over them, so they become text."""
    import pyarrow as pa

    for place, given in enumerate(table.schema):
        if pa.types.is_uint64(given.type):
            table = table.set_column(place, given.name, table[given.name].cast(pa.string()))
    return table


def _neighbors(near: npt.NDArray[np.int64], distances: Vectors) -> pa.StructArray:
    import numpy as np
    import pyarrow as pa

    ends = pa.array(np.arange(len(near) + 1, dtype=np.int32) * near.shape[1])
    lists = [pa.ListArray.from_arrays(ends, pa.array(part.reshape(-1))) for part in (near, distances)]
    return pa.StructArray.from_arrays(lists, names=["ids", "distances"])


def principal_plane(vectors: Vectors) -> Vectors:
    """Return where vectors lie on their two first principal components, shape (rows, 2), float32.

    Each component points to where its largest coordinate is positive, so the picture is never mirrored by chance.
    """
    import numpy as np

    if not len(vectors):
        return np.empty((0, 2), dtype=np.float32)
    mean = vectors.mean(axis=0, dtype=np.float64)
    spread = np.zeros((vectors.shape[1], vectors.shape[1]))
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK] - mean
        spread += block.T @ block
    axes = np.linalg.eigh(spread)[1][:, ::-1][:, :2]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    placed = np.zeros((len(vectors), 2), dtype=np.float32)
    placed[:, : axes.shape[1]] = (vectors - mean) @ axes
    return placed


def _command(out: str, table: pa.Table) -> str:
    words = ["embedding-atlas", storage.join(out, _FILE), "--x", _MADE[0], "--y", _MADE[1], "--neighbors", _MADE[2]]
    words += ["--text", "text"] if "text" in table.column_names else []
    words += ["--image", _MADE[3]] if _MADE[3] in table.column_names else []
    return shlex.join(words)
