"""Croissant metadata: mlcroissant finds nothing wrong with it, and reads with it what the dataset holds."""

import io
import json
import logging
from pathlib import Path

import pytest
from dfndr_builders.card.croissant import CROISSANT, croissant
from PIL import Image
from support.tiny import IMAGE, TEXT, write_dataset

from dfndr.dataset import Dataset

# mlcroissant's own libraries call each other's ways old while it reads.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
mlcroissant = pytest.importorskip("mlcroissant", reason="the extra publish is not installed")


def _thumbnail(shade: int) -> dict[str, object]:
    target = io.BytesIO()
    Image.new("RGB", (12, 9), (shade, 80, 120)).save(target, "PNG")
    return {"bytes": target.getvalue(), "path": None}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    columns = {
        "width": [100 + row for row in range(8)],
        "dfn": [row / 8 for row in range(8)],
        "is_good": [row % 2 == 0 for row in range(8)],
        "thumbnail": [_thumbnail(20 * row) for row in range(8)],
    }
    splits = ["train", "train", "validation"]
    return write_dataset(tmp_path / "set", (3, 2, 3), (IMAGE, TEXT), columns=columns, splits=splits)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_records_that_mlcroissant_reads_are_the_rows(dataset: Dataset, split: str) -> None:
    path = Path(dataset.root) / CROISSANT
    path.write_bytes(croissant(dataset, "me/set"))
    read = mlcroissant.Dataset(str(path), mapping={"repo": dataset.root})
    found = {record[f"{split}/uid"].decode(): record for record in read.records(split)}
    rows = dataset.split(split).rows().to_pylist()
    assert len(found) == len(rows)
    for row in rows:
        record = found[row["uid"]]
        assert record[f"{split}/text"].decode() == row["text"]
        assert [one.decode() for one in record[f"{split}/captions"]] == row["captions"]
        assert (record[f"{split}/width"], record[f"{split}/dfn"]) == (row["width"], row["dfn"])
        assert bool(record[f"{split}/is_good"]) is row["is_good"]
        assert record[f"{split}/thumbnail"].getpixel((0, 0)) == Image.open(
            io.BytesIO(row["thumbnail"]["bytes"])
        ).getpixel((0, 0))


def test_mlcroissant_finds_no_error_in_it_and_it_is_the_same_each_time(
    dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    made = croissant(dataset, "me/set")
    assert made == croissant(dataset, "me/set")
    with caplog.at_level(logging.WARNING):
        read = mlcroissant.Dataset(json.loads(made))
    assert not read.metadata.ctx.issues.errors
    assert all("datePublished" in str(one) for one in read.metadata.ctx.issues.warnings), "a manifest holds no time"
    given = json.loads(made)
    assert given["url"] == "https://huggingface.co/datasets/me/set"
    assert {one["includes"] for one in given["distribution"] if one["@type"] == "cr:FileSet"} == {
        f"{folder}/{split}-*.{end}"
        for split in ("train", "validation")
        for folder, end in (("rows", "parquet"), ("image/enc", "npy"), ("text/enc", "npy"))
    }
