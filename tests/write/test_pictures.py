"""Pictures from the pool for a dataset that keeps none: found, compared, shown, and never for one from elsewhere."""

from __future__ import annotations

import hashlib
import io
import time
import tomllib
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dfndr_builders.pictures import PoolPictures, pictures_of
from dfndr_builders.pools.webdataset import WebDatasetPool
from PIL import Image
from support.browsing import NEEDED, Served, launched, opened_page
from support.pools import picture, rows_of, tar_of
from support.published import hub_for_reading, put_folder
from support.tiny import write_dataset

from dfndr.dataset import open_dataset
from dfndr.explore import pooled
from dfndr.explore.pooled import find_of
from dfndr.explore.queries import Explorer
from dfndr.format.manifest import write_manifest

RECIPE = """
name = "pooled"
license = "mit"
[[pool]]
kind = "webdataset"
path = "{path}"
[[score]]
name = "dfn"
model = "ViT-B-32"
pretrained = "random:0"
[select]
by = "dfn"
top_fraction = 0.5
"""
COLOURS = ["red", "green", "blue", "black", "orange", "purple"]
FOREVER = float("inf")


def recorded(dataset, path, **provenance):
    """Return a dataset whose manifest names a pool."""
    recipe = RECIPE.format(path=path)
    write_manifest(dataset.root, replace(dataset.manifest, recipe=recipe, provenance=provenance))
    return open_dataset(dataset.root)


@pytest.fixture
def pool(tmp_path):
    """Six pictures in two tars, as the pool's rows."""
    (tmp_path / "pool").mkdir()
    for number in range(2):
        mine = range(3 * number, 3 * number + 3)
        members = [(f"{row}.png", picture(COLOURS[row], size=(600, 400))) for row in mine]
        tar = tar_of(sorted([*members, *((f"{row}.txt", f"text {row}") for row in mine)]))
        (tmp_path / "pool" / f"{number:05d}.tar").write_bytes(tar)
    return rows_of(WebDatasetPool((str(tmp_path / "pool" / "*.tar"),)))


@pytest.fixture
def dataset(tmp_path, pool):
    """A dataset of the pool's rows 1, 2, 4 and 5 without thumbnails; the sha256 of row 5 is another picture's."""
    rows = [pool[row] for row in (1, 2, 4, 5)]
    hashes = [hashlib.sha256(row["image"]).hexdigest() for row in rows]
    columns = {"uid": [row["uid"] for row in rows], "text": [row["text"] for row in rows]}
    written = write_dataset(tmp_path / "data", (4,), columns={**columns, "sha256": [*hashes[:3], hashes[0]]})
    return recorded(written, tmp_path / "pool" / "*.tar")


def settled(explorer, uid, *, patience_s=60):
    """Return a small picture once the search for it is over, None where there is none."""
    until = time.monotonic() + patience_s
    looking = explorer._pooled
    while (found := looking.of(uid)) is None and uid not in looking._missed and time.monotonic() < until:
        looking._thread.join(patience_s) if looking._thread.is_alive() else None
    return found


def test_pictures_are_found_in_the_shards_of_the_pool(dataset, pool):
    find = pictures_of(dataset)
    wanted = [pool[row]["uid"] for row in (5, 1, 0)]
    assert dict(find([*wanted, "0" * 32], FOREVER)) == {row["uid"]: row["image"] for row in (pool[5], pool[1], pool[0])}
    assert dict(find(["0" * 32], FOREVER)) == {}


def test_only_the_shards_that_the_selection_names_are_read(tmp_path, dataset, pool):
    phase = "phases/select-0123456789ab"
    (tmp_path / "data" / phase).mkdir(parents=True)
    chosen = {"shard": pa.array([0, 0, 1, 1], pa.int32()), "uid": [pool[row]["uid"] for row in (1, 2, 4, 5)]}
    pq.write_table(pa.table(chosen), tmp_path / "data" / phase / "train.parquet")
    find = pictures_of(recorded(dataset, tmp_path / "pool" / "*.tar", selection={"phase": phase}))
    assert find._order([pool[4]["uid"]], 2) == [1] and find._order([pool[row]["uid"] for row in (1, 4, 5)], 2) == [1, 0]
    (tmp_path / "pool" / "00000.tar").write_bytes(b"damaged")
    assert dict(find([pool[4]["uid"]], FOREVER)) == {pool[4]["uid"]: pool[4]["image"]}
    assert find._order(["0" * 32], 2) == []


