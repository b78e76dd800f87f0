"""The golden dataset opens for ever: through dfndr, and through nothing but struct, json and pyarrow.

`dfndr-1/` was written once by make.py. If one of these tests fails, the change is wrong and not the dataset.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dfndr import Index, open_dataset
from dfndr.format.schema import DROPPED, FAILED, NAME, Space
from dfndr.format.shard import row_types
from dfndr.verify import verify

ROOT = Path(__file__).parent / "dfndr-1"
PAGE = Path(__file__).parents[2] / "docs" / "format.md"
DIGEST = "79ef93f86c8189cefac61f25e766890fbbfa975b2b1b3c688f20afc55d33487e"
UIDS = [
    "8deef77f840950c3edfec643e14530b3",
    "4fe583e0938a20cbc0f370fc4c56611f",
    "606d65f38cb52230cd3e4c8dc9f42341",
    "27aa3b0cb29a363ecee95a5920a1cd58",
    "c2a3170711fef6df623fb2b6d537d7f2",
    "b15f08e05be9ed08f5296fd62cf845ae",
]
TEXTS = [
    "rightwards arrow",
    "white chess king",
    "umbrella",
    "greek capital letter omega",
    "beamed eighth notes",
    "latin small letter e with acute",
]
CAPTIONS = [
    ["arrow"],
    ["chess piece", "king"],
    ["umbrella", "rain", "weather"],
    ["Greek letter"],
    ["music"],
    ["e", "accent"],
]
SCORES = [0.10303377, 0.44015938, 0.40179813, 0.44343323, 0.37244695, 0.32566354]


@pytest.fixture(scope="module")
def given() -> dict:
    return json.loads((ROOT / "manifest.json").read_text(encoding="utf-8"))


def hand_read_npy(path: Path) -> tuple[str, tuple[int, ...], tuple[float, ...]]:
    """Read a `.npy` with struct alone: its type, its shape, its numbers."""
    data = path.read_bytes()
    magic, major, minor, length = struct.unpack("<6sBBH", data[:10])
    assert (magic, major, minor) == (b"\x93NUMPY", 1, 0)
    header = data[10 : 10 + length].decode("ascii")
    found = re.fullmatch(
        r"\{'descr': '(<f[24])', 'fortran_order': False, 'shape': \((\d+), (\d+), (\d+)\), \} *\n", header
    )
    assert found
    shape = tuple(int(number) for number in found.groups()[1:])
    count = shape[0] * shape[1] * shape[2]
    letter, size = {"<f2": ("e", 2), "<f4": ("f", 4)}[found[1]]
    assert len(data) == 10 + length + count * size
    return found[1], shape, struct.unpack(f"<{count}{letter}", data[10 + length :])


# Through dfndr


def test_it_opens_with_the_digest_it_was_written_with():
    dataset = open_dataset(ROOT)
    assert dataset.digest == DIGEST
    assert (len(dataset), len(dataset.split("train")), len(dataset.split("validation"))) == (6, 4, 2)
    assert list(dataset.spaces.values()) == [
        Space("image", "tiny", 16),
        Space("text", "tiny", 16),
        Space("caption", "tiny", 16, 3),
    ]
    assert dataset.manifest.encoders["tiny"].preprocess.size == (32, 32)


def test_its_rows_are_what_they_were():
    rows = open_dataset(ROOT).rows()
    assert rows.column_names == [
        *("uid", "key", "text", "source", "license", "sha256", "width", "height", "dfn"),
        *("captions", "caption_models", "caption_seeds", "caption_scores", "thumbnail"),
    ]
    assert rows["uid"].to_pylist() == UIDS
    assert rows["text"].to_pylist() == TEXTS
    assert rows["captions"].to_pylist() == CAPTIONS
    np.testing.assert_allclose(rows["dfn"].to_numpy(), SCORES, rtol=1e-6)


def test_its_vectors_are_what_they_were():
    dataset = open_dataset(ROOT)
    arrow = [
        *[0.0] * 6,
        0.301025390625,
        0.01371002197265625,
        0.0947265625,
        0.499267578125,
        0.80029296875,
        0.1007080078125,
    ]
    assert dataset.vectors("image/tiny", [0]).ravel().tolist() == [*arrow, 0.0, 0.0, 0.0, 0.0]
    captions = dataset.vectors("caption/tiny")
    assert captions.shape == (6, 3, 16) and captions.dtype == np.float16
    assert captions.any(axis=2).sum(axis=1).tolist() == [1, 2, 3, 1, 1, 2]


def test_it_verifies():
    report = verify(ROOT)
    assert report.ok and report.findings == (), [str(finding) for finding in report.findings]


@pytest.mark.parametrize("kind", ["numpy", "auto"])
def test_it_can_be_searched(kind):
    dataset = open_dataset(ROOT)
    found = Index.build(dataset, "caption/tiny", kind=kind).search(dataset.vectors("text/tiny", [2])[:, 0], k=2)
    assert found.uids[0][0] == UIDS[2]
    assert found.scores[0][0] == pytest.approx(1, abs=1e-6)


# Through nothing but struct, json and pyarrow: what docs/format.md says, checked on the bytes


def test_the_manifest_has_the_fields_of_the_page_and_no_other(given):
    assert set(given) == {
        *("format", "name", "license", "recipe", "recipe_digest", "seed", "rows", "spaces", "encoders", "scorers"),
        *("funnel", "provenance", "files", "shards"),
    }
    assert given["format"] == "dfndr/1" and NAME.fullmatch(given["name"])
    for space in given["spaces"]:
        assert set(space) == {"name", "modality", "encoder", "dim", "per_row", "dtype", "unit_norm"}
        assert space["name"] == f"{space['modality']}/{space['encoder']}" and space["encoder"] in given["encoders"]
    for record in [*given["encoders"].values(), *given["scorers"].values()]:
        assert set(record) == {
            *("name", "model", "pretrained", "weights_sha256", "dim", "context_length", "preprocess", "precision"),
            *("logit_scale", "license", "batch_size", "threads"),
        }
        assert set(record["preprocess"]) == {"size", "mean", "std", "interpolation", "resize_mode"}
    for number, shard in enumerate(given["shards"]):
        assert set(shard) == {"index", "split", "rows_in", "rows", "dropped", "failed", "files", "notes"}
        assert shard["index"] == number
    for step in given["funnel"]:
        assert set(step) == {"name", "rows_in", "rows_out", "dropped", "failed"}


def test_the_digest_is_the_sha256_of_the_canonical_json(given):
    text = json.dumps(given, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode("utf-8")).hexdigest() == DIGEST


def test_no_row_is_lost(given):
    assert given["rows"] == sum(shard["rows"] for shard in given["shards"]) == given["funnel"][-1]["rows_out"] == 6
    for shard in given["shards"]:
        assert shard["rows_in"] == shard["rows"] + sum(shard["dropped"].values()) + sum(shard["failed"].values())
    for step in given["funnel"]:
        assert step["rows_in"] == step["rows_out"] + sum(step["dropped"].values()) + sum(step["failed"].values())
    for before, after in pairwise(given["funnel"]):
        assert before["rows_out"] == after["rows_in"]


def test_every_file_is_what_the_manifest_says_and_is_named_after_its_content(given):
    spaces = {space["name"] for space in given["spaces"]}
    named = []
    for shard in given["shards"]:
        assert set(shard["files"]) == {"rows", *spaces, *(["problems"] if shard["failed"] else [])}
        for role, stored in shard["files"].items():
            assert set(stored) == {"path", "size_bytes", "sha256"}
            data = (ROOT / stored["path"]).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (stored["size_bytes"], stored["sha256"])
            ending = "npy" if role in spaces else "parquet"
            name = rf"{role}/{shard['split']}-\d{{5}}-{stored['sha256'][:8]}\.{ending}"
            assert re.fullmatch(name, stored["path"])
            named.append(stored["path"])
    there = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file()]
    assert sorted([*named, "manifest.json"]) == sorted(there)
    assert sum(path.stat().st_size for path in ROOT.rglob("*") if path.is_file()) < 50_000


def test_vectors_are_plain_npy_of_unit_vectors_with_zeros_in_free_places(given):
    for shard in given["shards"]:
        captions = pq.ParquetFile(ROOT / shard["files"]["rows"]["path"]).read()["captions"].to_pylist()
        for space in given["spaces"]:
            kind, shape, numbers = hand_read_npy(ROOT / shard["files"][space["name"]]["path"])
            assert kind == {"float16": "<f2", "float32": "<f4"}[space["dtype"]]
            assert shape == (shard["rows"], space["per_row"], space["dim"])
            dim, per_row = space["dim"], space["per_row"]
            for place in range(shape[0] * per_row):
                length = sum(number * number for number in numbers[place * dim : (place + 1) * dim]) ** 0.5
                row, which = divmod(place, per_row)
                used = space["modality"] != "caption" or which < len(captions[row])
                assert abs(length - 1) <= 2**-10 if used else length == 0


def test_rows_are_plain_parquet_of_the_types_on_the_page(given):
    uids = []
    for shard in given["shards"]:
        path = ROOT / shard["files"]["rows"]["path"]
        data = path.read_bytes()
        assert data[:4] == data[-4:] == b"PAR1"
        with pq.ParquetFile(path) as file:
            table = file.read()
        assert table.num_rows == shard["rows"]
        types = {field.name: str(field.type).replace("element: ", "item: ") for field in table.schema}
        assert types == {
            **dict.fromkeys(("uid", "key", "text", "source", "license", "sha256"), "string"),
            **dict.fromkeys(("width", "height"), "int32"),
            "dfn": "float",
            **dict.fromkeys(("captions", "caption_models"), "list<item: string>"),
            "caption_seeds": "list<item: int64>",
            "caption_scores": "list<item: float>",
            "thumbnail": "struct<bytes: binary, path: string>",
        }
        for row in table.to_pylist():
            image = row["thumbnail"]["bytes"]  # these thumbnails are the pictures themselves
            assert row["sha256"] == hashlib.sha256(image).hexdigest()
            assert row["uid"] == hashlib.sha256(image + b"\0" + row["text"].encode("utf-8")).hexdigest()[:32]
            assert (row["width"], row["height"]) == struct.unpack(">II", image[16:24])
            assert (
                len(row["captions"])
                == len(row["caption_models"])
                == len(row["caption_seeds"])
                == len(row["caption_scores"])
            )
            uids.append(row["uid"])
    assert uids == UIDS


def test_problems_name_the_rows_that_failed(given):
    (shard,) = [shard for shard in given["shards"] if shard["failed"]]
    table = pq.ParquetFile(ROOT / shard["files"]["problems"]["path"]).read()
    assert table.schema.names == ["uid", "key", "reason", "detail"]
    assert {str(field.type) for field in table.schema} == {"string"}
    assert table["reason"].to_pylist() == ["vector_not_finite"] and shard["failed"] == {"vector_not_finite": 1}


def test_thumbnails_are_pictures():
    image = pytest.importorskip("PIL.Image")
    for row in open_dataset(ROOT).rows(["thumbnail"])["thumbnail"].to_pylist():
        with image.open(io.BytesIO(row["bytes"])) as picture:
            assert picture.size == (32, 32)


# The page itself


def tables(title: str) -> dict[str, str]:
    """Return a table of the page as {first column: second column}, found by its first title."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {title} |"))
    found = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        first, second = (cell.strip() for cell in line.strip("|").split("|")[:2])
        found[first] = second
    return found


@pytest.mark.parametrize(("title", "reasons"), [("dropped", DROPPED), ("failed", FAILED)])
def test_the_reasons_on_the_page_are_those_in_the_code(title, reasons):
    assert {name.strip("`"): why for name, why in tables(title).items()} == dict(reasons)


def test_the_columns_on_the_page_are_those_in_the_code():
    words = {pa.string(): "string", pa.int32(): "int32", pa.float32(): "float", pa.list_(pa.string()): "list of string"}
    named = {name: kind for first, kind in tables("column").items() for name in re.findall("`([a-z_0-9]+)`", first)}
    types = row_types()
    assert set(named) == set(types)
    for name, kind in named.items():
        if types[name] in words and "," not in kind:
            assert kind == words[types[name]]


def test_the_manifests_fields_on_the_page_are_those_in_the_code(given):
    named = [name for first in tables("field") for name in re.findall("`([a-z_]+)`", first)]
    assert sorted(named) == sorted([*given, "captioners", "removals"]), "the golden dataset is older than both"
