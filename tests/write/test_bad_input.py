"""Every bad sample a pool can hold, through whole builds: counted by reason, never a traceback, never a lost row."""

from __future__ import annotations

import io
import json
import re
import resource
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from dfndr_builders.build import build
from dfndr_builders.pools.base import uid_of
from PIL import Image
from support.bad_samples import BAD, GOOD, ODD, SAMPLES, folder_tree, parquet_files, webdataset
from support.models import tiny_config

from dfndr.dataset import open_dataset
from dfndr.format.manifest import Manifest
from dfndr.verify import verify

RECIPE = """
name = "attacked"
license = "mit"
seed = 7

[[pool]]
{pool}

[[score]]
name = "dfn"
model = "tiny.json"
pretrained = "random:0"

[select]
by = "dfn"
top_fraction = 1.0

[[embed]]
encoder = "tiny"
model = "tiny.json"
pretrained = "random:0"

[output]
rows_per_shard = 8
thumbnail = 16
validation = 0.0

[compute]
batch_size = 8
threads = 1
"""


@dataclass(frozen=True)
class Built:
    """A build over all samples: where it lies, its manifest, and the reason of every row that was to fail, by key."""

    root: Path
    manifest: Manifest
    failed: list[tuple[str, str]]
    keys: dict[str, str]
    grown_bytes: int

    def rows(self) -> dict[str, dict[str, Any]]:
        """The rows that were kept, by the name of their sample."""
        return {self.keys.get(row["key"], row["key"]): row for row in open_dataset(self.root).rows().to_pylist()}

    def problems(self) -> list[dict[str, Any]]:
        folder = self.root / str(self.manifest.provenance["scores"]) / "problems"
        return [row for path in sorted(folder.iterdir()) for row in pq.read_table(path).to_pylist()]


def written(folder: Path, pool: str) -> Path:
    """Write the recipe over a pool, and its model."""
    folder.mkdir(exist_ok=True)
    tiny_config(folder)
    (folder / "recipe.toml").write_text(RECIPE.format(pool=pool))
    return folder / "recipe.toml"


@pytest.fixture(scope="module", params=[webdataset, folder_tree, parquet_files], ids=lambda given: given.__name__)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp(request.param.__name__)
    pool, more = request.param(folder)
    recipe = written(folder, pool)
    build(written(folder / "warm-up", 'kind = "glyphs"\ncount = 8'), folder / "warm", device="cpu")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    manifest = build(recipe, folder / "out", device="cpu")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    failed = [(key, given.reason) for key, given in BAD.items() if given.reason] + list(more.items())
    keys = {}
    if request.param is parquet_files:
        keys = {f"0-samples.parquet:{row}": key for row, key in enumerate([*SAMPLES, "cut-0", "the-copy"])}
    return Built(folder / "out", manifest, failed, keys, grown)


def test_every_row_of_the_pool_is_kept_dropped_or_failed_with_its_reason(built: Built) -> None:
    score, select, last = built.manifest.funnel
    failed = Counter(reason for _, reason in built.failed)
    kept = len(GOOD) + len(ODD) + 1  # and the sample before the place where the tar is cut
    assert score.failed == failed
    assert (score.rows_in, score.rows_out) == (kept + 1 + failed.total(), kept + 1)
    assert select.dropped == {"duplicate": 1, "not_selected": 0}
    assert (select.rows_in, select.rows_out, select.failed) == (kept + 1, kept, {})
    assert (last.rows_in, last.rows_out, last.failed) == (kept, kept, {})
    assert set(built.rows()) == {*GOOD, *ODD, "cut-0"}


def test_what_was_built_verifies_phase_by_phase(built: Built) -> None:
    for root in (built.root, built.root / str(built.manifest.provenance["scores"])):
        report = verify(str(root))
        assert report.ok, str(report)


def test_problems_name_uid_key_reason_and_detail_of_each_failed_row(built: Built) -> None:
    rows = built.problems()
    assert Counter((built.keys.get(row["key"], row["key"]), row["reason"]) for row in rows) == Counter(built.failed)
    assert all(re.fullmatch("[0-9a-f]{32}", row["uid"]) for row in rows)
    detail = {built.keys.get(row["key"], row["key"]): row["detail"] for row in rows}
    for key, words in {
        "bomb": "900000000 pixels",
        "one-pixel": "1 x 1 pixels",
        "endless": "100000 characters",
        "latin-1": "can't decode byte 0xe4",
        "html": "not a JPEG",
        "truncated": "truncated",
    }.items():
        assert words in detail[key]
    uids = {built.keys.get(row["key"], row["key"]): row["uid"] for row in rows}
    for key in ("truncated", "bomb", "latin-1"):
        assert uids[key] == uid_of(BAD[key].image, BAD[key].text)


def test_odd_pictures_are_kept_with_their_size_and_look_right(built: Built) -> None:
    rows = built.rows()

    def small(key: str) -> Image.Image:
        return Image.open(io.BytesIO(rows[key]["thumbnail"]["bytes"])).convert("RGB")

    def close(pixel: object, wanted: tuple[int, int, int]) -> bool:
        return all(abs(got - want) <= 12 for got, want in zip(pixel, wanted, strict=True))  # type: ignore[call-overload]

    sizes = {key: (rows[key]["width"], rows[key]["height"], small(key).size) for key in ODD}
    assert sizes == {
        "cmyk": (30, 20, (16, 11)),
        "sixteen": (20, 30, (11, 16)),
        "palette": (24, 12, (16, 8)),
        "rotated": (20, 40, (8, 16)),
        "animated": (18, 14, (16, 12)),
        "one-row": (400, 2, (16, 1)),
        "umlaut": (32, 32, (16, 16)),
    }
    assert close(small("cmyk").getpixel((8, 5)), (254, 0, 0))
    assert close(small("sixteen").getpixel((5, 8)), (128, 128, 128))
    assert close(small("palette").getpixel((2, 4)), (0, 200, 0))
    assert close(small("palette").getpixel((13, 4)), (255, 255, 255)), "clear parts show white"
    assert close(small("rotated").getpixel((4, 2)), (254, 0, 0)), "what was left is above"
    assert close(small("rotated").getpixel((4, 13)), (0, 0, 254))
    assert close(small("animated").getpixel((8, 6)), (255, 255, 0)), "the first frame"


def test_texts_are_kept_to_the_letter(built: Built) -> None:
    rows = built.rows()
    assert {key: row["text"].encode() for key, row in rows.items() if key in SAMPLES} == {
        key: given.text for key, given in (GOOD | ODD).items()
    }


def test_a_decompression_bomb_is_never_decoded(built: Built) -> None:
    assert built.grown_bytes < 400_000_000, "its pixels take 2.7 GB, or 900 MB before they are RGB"


def test_json_of_the_records_and_the_manifest_agree(built: Built) -> None:
    records = sorted((built.root / "shards" / str(built.manifest.provenance["phase"])[:12]).iterdir())
    assert [json.loads(path.read_text())["rows"] for path in records] == [8, 8]
