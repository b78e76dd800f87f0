"""Duplicates on the page of a sample, and what the page is told of indexes."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from support.browsing import NEEDED, Served, opened_page
from support.tiny import write_dataset

from dfndr import Index
from dfndr.explore.queries import Explorer
from dfndr.explore.values import Filter


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize((90, 90), 0)


def saved(image: Image.Image) -> dict[str, bytes | None]:
    file = io.BytesIO()
    image.save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def test_duplicates_are_told_exact_and_near_and_others_are_not(tmp_path):
    first, other = noise(1), noise(2)
    pictures = [first, first.resize((180, 180), 0), first.rotate(180), other, noise(3), other.convert("L")]
    thumbnails = [*(saved(image) for image in pictures), {"bytes": b"no picture", "path": None}]
    kind = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
    texts = ["one", "two", "three", "one", "five", "six", "seven"]
    columns = {"thumbnail": pa.array(thumbnails, kind), "sha256": [*"abcdaef"], "text": texts}
    explorer = Explorer(write_dataset(tmp_path, (7,), columns=columns))
    uids = explorer.dataset.rows(["uid"])["uid"].to_pylist()
    found = explorer.alike(uids[0])["samples"]
    assert {uids.index(one["uid"]): (one["exact"], one["why"]) for one in found} == {
        4: (True, "the same file"),
        3: (True, "the same text"),
        1: (False, "the same picture to the eye"),
    }
    assert [one["exact"] for one in found] == [True, True, False]
    (near,) = explorer.alike(uids[5])["samples"]
    assert (uids.index(near["uid"]), near["text"], near["exact"]) == (3, "one", False)
    assert explorer.alike(uids[6])["samples"] == []


@NEEDED
def test_duplicates_stand_on_the_page_of_a_sample_and_lead_to_theirs(browser, tmp_path):
    first, other = noise(1), noise(2)
    kind = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
    thumbnails = pa.array([saved(image) for image in (first, other, first.resize((180, 180), 0), first)], kind)
    columns = {"thumbnail": thumbnails, "sha256": [*"abca"], "text": ["one", "two", "three", "four"]}
    explorer = Explorer(write_dataset(tmp_path, (4,), columns=columns))
    uids = explorer.dataset.rows(["uid"])["uid"].to_pylist()
    served = Served(explorer)
    pages = opened_page(browser, served.url)
    page = next(pages)
    page.locator(f".card[data-uid='{uids[0]}']").click()
    found = page.locator("#duplicates .duplicate")
    found.nth(1).wait_for()
    assert found.evaluate_all("all => all.map(one => one.dataset.duplicate)") == [uids[3], uids[2]]
    assert found.nth(0).text_content() == "Exact the same filefour"
    assert found.nth(1).text_content() == "Near the same picture to the eyethree"
    found.nth(1).click()
    page.locator("#sample .text", has_text="three").wait_for()
    page.locator(f"#duplicates .duplicate[data-duplicate='{uids[0]}']").wait_for()
    pages.close()
    served.stop()


def test_how_far_an_index_is_is_told_and_what_kind_it_became(tmp_path, monkeypatch):
    pytest.importorskip("faiss", reason="the lists are made by FAISS")
    explorer = Explorer(write_dataset(tmp_path))
    assert [one["state"] for one in explorer.indexes()["indexes"]] == ["none", "none"]
    seen, build = [], Index.build

    def watched(dataset, space, *, progress, **asked):
        with progress.task("index", 8) as task:
            task.advance(3)
            seen.append(explorer.indexes()["indexes"][0])
        return build(dataset, space, kind="ivf", progress=progress)

    monkeypatch.setattr(Index, "build", watched)
    explorer.prepare()
    assert seen == [{"space": "image/enc", "state": "making", "done": 3, "total": 8, "note": ""}]
    image, text = explorer.indexes()["indexes"]
    assert (image["state"], image["kind"]) == ("ready", "ivf") and 0 <= image["recall_at_10"] <= 1
    assert text == {"space": "text/enc", "state": "none"}
    found = explorer.near("image/enc", Filter(), uid=explorer.dataset.rows(["uid"])["uid"][0].as_py())
    assert found["recall"] == image["recall_at_10"] and len(found["samples"]) == 7
