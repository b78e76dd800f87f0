"""Made the golden dataset once: `python tests/golden/make.py FOLDER`. The committed one is never made again.

What was once written must open for ever, so the dataset beside this file does not follow changes to dfndr. This script
says how it came about, and makes the next one when there is a next format.
"""

from __future__ import annotations

import hashlib
import io
import sys
import unicodedata
from pathlib import Path

import matplotlib
import numpy as np
import pyarrow as pa
from dfndr_builders.pools.base import uid_of
from PIL import Image, ImageDraw, ImageFont

from dfndr.format.manifest import Manifest, Shard, Step, write_manifest
from dfndr.format.schema import EncoderRecord, Preprocess, Space
from dfndr.format.shard import row_types, rows_path, vectors_path, write_rows, write_vectors

GLYPHS = {"train": "→♔☂Ω", "validation": "♫é"}
CAPTIONS = [
    ["arrow"],
    ["chess piece", "king"],
    ["umbrella", "rain", "weather"],
    ["Greek letter"],
    ["music"],
    ["e", "accent"],
]
SPACES = [Space("image", "tiny", 16), Space("text", "tiny", 16), Space("caption", "tiny", 16, per_row=3)]
RECIPE = 'name = "golden"\nseed = 7\nlicense = "CC0-1.0"\n'


def picture(glyph: str) -> bytes:
    """Render a glyph to a PNG of 32x32 grey pixels."""
    face = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    image = Image.new("L", (32, 32), 255)
    font = ImageFont.truetype(str(face), 26, layout_engine=ImageFont.Layout.BASIC)
    ImageDraw.Draw(image).text((16, 16), glyph, font=font, fill=0, anchor="mm")
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def image_vector(png: bytes) -> np.ndarray:
    """Return the mean darkness of 4x4 fields, as a unit vector of 16."""
    dark = 1 - np.asarray(Image.open(io.BytesIO(png)), dtype=np.float32) / 255
    return unit(dark.reshape(4, 8, 4, 8).mean(axis=(1, 3)).reshape(16))


def text_vector(text: str) -> np.ndarray:
    """Return the counts of the code points modulo 16, as a unit vector of 16."""
    return unit(np.bincount([ord(letter) % 16 for letter in text], minlength=16).astype(np.float32))


def unit(vector: np.ndarray) -> np.ndarray:
    """Return a vector of length one."""
    return vector / np.linalg.norm(vector)


def rows() -> list[dict[str, object]]:
    """Return the six rows."""
    made = []
    for number, glyph in enumerate("".join(GLYPHS.values())):
        png, text = picture(glyph), unicodedata.name(glyph).lower()
        captions = CAPTIONS[number]
        made.append(
            {
                "uid": uid_of(png, text.encode()),
                "key": f"{ord(glyph):06x}",
                "text": text,
                "source": "glyphs",
                "license": "Bitstream-Vera",
                "sha256": hashlib.sha256(png).hexdigest(),
                "width": 32,
                "height": 32,
                "dfn": float(np.float32(image_vector(png) @ text_vector(text))),
                "captions": captions,
                "caption_models": ["hand"] * len(captions),
                "caption_seeds": list(range(len(captions))),
                "caption_scores": [float(np.float32(image_vector(png) @ text_vector(caption))) for caption in captions],
                "thumbnail": {"bytes": png, "path": None},
            }
        )
    return made


def vectors(space: Space, given: list[dict[str, object]]) -> np.ndarray:
    """Return the vectors of some rows, shape (rows, per_row, dim); zeros beyond a row's captions."""
    found = np.zeros((len(given), space.per_row, space.dim), dtype=np.float32)
    for number, row in enumerate(given):
        made = {
            "image": [image_vector(row["thumbnail"]["bytes"])],
            "text": [text_vector(row["text"])],
            "caption": [text_vector(caption) for caption in row["captions"]],
        }[space.modality]
        found[number, : len(made)] = made
    return found


def main(root: str) -> None:
    """Write the dataset to a new folder."""
    types = row_types(["dfn"])
    shards, left = [], rows()
    for index, (split, glyphs) in enumerate(GLYPHS.items()):
        given, left = left[: len(glyphs)], left[len(glyphs) :]
        schema = pa.schema([pa.field(name, types[name], nullable=name not in ("uid", "key")) for name in given[0]])
        files = {"rows": write_rows(root, rows_path(split, index), pa.Table.from_pylist(given, schema))}
        for space in SPACES:
            files[space.name] = write_vectors(root, vectors_path(space, split, index), space, [vectors(space, given)])
        failed = {}
        if split == "train":
            problem = {
                "uid": "0" * 32,
                "key": "000020",
                "reason": "vector_not_finite",
                "detail": "a blank has no direction",
            }
            schema = pa.schema([pa.field(name, pa.string()) for name in problem])
            files["problems"] = write_rows(
                root, rows_path(split, index, "problems"), pa.Table.from_pylist([problem], schema)
            )
            failed = {"vector_not_finite": 1}
        notes = {"made by": "tests/golden/make.py"} if split == "train" else {}
        shards.append(Shard(index, split, len(given) + len(failed), len(given), files, failed=failed, notes=notes))
    record = EncoderRecord(
        name="tiny",
        model="fields of pixels, counts of letters",
        pretrained="none",
        weights_sha256=hashlib.sha256(b"").hexdigest(),
        dim=16,
        context_length=77,
        preprocess=Preprocess((32, 32), (0.0,), (1.0,), "none", "none"),
        precision="float32",
        logit_scale=100.0,
        license="CC0-1.0",
        batch_size=1,
        threads=1,
    )
    manifest = Manifest(
        name="golden",
        license="CC0-1.0",
        recipe=RECIPE,
        recipe_digest=hashlib.sha256(RECIPE.encode()).hexdigest(),
        seed=7,
        spaces=tuple(SPACES),
        encoders={"tiny": record},
        scorers={"dfn": record},
        shards=tuple(shards),
        funnel=(
            Step("score", 11, 10, failed={"image_unreadable": 1}),
            Step("select", 10, 7, dropped={"duplicate": 1, "not_selected": 2}),
            Step("build", 7, 6, failed={"vector_not_finite": 1}),
        ),
        provenance={"pools": [{"kind": "glyphs", "face": "DejaVu Sans"}]},
    )
    write_manifest(root, manifest)


if __name__ == "__main__":
    main(sys.argv[1])
