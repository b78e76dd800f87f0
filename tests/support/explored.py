"""A dataset with everything that the page shows, hostile texts too, small enough to know by heart."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from dfndr.dataset import Dataset, open_dataset
from dfndr.encoder import Encoder, open_encoder
from dfndr.format.manifest import write_manifest
from dfndr.format.schema import Space
from support.models import tiny_spec
from support.tiny import CAPTION, IMAGE, TEXT, write_dataset

ROWS = 90
HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"


def picture(number: int, kind: str = "PNG", size: tuple[int, int] = (24, 24)) -> bytes:
    """Return a picture of one colour, another for each number."""
    file = io.BytesIO()
    Image.new("RGB", size, (number * 37 % 256, number * 91 % 256, 160)).save(file, kind)
    return file.getvalue()


def explored(root: str | os.PathLike[str]) -> Dataset:
    """Write and open 90 rows in three shards and three spaces.

    Row 0 says HOSTILE, row 1 has no thumbnail, row 2 no captions, row 3 no score (null in `quality`), row 4 a broken
    thumbnail. `score` falls from 0.89 by 0.01 a row; `source` is "even" or "odd", and null in row 5;
    `language` is "vi" in every third row.
    """
    texts = [HOSTILE, *(f"a {('red', 'green', 'blue')[row % 3]} thing, number {row}" for row in range(1, ROWS))]
    captions = [[f"caption of {row}", "second"] for row in range(ROWS)]
    captions[2] = []
    thumbnails = [{"bytes": picture(row), "path": None} for row in range(ROWS)]
    thumbnails[1], thumbnails[4] = None, {"bytes": b"<svg onload='window.hacked = 1'/>", "path": None}
    quality = [row / ROWS for row in range(ROWS)]
    quality[3] = None
    floats = pa.list_(pa.float32())
    kind = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
    columns = {
        "text": texts,
        "source": [None if row == 5 else ("even", "odd")[row % 2] for row in range(ROWS)],
        "score": pa.array(scores(), pa.float32()),
        "quality": pa.array(quality, pa.float64()),
        "language": [("vi", "en", "en")[row % 3] for row in range(ROWS)],
        "captions": pa.array(captions, pa.list_(pa.string())),
        "caption_scores": pa.array([[0.25 + row / 1000, -0.5][: len(captions[row])] for row in range(ROWS)], floats),
        "caption_models": pa.array([["retrieval"] * len(captions[row]) for row in range(ROWS)], pa.list_(pa.string())),
        "hash": pa.array([(1 << 63) + row for row in range(ROWS)], pa.uint64()),
        "flag": [row % 10 == 0 for row in range(ROWS)],
        "thumbnail": pa.array(thumbnails, kind),
    }
    return write_dataset(root, (40, 30, 20), spaces=(IMAGE, TEXT, CAPTION), columns=columns, name="explored")


def embedded(root: Path) -> tuple[Dataset, list[bytes], Encoder]:
    """Write and open six rows in a space of a real, tiny encoder; return their pictures and the encoder as well."""
    encoder = open_encoder(tiny_spec(root))
    pictures = [picture(number, size=(40, 30)) for number in range(6)]
    space = Space("image", "tiny", dim=16)
    vectors = {space.name: encoder.encode_images(pictures).vectors}
    dataset = write_dataset(root / "data", (6,), spaces=(space,), vectors=vectors)
    write_manifest(dataset.root, replace(dataset.manifest, encoders={"tiny": encoder.record}))
    return open_dataset(dataset.root), pictures, encoder


def scores() -> list[float]:
    """Return the column `score` of `explored`."""
    return [float(np.float32(0.89 - row / 100)) for row in range(ROWS)]


def filtered(**wanted: object) -> str:
    """Return a filter as the page says it."""
    return json.dumps(wanted)
