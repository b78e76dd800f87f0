"""Decoding the fast way: measured before it is relied on, told wherever a model is described, refused where too far."""

from pathlib import Path

import numpy as np
import pytest
from dfndr_builders.build import build
from dfndr_builders.card import card
from dfndr_builders.drift import measure
from dfndr_builders.pools.glyphs import GlyphsPool
from support.builds import RECIPE, write_recipe
from support.models import tiny_spec

from dfndr.dataset import open_dataset
from dfndr.describe import describe, drifts
from dfndr.encoder import open_encoder
from dfndr.errors import ModelError
from dfndr.format.manifest import read_manifest

FAST = RECIPE.replace("count = 2_500", "count = 120").replace("threads = 1", 'threads = 1\ndecode = "fast"')


def test_the_drift_is_that_of_the_vectors(tmp_path: Path) -> None:
    from dataclasses import replace

    pool = GlyphsPool(size=160, count=20)
    images = [image for shard in pool.shards() for table in pool.read(shard) for image in table["image"].to_pylist()]
    spec = tiny_spec(tmp_path)
    fast = open_encoder(replace(spec, decode="fast")).encode_images(images).vectors.astype(np.float64)
    exact = open_encoder(spec).encode_images(images).vectors.astype(np.float64)
    cosines = (fast * exact).sum(axis=1)
    assert cosines.min() < 1.0
    drift = measure(spec, iter([*images[:9], b"no picture", *images[9:]]))
    assert drift.pictures == 20
    np.testing.assert_allclose([drift.mean, drift.worst], [cosines.mean(), cosines.min()], atol=1e-6)
    assert measure(spec, iter([b""])).pictures == 0


def test_a_fast_build_says_so_wherever_its_models_are_described(tmp_path: Path) -> None:
    manifest = build(write_recipe(tmp_path, text=FAST), tmp_path / "out", device="cpu")
    assert {record.decode for record in (*manifest.encoders.values(), *manifest.scorers.values())} == {"fast"}
    told = manifest.provenance["drift"]
    assert set(told) == {"dfn", "tiny"} and all(one["pictures"] == 120 for one in told.values())
    assert 0.999 <= told["tiny"]["worst"] <= told["tiny"]["mean"] <= 1.0
    assert read_manifest(str(tmp_path / "out")) == manifest
    words = drifts(manifest)["tiny"]
    assert f"{told['tiny']['worst']:.6f} at worst of 120 pictures" in words
    assert words in describe(manifest) and words in card(manifest)
    again = build(tmp_path / "recipe.toml", tmp_path / "out", device="cpu")
    assert again.digest == open_dataset(tmp_path / "out").digest == manifest.digest


def test_a_drift_beyond_the_limit_stops_the_build(tmp_path: Path) -> None:
    text = FAST.replace('"fast"', '"fast"\nmin_cosine = 1.0').replace(
        'kind = "glyphs"\n', 'kind = "glyphs"\nsize = 160\n', 1
    )
    with pytest.raises(ModelError, match=r"cosines of at least 1 .* at worst, .* of 120 pictures.*min_cosine"):
        build(write_recipe(tmp_path, text=text), tmp_path / "out", device="cpu")