def test_a_search_ends_when_its_time_is_over(dataset, pool):
    assert len(dict(pictures_of(dataset)([row["uid"] for row in pool], time.monotonic() - 1))) == 3


def test_a_picture_is_shown_small_and_only_where_its_hash_is_the_rows(dataset, pool):
    explorer = Explorer(dataset, find=pictures_of(dataset))
    small = Image.open(io.BytesIO(settled(explorer, pool[1]["uid"])))
    assert (small.size, small.format) == ((256, 171), "JPEG")
    assert max(abs(a - b) for a, b in zip(small.getpixel((9, 9)), (0, 128, 0), strict=True)) <= 2
    assert explorer.thumbnail(pool[1]["uid"])[1] == "image/jpeg"
    assert settled(explorer, pool[5]["uid"]) is None


@pytest.mark.parametrize(
    "path", ["$NOT_SET_ANYWHERE/*.tar", "s3://bucket/*.tar", "//server/share/*.tar", "hf://datasets/me/pool/*.tar"]
)
def test_a_pool_that_is_not_in_files_of_this_machine_is_not_looked_for(dataset, path):
    assert pictures_of(recorded(dataset, path)) is None


def test_a_pool_that_is_gone_and_a_recipe_of_another_release_leave_the_text_in_the_place(tmp_path, dataset, pool):
    explorer = Explorer(dataset, find=pictures_of(recorded(dataset, tmp_path / "gone" / "*.tar")))
    assert settled(explorer, pool[1]["uid"]) is None
    write_manifest(dataset.root, replace(dataset.manifest, recipe="something = 'else'"))
    assert pictures_of(open_dataset(dataset.root)) is None


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install the entry point, whatever the metadata of this environment says."""
    about = tmp_path / "site" / "dfndr_pictures_test-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: dfndr-pictures-test\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[dfndr.pictures]\npools = dfndr_builders.pictures:pictures_of\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


@pytest.mark.usefixtures("installed")
def test_what_a_dataset_from_the_hub_says_of_paths_is_never_opened(tmp_path, monkeypatch, dataset, pool):
    assert isinstance(find_of(dataset), PoolPictures)
    with hub_for_reading(monkeypatch, tmp_path / "cache") as hub:
        put_folder(hub, "me/set", tmp_path / "data")
        there = open_dataset("hf://datasets/me/set")
        assert there.manifest.recipe == dataset.manifest.recipe
        assert find_of(there) is None and pictures_of(there) is None
        assert Explorer(there, find=find_of(there)).about()["thumbnails"] is False


def test_the_project_offers_the_function(request):
    project = tomllib.loads((request.config.rootpath / "pyproject.toml").read_text())["project"]
    name = f"{pictures_of.__module__}:{pictures_of.__qualname__}"
    assert project["entry-points"][pooled._GROUP] == {"pools": name}


@NEEDED
def test_the_page_shows_pictures_of_the_pool_and_texts_where_there_is_none(dataset, pool):
    served = Served(Explorer(dataset, find=pictures_of(dataset)))
    for browser in launched():
        pages = opened_page(browser, served.url)
        page = next(pages)
        for row in (1, 2, 4):
            image = page.locator(f".card[data-uid='{pool[row]['uid']}'] img")
            image.wait_for()
            page.wait_for_function("image => image.naturalWidth === 256", arg=image.element_handle())
        assert page.locator(f".card[data-uid='{pool[5]['uid']}'] .words").text_content() == "text 5"
        pages.close()
    served.stop()
