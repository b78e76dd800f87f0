"""Small datasets of scores, in shards, with the columns and the space that a test gives; groups read back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dfndr import open_dataset
from dfndr.dataset import Dataset
from dfndr.format.manifest import Manifest, Shard, Step, write_manifest
from dfndr.format.schema import EncoderRecord, Preprocess, Space
from dfndr.format.shard import rows_path, vectors_path, write_rows, write_vectors

_ENCODER = EncoderRecord(
    name="given",
    model="given",
    pretrained="given",
    weights_sha256="0" * 64,
    dim=1,
    context_length=1,
    preprocess=Preprocess((1, 1), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bicubic", "shortest"),
    precision="fp32",
    logit_scale=1.0,
    license="CC0-1.0",
    batch_size=1,
    threads=1,
)


def scores_of(
    root: Path, columns: dict[str, pa.Array], shards: int = 1, vectors: np.ndarray[Any, Any] | None = None
) -> Dataset:
    """Write a dataset of scores of these columns, a uid each, and vectors of shape (rows, dim) in `image/given`."""
    columns = dict(columns)
    rows = len(vectors) if vectors is not None else len(next(iter(columns.values())))
    columns.setdefault("uid", pa.array([f"{row:032x}" for row in range(rows)]))
    table, spaces = pa.table(columns), []
    if vectors is not None:
        spaces = [Space("image", "given", vectors.shape[1], dtype=str(vectors.dtype), unit_norm=False)]
    records = []
    for index, part in enumerate(np.array_split(np.arange(rows), shards)):
        files = {"rows": write_rows(str(root), rows_path("train", index), table.take(pa.array(part)))}
        for space in spaces:
            path = vectors_path(space, "train", index)
            files[space.name] = write_vectors(str(root), path, space, [vectors[part][:, None]])
        records.append(Shard(index, "train", rows_in=len(part), rows=len(part), files=files))
    manifest = Manifest(
        name="scores",
        license="CC0-1.0",
        recipe="",
        recipe_digest="0" * 64,
        seed=0,
        spaces=tuple(spaces),
        encoders={"given": _ENCODER} if spaces else {},
        scorers={},
        shards=tuple(records),
        funnel=(Step("score", rows, rows),),
        provenance={},
    )
    write_manifest(str(root), manifest)
    return open_dataset(root)


def column_of(derived: Any, scores: Dataset) -> list[Any]:
    """The single column of a derived column's tables, after a check of what they promise."""
    tables = list(derived.tables(scores))
    assert [len(table) for table in tables] == [shard.rows for shard in scores.shards]
    assert {table.schema for table in tables} == {pa.schema(derived.fields())}
    return [value for table in tables for value in table.column(0).to_pylist()]


def partition(groups: Sequence[Any]) -> list[set[int]]:
    """The sets of rows that share a group, in the order of their smallest rows."""
    members = defaultdict(set)
    for row, group in enumerate(groups):
        if group is not None:
            members[group].add(row)
    return sorted(members.values(), key=min)
