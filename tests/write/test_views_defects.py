"""Defects of the generator that made the first datasets with views (ml-mobileclip-dr, raygen): none of them is here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dfndr_builders.embed import Embed
from dfndr_builders.inspect import Inspect
from dfndr_builders.stage import Chain
from dfndr_builders.views import DrawViews
from dfndr_builders.work import Job, Unit
from support.models import TINY_CONFIG, tiny_spec
from support.pairs import mixed_table

from dfndr.encoder import EncoderSpec, open_encoder
from dfndr.format.manifest import Shard
from dfndr.format.schema import Space
from dfndr.views import Sampler, parse_views

SAMPLER = Sampler(count=3)
SMALL, LARGE = Space("image", "tiny", 16, 3, "float32"), Space("image", "large", 16, 3, "float32")


@dataclass(frozen=True)
class Rows:
    """18 good rows and five that are bad, in tables of seven."""

    def schema(self) -> pa.Schema:
        return mixed_table().schema

    def read(self, unit: Unit) -> Iterator[pa.Table]:
        whole = mixed_table()
        yield from (whole.slice(start, 7) for start in range(0, len(whole), 7))

    def describe(self, unit: Unit) -> str:
        return "mixed rows"


def large_spec(folder: Path) -> EncoderSpec:
    """A teacher that looks at more pixels than the other one."""
    path = folder / "large.json"
    path.write_text(json.dumps(TINY_CONFIG | {"vision_cfg": TINY_CONFIG["vision_cfg"] | {"image_size": 48}}))
    return EncoderSpec("large", str(path), "random:1", batch_size=4, threads=1, device="cpu")


@dataclass(frozen=True)
class Made:
    """A small job as it lies on the disk."""

    folder: Path
    shard: Shard
    rows: pa.Table
    vectors: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    specs = (tiny_spec(folder, batch_size=4), large_spec(folder))
    chain = Chain(
        (Inspect(), DrawViews(SAMPLER, 5), Embed(SMALL, specs[0], views=True), Embed(LARGE, specs[1], views=True))
    )
    shard = Job(str(folder / "out"), "a" * 64, Rows(), chain, (SMALL, LARGE), specs).open()(Unit(0, "train", 0, 23))
    files = {role: folder / "out" / stored.path for role, stored in shard.files.items()}
    vectors = {one.name: np.load(files[one.name]) for one in (SMALL, LARGE)}
    return Made(folder, shard, pq.read_table(files["rows"]), vectors)


def alone(rows: pa.Table, spec: EncoderSpec) -> np.ndarray:
    """Return the vectors of each row's views, the picture encoded by itself."""
    whole = mixed_table()
    images = dict(zip(whole["key"].to_pylist(), whole["image"].to_pylist(), strict=True))
    encoder = open_encoder(spec)
    told = zip(rows["key"].to_pylist(), rows["views"].to_pylist(), strict=True)
    return np.stack([encoder.encode_views([images[key]], [parse_views(views)]).vectors for key, views in told])


def test_defect_1_a_batch_smaller_than_the_shard_leaves_no_vector_empty(made: Made) -> None:
    assert made.vectors["image/tiny"].shape == (len(made.rows), 3, 16)
    assert (np.linalg.norm(made.vectors["image/tiny"], axis=2) > 0.999).all()


def test_defect_2_the_parameters_of_the_views_reach_the_file(made: Made) -> None:
    for row in made.rows.select(["uid", "width", "height", "views"]).to_pylist():
        drawn = SAMPLER.views(5, row["uid"], (row["width"], row["height"]))
        assert row["views"] == [view.to_json() for view in drawn]


def test_defect_5_a_row_that_fails_moves_no_other(made: Made) -> None:
    np.testing.assert_allclose(made.vectors["image/tiny"], alone(made.rows, tiny_spec(made.folder)), atol=1e-5)


def test_defect_6_a_picture_that_fails_is_no_row_without_vectors_but_a_counted_failure(made: Made) -> None:
    assert made.shard.rows_in == len(mixed_table()) == len(made.rows) + sum(made.shard.failed.values())
    assert {"image_unreadable", "image_too_small"} <= set(made.shard.failed)
    assert len(made.vectors["image/tiny"]) == len(made.vectors["image/large"]) == len(made.rows) == 18


def test_defect_9_each_teacher_sees_the_view_cut_from_the_picture_at_its_own_resolution(made: Made) -> None:
    assert open_encoder(large_spec(made.folder)).record.preprocess.size == (48, 48)
    np.testing.assert_allclose(made.vectors["image/large"], alone(made.rows, large_spec(made.folder)), atol=1e-5)
