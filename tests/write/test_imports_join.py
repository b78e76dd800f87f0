"""Pictures and captions come to imported vectors by uid, in one command, and what has none is counted."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from dfndr_builders.imports import Imported, Join, import_dataset, open_layout
from dfndr_builders.imports.layout import Teacher
from dfndr_builders.opened import open_pool_at
from PIL import Image
from support.layouts import Member, reinforced, vectors_of_sample, write_tar
from support.verbs import run

from dfndr import open_dataset
from dfndr.dataset import Dataset
from dfndr.format.manifest import Manifest
from dfndr.verify import verify

ONE = (Teacher("a", "ViT-B-32", "openai", 6),)
UIDS = [f"{number:032x}" for number in range(1, 8)]
SMALL = 3
"""The row whose picture is smaller than the box that its views were cut from."""


def picture(number: int, kind: str = "png") -> bytes:
    """Return a picture of a size of its own; the views of `reinforced` reach to 42 x 31 pixels."""
    file = io.BytesIO()
    size = (20, 20) if number == SMALL else (60 + number, 50)
    Image.new("RGB", size, (number * 30, 0, 0)).save(file, kind.upper())
    return file.getvalue()


def tars(folder: Path, more: dict[int, list[Member]] | None = None) -> str:
    """Write two tars of four and three samples, with further members of some."""
    samples = [
        [*reinforced(uid, vectors_of_sample(row, dims=(6,), views=2, captions=2)), *(more or {}).get(row, [])]
        for row, uid in enumerate(UIDS)
    ]
    for number, part in enumerate((samples[:4], samples[4:])):
        write_tar(folder / f"{number:08d}.tar", [member for sample in part for member in sample])
    return str(folder / "{00000000..00000001}.tar")


def pool(folder: Path) -> str:
    """Write a pool in another order: one picture is damaged (row 1), row 2 is not there, row 0 comes twice."""
    samples = []
    for place, row in enumerate([6, 5, 0, 4, 1, 0, SMALL]):
        data = b"no picture" if row == 1 else picture(0 if place == 5 else row)
        about = json.dumps({"uid": UIDS[row]}).encode()
        text = "" if row == 4 else f"caption of {row}"
        key = UIDS[row] if row == 6 else f"{place:09d}"
        members = [(f"{key}.png", data), (f"{key}.txt", text.encode())]
        samples.append(members if row == 6 else [*members, (f"{key}.json", about)])
    samples.append([("999999999.jpg", picture(0)), ("999999999.txt", b"of another set")])
    write_tar(folder / "pool-0.tar", [member for sample in samples[:4] for member in sample])
    write_tar(folder / "pool-1.tar", [member for sample in samples[4:] for member in sample])
    return str(folder / "pool-*.tar")


def joined(tmp_path: Path, out: str = "out", **more: Any) -> tuple[Manifest, Dataset]:
    layout = open_layout("dr", tars(tmp_path), ONE)
    how = Join(open_pool_at(pool(tmp_path)), "pool", **more)
    manifest = import_dataset(layout, Imported("it", "CC0-1.0", ONE), tmp_path / out, join=how)
    assert not verify(str(tmp_path / out)).findings
    return manifest, open_dataset(tmp_path / out)


def test_every_row_gets_the_caption_size_hash_and_thumbnail_of_its_own_picture(tmp_path: Path) -> None:
    manifest, dataset = joined(tmp_path)
    rows = dict(enumerate(dataset.rows().to_pylist()))
    assert [row["uid"] for row in rows.values()] == UIDS
    for number in (0, 4, 5, 6):
        row = rows[number]
        assert (row["width"], row["height"]) == (60 + number, 50)
        assert row["sha256"] == hashlib.sha256(picture(number)).hexdigest()
        assert row["recorded_sha256"] == "ab" * 32
        assert Image.open(io.BytesIO(row["thumbnail"]["bytes"])).size == (60 + number, 50)
        assert row["picture"] == "found"
    assert [rows[number]["text"] for number in (0, 4, 5, 6)] == ["caption of 0", "", "caption of 5", "caption of 6"]
    assert manifest.provenance["pictures"] == {
        "join": "pool", "found": 4, "image_missing": 1, "image_unreadable": 1, "views_outside": 1,
    }  # fmt: skip


def test_a_row_without_a_picture_is_kept_with_its_vectors_and_says_why(tmp_path: Path) -> None:
    manifest, dataset = joined(tmp_path)
    without = dataset.rows(where=pc.field("picture") != "found").to_pylist()
    told = {row["uid"]: (row["picture"], row["width"], row["thumbnail"], row["sha256"]) for row in without}
    assert told == {
        UIDS[1]: ("image_unreadable", None, None, "ab" * 32),
        UIDS[2]: ("image_missing", None, None, "ab" * 32),
        UIDS[SMALL]: ("views_outside", None, None, "ab" * 32),
    }
    assert len(manifest) == 7


def test_or_it_fails_under_its_reason_where_that_is_asked(tmp_path: Path) -> None:
    manifest, dataset = joined(tmp_path, missing="drop")
    assert dataset.rows(["uid"])["uid"].to_pylist() == [UIDS[row] for row in (0, 4, 5, 6)]
    assert dict(manifest.funnel[0].failed) == {"image_missing": 2, "image_unreadable": 1}


def test_running_a_join_again_reads_no_picture_again_and_changes_nothing(tmp_path: Path) -> None:
    first, _ = joined(tmp_path)
    (tmp_path / "out" / "manifest.json").unlink()
    (record,) = (tmp_path / "out" / "shards").iterdir()
    (record / "00001.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "phases").rglob("*.parquet")}
    again, _ = joined(tmp_path)
    assert again.digest == first.digest
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "phases").rglob("*.parquet")} == before


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_pictures_and_captions_that_lie_in_the_tars_are_read_with_them(tmp_path: Path, kind: str) -> None:
    ending = {"jpeg": "jpg"}.get(kind, kind)
    more = {row: [(f"{UIDS[row]}.{ending}", picture(row, kind)), (f"{UIDS[row]}.txt", b"own")] for row in (0, 2, SMALL)}
    layout = open_layout("dr", tars(tmp_path, more), ONE)
    manifest = import_dataset(layout, Imported("it", "CC0-1.0", ONE), tmp_path / "out")
    rows = open_dataset(tmp_path / "out").rows().to_pylist()
    assert [row["picture"] for row in rows] == [
        "found", "image_missing", "found", "views_outside", *["image_missing"] * 3
    ]  # fmt: skip
    assert rows[2]["sha256"] == hashlib.sha256(picture(2, kind)).hexdigest()
    assert (rows[2]["width"], rows[2]["text"], rows[1]["text"]) == (62, "own", None)
    assert manifest.provenance["pictures"] == {"join": "", "found": 2, "image_missing": 4, "views_outside": 1}
    assert not verify(str(tmp_path / "out")).findings


def test_one_command_joins_and_says_how_many_were_missing(tmp_path: Path) -> None:
    recipe = tmp_path / "pool.toml"
    pool(tmp_path)
    recipe.write_text(
        'name = "p"\nlicense = "CC0-1.0"\n[[pool]]\nkind = "webdataset"\npath = "pool-*.tar"\nuid = "json:uid"\n'
        '[[score]]\nname = "r"\nkind = "random"\n[select]\nby = "r"\ntop_fraction = 1.0\n'
    )
    words = ["import", "dr", tars(tmp_path), "--out", str(tmp_path / "out"), "--name", "it", "--license", "CC0-1.0"]
    done = run([*words, "--encoder", "a=ViT-B-32/openai:6", "--join", str(recipe), "--thumbnail", "0"])
    assert done.exit_code == 0, done.output
    assert "pictures\n           4 found\n           1 image_missing\n" in done.stdout
    assert open_dataset(tmp_path / "out").rows(["thumbnail"])["thumbnail"].null_count == 7
