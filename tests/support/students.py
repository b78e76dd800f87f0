"""A small reinforced dataset: pictures in a pool, views, captions, two teachers with random vectors; a tiny student."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from dfndr_builders.student.spec import StudentSpec
from PIL import Image

from dfndr.dataset import Dataset, open_dataset
from dfndr.format.manifest import write_manifest
from dfndr.format.schema import Space
from dfndr.views import Sampler
from support.tiny import write_dataset

ROWS, VIEWS, CAPTIONS = 40, 3, 2
SCALES = {"one": 30.0, "two": 20.0}
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
RECIPE = """
name = "reinforced"
license = "mit"
[[pool]]
kind = "parquet"
path = "{path}"
uid = "uid"
[[score]]
name = "luck"
kind = "random"
[select]
by = "luck"
top_fraction = 1.0
"""


def uid_of(row: int) -> str:
    return hashlib.sha256(f"student {row}".encode()).hexdigest()[:32]


def pictures() -> list[bytes]:
    """A PNG for each row, of different sizes."""
    found = []
    for row in range(ROWS):
        pixels = np.random.default_rng(row).integers(0, 256, (24 + row % 5, 30 - row % 7, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png")
        found.append(file.getvalue())
    return found


def write_pool(folder: Path, images: list[bytes]) -> Path:
    """The pictures backwards, among others, in a Parquet file."""
    order = list(range(len(images)))[::-1]
    columns = {
        "uid": [hashlib.sha256(b"other").hexdigest()[:32], *(uid_of(row) for row in order)],
        "image": [images[0], *(images[row] for row in order)],
        "text": ["another", *(f"text {row}" for row in order)],
    }
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "pool.parquet", row_group_size=7)
    return folder / "pool.parquet"


def write_reinforced(folder: Path, *, rows: int = ROWS, pool: Path | None = None) -> Dataset:
    """Write pool and dataset; every fifth row has one caption, and row 3 has none."""
    images = pictures()
    pool = pool or write_pool(folder, images)
    sizes = [Image.open(io.BytesIO(image)).size for image in images[:rows]]
    counts = [0 if row == 3 else 1 if row % 5 == 0 else CAPTIONS for row in range(rows)]
    columns = {
        "uid": [uid_of(row) for row in range(rows)],
        "text": [f"text {row}" for row in range(rows)],
        "captions": pa.array([[f"caption {row} {place}" for place in range(counts[row])] for row in range(rows)]),
        "sha256": [hashlib.sha256(image).hexdigest() for image in images[:rows]],
        "width": pa.array([width for width, _ in sizes], pa.int32()),
        "height": pa.array([height for _, height in sizes], pa.int32()),
        "views": [
            [view.to_json() for view in Sampler(count=VIEWS).views(5, uid_of(row), sizes[row])] for row in range(rows)
        ],
    }
    spaces = [
        space
        for name, dim in (("one", 8), ("two", 12))
        for space in (
            Space("image", name, dim, per_row=VIEWS),
            Space("text", name, dim),
            Space("caption", name, dim, per_row=CAPTIONS),
        )
    ]
    written = write_dataset(folder / "data", (rows - 15, 15), spaces, columns=columns)
    encoders = {
        name: replace(record, distillation_scale=SCALES[name]) for name, record in written.manifest.encoders.items()
    }
    recipe = RECIPE.format(path=pool)
    write_manifest(written.root, replace(written.manifest, encoders=encoders, recipe=recipe))
    return open_dataset(written.root)


def small_spec(folder: Path, **more: object) -> StudentSpec:
    """Eight steps of 16 samples with a model of one layer."""
    (folder / "student.json").write_text(json.dumps(CONFIG))
    same = {"samples_seen": 128, "batch_size": 16, "warmup_steps": 2, "threads": 1}
    return StudentSpec(str(folder / "student.json"), **{**same, **more})
