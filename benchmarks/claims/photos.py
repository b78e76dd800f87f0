"""Photographs with captions that people wrote (Flickr8k), and CLIP filters trained on them with texts swapped."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from dfndr_builders.clip.train import train_clip
from dfndr_builders.dfn.averaging import separation
from dfndr_builders.pools.parquet import ParquetPool
from dfndr_builders.pools.swapped import SWAPPED, Swapped
from dfndr_builders.pools.webdataset import WebDatasetPool
from dfndr_builders.zero_shot.retrieval import retrieval_of
from dfndr_builders.zero_shot.sets import CaptionedSet
from PIL import Image

from benchmarks.claims.cifar import cifar_folder
from benchmarks.claims.runs import PhotoFilter
from benchmarks.claims.scales import Scale
from benchmarks.claims.scoring import encoder_of, spec_of
from benchmarks.claims.sets import read_pairs, write_table
from dfndr.encoder import open_encoder
from dfndr.heads.logistic import roc_auc
from dfndr.seeds import rng_for

__all__ = ["drawn_pairs", "photo_filter", "photo_scale", "photos_folder", "write_photos"]

_SIZE = 32
"""Pixels a side, as the models take them; made once, so that no training has large photographs to decode."""

_WORDS = 24
"""Tokens of a caption that are read, its two ends included."""

_SHARDS = {"smoke": 1}
"""Tars of 1,000 pairs to train on, of six, at scales that do not take all."""


def photos_folder() -> Path:
    """Return the folder that holds Flickr8k."""
    return cifar_folder().parent / "flickr8k"


def write_photos(folder: Path, scale: Scale) -> None:
    """Write the shrunk photographs with their captions, where they are not there yet: `train` and `dev`."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = sorted(photos_folder().glob("flickr8k-train-*.tar"))[: _SHARDS.get(scale.name)]
    for name, tars in (("train", shards), ("dev", sorted(photos_folder().glob("flickr8k-dev-*.tar")))):
        if not (folder / f"{name}.parquet").exists():
            write_table(_shrunk(tars), folder / f"{name}.parquet")


def _shrunk(tars: list[Path]) -> pa.Table:
    """Return shrunk pictures, `text` (the first caption) and `captions` (all of them, one a line)."""
    pool = WebDatasetPool(tuple(str(tar) for tar in tars), keep=("captions",))
    rows = [row for shard in pool.shards() for table in pool.read(shard) for row in table.to_pylist()]
    good = [(_small(row["image"]), json.loads(row["captions"])) for row in rows if row["problem"] is None]
    images, captions = [image for image, _ in good], [texts for _, texts in good]
    lines = ["\n".join(texts) for texts in captions]
    return pa.table({"image": images, "text": [texts[0] for texts in captions], "captions": lines})


def _small(image: bytes) -> bytes:
    with Image.open(io.BytesIO(image)) as file:
        picture = file.convert("RGB").resize((_SIZE, _SIZE), Image.Resampling.BICUBIC)
    file_out = io.BytesIO()
    picture.save(file_out, "png")
    return file_out.getvalue()


def drawn_pairs(photos: pa.Table, seed: int) -> pa.Table:
    """Return each picture with one of its captions, drawn."""
    rng = rng_for(seed, "photos", "captions")
    captions = [lines.split("\n") for lines in photos["captions"].to_pylist()]
    texts = [lines[int(rng.integers(len(lines)))] for lines in captions]
    return pa.table({"image": photos["image"], "text": texts})


def photo_scale(scale: Scale) -> Scale:
    """Return a scale as photographs need it: with sentences for prompts."""
    text = {**dict(scale.model["text_cfg"]), "context_length": _WORDS}  # type: ignore[call-overload]
    return replace(scale, model={**scale.model, "text_cfg": text})


def photo_filter(given: PhotoFilter, scale: Scale, seed: int, photos: Path, folder: Path) -> dict[str, object]:
    """Train a filter on photographs, `given.swapped` of whose texts are another's, and measure it on the dev pairs."""
    scale = photo_scale(scale)
    folder.mkdir(parents=True, exist_ok=True)
    write_table(drawn_pairs(read_pairs(photos / "train.parquet"), seed), folder / "pairs.parquet")
    pool = Swapped(_pool(folder / "pairs.parquet"), given.swapped, seed)
    train_clip(spec_of(scale, seed), pool, str(folder / "model"), work=str(folder / "work"))
    encoder = open_encoder(encoder_of(folder / "model", scale))
    right, wrong = separation(encoder, _pool(photos / "dev.parquet"), seed)
    is_right = np.repeat([True, False], [len(right), len(wrong)])
    recall = retrieval_of(encoder, CaptionedSet("dev", _pool(photos / "dev.parquet", text="captions")), ks=(10,))
    tables = [table[SWAPPED].to_pylist() for shard in pool.shards() for table in pool.read(shard)]
    for name in ("model", "work"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "pairs.parquet").unlink()
    return {
        "swapped": sum(map(sum, tables)),
        "pairs": sum(map(len, tables)),
        "dev_auc": roc_auc(np.concatenate([right, wrong]), is_right),
        "dev_pairs": len(right),
        "recall_10": recall.image_to_text[10],
    }


def _pool(path: Path, text: str = "text") -> ParquetPool:
    return ParquetPool((str(path),), text=text, license="research only")
