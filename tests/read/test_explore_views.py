"""Views on the page: told with their boxes, drawn from their parameters, and only text where they are none."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from support.browsing import NEEDED, Served, launched, opened_page
from support.explored import HOSTILE, picture
from support.tiny import TEXT, write_dataset

from dfndr.errors import DataError, UsageError
from dfndr.explore.queries import Explorer
from dfndr.format.schema import Space
from dfndr.views import Sampler, View, apply, parse_views

IMAGE = Space("image", "enc", dim=8, per_row=4)
SIZE = (300, 200)


def quarters(size=(90, 60)):
    """A picture of four colours, one in each quarter."""
    pixels = np.zeros((2, 2, 3), dtype=np.uint8)
    pixels[:] = [[(220, 40, 40), (40, 200, 40)], [(40, 40, 220), (230, 220, 40)]]
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Six rows: fine ones, and one each whose views are a script, without a picture, of another shape, of no size."""
    views = [[view.to_json() for view in Sampler(count=4).views(0, str(row), SIZE)] for row in range(6)]
    views[0] = [View(100, 150, 100, 150).to_json(), View(0, 0, 100, 150).to_json(), *views[0][2:]]
    views[1] = [HOSTILE] * 4
    thumbnails = [{"bytes": quarters(), "path": None} for _ in range(6)]
    thumbnails[2], thumbnails[3] = None, {"bytes": picture(3), "path": None}
    widths = pa.array([300] * 5 + [None], pa.int32())
    columns = {
        "views": pa.array(views, pa.list_(pa.string())),
        "width": widths,
        "height": pa.array([200] * 6, pa.int32()),
        "thumbnail": pa.array(thumbnails, pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])),
    }
    return write_dataset(tmp_path_factory.mktemp("viewed"), (4, 2), spaces=(IMAGE, TEXT), columns=columns, name="views")


@pytest.fixture(scope="module")
def browser():
    yield from launched()


@pytest.fixture(scope="module")
def uids(dataset):
    return dataset.rows(["uid"])["uid"].to_pylist()


def test_a_sample_tells_its_views_with_boxes_as_shares_of_the_picture(dataset, uids):
    told = Explorer(dataset).sample(uids[0])["views"]
    assert (told["count"], told["aspect"]) == (4, 1.5)
    assert told["boxes"][:2] == [[0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.5, 0.5]]
    drawn = Sampler(count=4).views(0, "0", SIZE)
    assert told["said"] == ["Identity", "Identity", *(str(view) for view in drawn[2:])]


def test_a_view_is_drawn_from_the_small_picture_by_its_parameters(dataset, uids):
    explorer = Explorer(dataset)
    small = Image.open(io.BytesIO(quarters())).convert("RGB")
    for row in (0, 4):
        for number, entry in enumerate(dataset.rows(["views"])["views"][row].as_py()):
            seen = Image.open(io.BytesIO(explorer.view(uids[row], number)))
            known = apply(parse_views([entry])[0], small, size=128, made_for=SIZE, rescale=True)
            assert seen.size == (128, 128)
            assert np.abs(np.asarray(seen, dtype=int) - np.asarray(known)).mean() < 3  # the JPEG
    colour = np.asarray(Image.open(io.BytesIO(explorer.view(uids[0], 0))))[64, 64]
    assert np.abs(colour - np.array((230, 220, 40), dtype=int)).max() < 6


def test_views_that_are_none_or_have_no_picture_are_told_and_not_drawn(dataset, uids):
    explorer = Explorer(dataset)
    told = explorer.sample(uids[1])["views"]
    assert told["count"] == 0 and "found" in told["problem"]
    told = explorer.sample(uids[5])["views"]
    assert (told["count"], told["boxes"], told["aspect"]) == (4, [], None)
    for uid, number, error in (
        (uids[1], 0, DataError),
        (uids[2], 0, UsageError),
        (uids[3], 0, DataError),
        (uids[5], 0, UsageError),
    ):
        with pytest.raises(error):
            explorer.view(uid, number)
    for number in (-1, 4, 10**30):
        with pytest.raises(UsageError, match="no such view"):
            explorer.view(uids[0], number)


def test_a_dataset_without_views_says_none(tmp_path):
    dataset = write_dataset(tmp_path)
    assert Explorer(dataset).sample(dataset.rows(["uid"])["uid"][0].as_py())["views"] is None


@NEEDED
def test_the_page_draws_every_view_and_its_box_lights_up_under_the_pointer(browser, dataset, uids):
    served = Served(Explorer(dataset))
    for page in opened_page(browser, served.url):
        page.fill("#query", uids[0])
        page.press("#query", "Enter")
        tiles = page.locator("#sample .views li")
        tiles.nth(3).wait_for()
        assert tiles.count() == page.locator("#sample .views rect").count() == 4
        assert tiles.locator("b").all_text_contents() == ["0", "1", "2", "3"]
        for number in range(4):
            tiles.nth(number).scroll_into_view_if_needed()
            image = tiles.nth(number).locator("img")
            page.wait_for_function("image => image.complete && image.naturalWidth === 128", arg=image.element_handle())
        tiles.nth(1).hover()
        lit = page.locator("#sample .views rect.lit")
        assert [lit.get_attribute(name) for name in ("x", "y", "width", "height")] == ["0", "0", "50", "50"]
        frame, box = page.locator("#sample .views .frame").bounding_box(), lit.bounding_box()
        assert abs(frame["width"] / frame["height"] - 1.5) < 0.02
        assert abs(box["width"] - frame["width"] / 2) < 5 and abs(box["height"] - frame["height"] / 2) < 5
        assert "views" not in page.locator("#sample .fields dt").all_text_contents()
    served.stop()


@NEEDED
def test_a_script_in_the_place_of_a_view_is_text(browser, dataset, uids):
    served = Served(Explorer(dataset))
    for page in opened_page(browser, served.url):
        page.fill("#query", uids[1])
        page.press("#query", "Enter")
        page.locator("#sample .views", has_text="cannot be read").wait_for()
        assert "<script>" in page.locator("#sample .views").text_content()
        assert page.evaluate("window.hacked") is None
        page.fill("#query", uids[2])
        page.press("#query", "Enter")
        page.locator("#sample .views .none").nth(3).wait_for()
        assert page.locator("#sample .views .none").all_text_contents() == ["no picture"] * 4
    served.stop()
