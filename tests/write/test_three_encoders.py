"""Three encoders of different dims and resolutions in one build: each has a space of its own, of every view."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from dfndr_builders.build import build
from PIL import Image
from support.builds import RECIPE, write_recipe
from support.models import TINY_CONFIG
from support.pairs import glyph_table

from dfndr.dataset import Dataset, open_dataset
from dfndr.encoder import open_encoder
from dfndr.models import EncoderSpec
from dfndr.verify import verify
from dfndr.views import replay

COUNT, VIEWS = 60, 3
SHAPES = {"low": (8, 16), "middle": (16, 32), "high": (24, 64)}
"""Of each encoder its dim and the pixels of its pictures' sides."""


def _embed(name: str, seed: int) -> str:
    return f'[[embed]]\nencoder = "{name}"\nmodel = "{name}.json"\npretrained = "random:{seed}"\nof = ["image"]\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three configs and the dataset, `out`."""
    folder = tmp_path_factory.mktemp("three")
    for name, (dim, size) in SHAPES.items():
        config = {**TINY_CONFIG, "embed_dim": dim, "vision_cfg": {**TINY_CONFIG["vision_cfg"], "image_size": size}}
        (folder / f"{name}.json").write_text(json.dumps(config))
    before, rest = RECIPE.replace("count = 2_500\nswap_texts = 0.3", f"count = {COUNT}").split("[[caption]]")
    embeds = "".join(_embed(name, seed) for seed, name in enumerate(SHAPES))
    text = f"{before}{embeds}\n[views]\ncount = {VIEWS}\n\n{rest[rest.index('[output]') :]}"
    build(write_recipe(folder, text=text), folder / "out", device="cpu")
    return folder


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return open_dataset(folder / "out")


def test_each_encoder_has_one_space_of_every_view_in_its_own_dim(dataset: Dataset) -> None:
    assert verify(dataset.root).findings == ()
    shapes = {name: dataset.vectors(name).shape for name in dataset.spaces}
    assert shapes == {f"image/{name}": (len(dataset), VIEWS, dim) for name, (dim, _) in SHAPES.items()}
    sizes = {name: record.preprocess.size for name, record in dataset.manifest.encoders.items()}
    assert sizes == {name: (size, size) for name, (_, size) in SHAPES.items()}


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("name", SHAPES)
def test_its_vectors_are_those_of_the_replayed_views_encoded_one_by_one(
    folder: Path, dataset: Dataset, name: str
) -> None:
    table = glyph_table(COUNT, seed=7)
    files = dict(zip(table["uid"].to_pylist(), table["image"].to_pylist(), strict=True))
    spec = EncoderSpec(name, str(folder / f"{name}.json"), f"random:{[*SHAPES].index(name)}", batch_size=1, threads=1)
    encoder, vectors = open_encoder(spec), dataset.vectors(f"image/{name}")
    for row, told in enumerate(dataset.rows(["uid", "views", "width", "height", "sha256"]).to_pylist()):
        for place, view in enumerate(replay(files[told["uid"]], told, size=SHAPES[name][1])):
            alone = encoder.encode_images([_png(view)]).vectors[0]
            np.testing.assert_allclose(vectors[row, place], alone, atol=2e-3)
    assert np.abs(vectors[:, 0] - vectors[:, 1]).max() > 0.05
