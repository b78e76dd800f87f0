"""Real datasets small enough to see: written with the format's own writers, opened like any other."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dfndr.dataset import Dataset, open_dataset
from dfndr.format.manifest import Manifest, Shard, Step, write_manifest
from dfndr.format.schema import EncoderRecord, Preprocess, Space
from dfndr.format.shard import rows_path, vectors_path, write_rows, write_vectors
from dfndr.format.storage_types import read_type
from dfndr.seeds import rng_for
from dfndr.storage import Stored

IMAGE = Space("image", "enc", dim=8)
TEXT = Space("text", "enc", dim=8)
CAPTION = Space("caption", "enc", dim=8, per_row=3)


def write_dataset(
    root: str | os.PathLike[str],
    rows_per_shard: Sequence[int] = (5, 3),
    spaces: Sequence[Space] = (IMAGE, TEXT),
    *,
    vectors: Mapping[str, Any] | None = None,
    columns: Mapping[str, Sequence[Any] | pa.Array] | None = None,
    seed: int = 0,
    splits: Sequence[str] | None = None,
    name: str = "tiny",
) -> Dataset:
    """Write a dataset and open it.

    Rows have `uid`, `text` ("text of row 4") and `captions` (as many as a caption space has places, else two);
    `columns` adds to these or replaces them, a value per row of the whole dataset. Vectors are random and of unit
    norm, the places that a row with fewer captions leaves free are zero; `vectors` replaces those of a space by an
    array of shape (rows, per_row, dim) or (rows, dim). `splits` names each shard's split, `train` by default.
    """
    root, rows = os.fspath(root), sum(rows_per_shard)
    table = _table(rows, spaces, columns or {}, seed)
    arrays = {space.name: _unit_vectors(space, table, seed) for space in spaces}
    for key, given in (vectors or {}).items():
        space = next(space for space in spaces if space.name == key)
        arrays[key] = np.asarray(given, dtype=read_type(space.dtype)).reshape(rows, space.per_row, space.dim)
    shards, start = [], 0
    for index, (count, split) in enumerate(zip(rows_per_shard, splits or ["train"] * len(rows_per_shard), strict=True)):
        files = {"rows": write_rows(root, rows_path(split, index), table.slice(start, count))}
        for space in spaces:
            block = arrays[space.name][start : start + count]
            files[space.name] = write_vectors(root, vectors_path(space, split, index), space, [block])
        shards.append(Shard(index, split, rows_in=count, rows=count, files=files))
        start += count
    write_manifest(root, manifest_of(spaces, shards, name=name, seed=seed))
    return open_dataset(root)


def manifest_of(
    spaces: Sequence[Space],
    shards: Sequence[Shard],
    *,
    name: str = "tiny",
    seed: int = 0,
    files: Mapping[str, Stored] | None = None,
) -> Manifest:
    """Return a manifest over spaces and shards, with everything else made up."""
    rows = sum(shard.rows for shard in shards)
    return Manifest(
        name=name,
        license="CC0-1.0",
        recipe=f'name = "{name}"\n',
        recipe_digest=hashlib.sha256(name.encode()).hexdigest(),
        seed=seed,
        spaces=tuple(spaces),
        encoders={space.encoder: encoder_record(space.encoder, dim=space.dim) for space in spaces},
        scorers={},
        shards=tuple(shards),
        funnel=(Step("pool", rows, rows),),
        provenance={},
        files=files or {},
    )


def encoder_record(name: str = "enc", *, dim: int = 8) -> EncoderRecord:
    """Return the record of an encoder that never was."""
    return EncoderRecord(
        name=name,
        model="tiny",
        pretrained="random:0",
        weights_sha256=hashlib.sha256(name.encode()).hexdigest(),
        dim=dim,
        context_length=16,
        preprocess=Preprocess((32, 32), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", "shortest"),
        precision="float32",
        logit_scale=100.0,
        license="CC0-1.0",
        batch_size=32,
        threads=1,
    )


def _table(rows: int, spaces: Sequence[Space], columns: Mapping[str, Any], seed: int) -> pa.Table:
    places = max((space.per_row for space in spaces if space.modality == "caption"), default=2)
    data: dict[str, Any] = {
        "uid": [hashlib.sha256(f"{seed}/{row}".encode()).hexdigest()[:32] for row in range(rows)],
        "text": [f"text of row {row}" for row in range(rows)],
        "captions": pa.array(
            [[f"caption {place} of row {row}" for place in range(places)] for row in range(rows)], pa.list_(pa.string())
        ),
    }
    return pa.table({**data, **columns})


def _unit_vectors(space: Space, table: pa.Table, seed: int) -> np.ndarray:
    shape = (len(table), space.per_row, space.dim)
    drawn = rng_for(seed, space.name).standard_normal(shape, dtype=np.float32)
    drawn /= np.linalg.norm(drawn, axis=2, keepdims=True)
    if space.modality == "caption":
        counts = table["captions"].combine_chunks().value_lengths().to_numpy(zero_copy_only=False)
        drawn[np.arange(space.per_row) >= counts[:, None]] = 0
    return drawn.astype(read_type(space.dtype))
