"""Pools that change under a build: changed rows and pictures are refused, added ones are scored too."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from dfndr_builders.build import build
from PIL import Image
from support.faults import POOL, write_recipe
from support.pairs import jpeg
from support.pools import tar_of

from dfndr.dataset import open_dataset
from dfndr.errors import DataError
from dfndr.verify import verify


def pool_of(folder: Path, rows: list[tuple[bytes, str, dict[str, object]]]) -> Path:
    members: list[tuple[str, object]] = []
    for place, (image, text, about) in enumerate(rows):
        members += [(f"{place:03d}.jpg", image), (f"{place:03d}.txt", text), (f"{place:03d}.json", about)]
    (folder / "pool.tar").write_bytes(tar_of(members))
    return folder / "pool.tar"


TARS = 'kind = "webdataset"\npath = "pool.tar"\nuid = "json:uid"'


def pairs(count: int, *, own: bool = False) -> list[tuple[bytes, str, dict[str, object]]]:
    return [
        (jpeg(colour=(place * 12, 90, 200)), f"number {place:02d}", {"uid": f"{place:032x}"} if own else {})
        for place in range(count)
    ]


def test_a_pool_whose_rows_changed_since_they_were_scored_is_refused(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, (POOL, TARS))
    tar = pool_of(tmp_path, pairs(20))
    build(recipe, tmp_path / "out", device="cpu")
    size = tar.stat().st_size
    tar.write_bytes(tar.read_bytes().replace(b"number ", b"NUMBER "))
    assert tar.stat().st_size == size, "so nothing but its content tells"
    recipe = write_recipe(tmp_path, (POOL, TARS), ("0.5", "0.6"))
    with pytest.raises(DataError, match=r"pool shard pool\.tar: expected the 5 selected rows, found 5 of them missing"):
        build(recipe, tmp_path / "out", device="cpu", replace=True)
    assert verify(str(tmp_path / "out")).ok, "the dataset that was there is whole"


def test_a_picture_that_changed_under_the_uid_of_the_pool_is_refused(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, (POOL, TARS))
    rows = pairs(20, own=True)
    tar = pool_of(tmp_path, rows)
    size = tar.stat().st_size
    build(recipe, tmp_path / "out", device="cpu")
    swapped = [(rows[place ^ 1][0], text, about) for place, (_, text, about) in enumerate(rows)]
    pool_of(tmp_path, swapped)
    assert tar.stat().st_size == size
    recipe = write_recipe(tmp_path, (POOL, TARS), ("0.5", "0.6"))
    with pytest.raises(DataError, match="5 of them missing or with another picture, such as uid 0"):
        build(recipe, tmp_path / "out", device="cpu", replace=True)


def test_a_bad_row_never_lends_its_picture_to_a_good_one_of_the_same_uid(tmp_path: Path) -> None:
    uid = "ab" * 16
    rows = pairs(5, own=True)
    dot, red, blue = jpeg((1, 1)), jpeg(colour=(250, 0, 0)), jpeg(colour=(0, 0, 250))
    same = [(image, "the same", {"uid": uid}) for image in (dot, red, blue)]
    pool_of(tmp_path, [same[0], *rows, same[1], same[2]])
    manifest = build(write_recipe(tmp_path, (POOL, TARS), ("0.5", "1.0")), tmp_path / "out", device="cpu")
    score, select, last = manifest.funnel
    assert (score.failed, select.dropped["duplicate"], last.failed) == ({"image_too_small": 1}, 1, {})
    kept = {row["uid"]: row for row in open_dataset(tmp_path / "out").rows().to_pylist()}[uid]
    assert kept["sha256"] == hashlib.sha256(red).hexdigest()
    pixel = Image.open(io.BytesIO(kept["thumbnail"]["bytes"])).convert("RGB").getpixel((5, 5))
    assert pixel[0] > 240 and pixel[2] < 10


def test_a_picture_put_into_a_folder_later_is_scored_too(tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    folder.mkdir()
    recipe = write_recipe(tmp_path, (POOL, 'kind = "folder"\npath = "pool"'), ("0.5", "1.0"))
    for place, (image, text, _) in enumerate(pairs(4)):
        (folder / f"{place}.jpg").write_bytes(image)
        (folder / f"{place}.txt").write_text(text)
    assert len(build(recipe, tmp_path / "out", device="cpu")) == 4
    (folder / "new.jpg").write_bytes(jpeg())
    (folder / "new.txt").write_text("a new one")
    assert len(build(recipe, tmp_path / "out", device="cpu")) == 5
