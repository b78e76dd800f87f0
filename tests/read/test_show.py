"""What a notebook shows of rows: escaped, self-contained, in order, with the right pictures and numbers."""

import base64
import re
from pathlib import Path

import numpy as np
import pytest
from support.explored import HOSTILE, explored, picture
from support.tiny import IMAGE, write_dataset

from dfndr.dataset import Dataset, open_dataset
from dfndr.errors import UsageError
from dfndr.search import Index
from dfndr.show import Sample, Shown, Strip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return explored(tmp_path_factory.mktemp("shown") / "set")


def _uids(dataset: Dataset) -> list[str]:
    found: list[str] = dataset.rows(["uid"])["uid"].to_pylist()
    return found


def test_rows_come_in_the_order_of_their_uids_each_with_its_own_picture_and_text(dataset: Dataset) -> None:
    uids = _uids(dataset)
    shown = dataset.show([uids[50], uids[7].upper(), uids[80]])
    assert shown.uids == [uids[50], uids[7], uids[80]]
    page = shown._repr_html_()
    urls = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert [base64.b64decode(url) for url in urls] == [picture(50), picture(7), picture(80)]
    assert re.findall(r"number (\d+)</bdi>", page) == ["50", "7", "80"]


def test_without_uids_the_first_twelve_rows_are_shown_over_shards(tmp_path: Path, dataset: Dataset) -> None:
    assert dataset.show().uids == _uids(dataset)[:12]
    small = write_dataset(tmp_path / "small", (5, 3, 9))
    assert small.show().uids == _uids(small)[:12]
    assert small.split("validation").show().uids == []


def test_one_uid_may_stand_without_a_list_and_an_unknown_one_is_refused(dataset: Dataset) -> None:
    assert dataset.show(_uids(dataset)[3]).uids == [_uids(dataset)[3]]
    with pytest.raises(UsageError, match="no such row"):
        dataset.show(["0" * 32])


def test_a_hostile_text_is_text_and_a_hostile_picture_is_no_picture(dataset: Dataset) -> None:
    uids = _uids(dataset)
    page = dataset.show([uids[0], uids[4]])._repr_html_()
    assert "<script" not in page and "<svg" not in page and "onload" not in page
    assert page.count("<img") == 1  # that of row 0; row 4's is no picture
    assert HOSTILE.replace("<", "&lt;").replace(">", "&gt;").replace("'", "&#x27;")[:60] in page
    assert "no picture" in page


@pytest.mark.parametrize("text", ['" onerror="x', "</bdi><b>", "\u202egnp.exe", "a\x00b", ""])
def test_no_text_leaves_its_place(text: str) -> None:
    page = Shown((Strip(text, (Sample("f" * 32, text, picture(1), {text: 0.5}),)),))._repr_html_()
    tags = {re.split(r"[\s>]", tag)[0] for tag in re.findall(r"<(/?\w[^>]*)", page)}
    assert {tag.strip("/") for tag in tags} <= {"div", "section", "p", "img", "bdi", "code", "span", "em"}
    assert not re.search(r'"\s+onerror="', page)
    assert "\u202e" not in page and "\x00" not in page


def test_what_is_shown_asks_for_nothing_from_elsewhere(dataset: Dataset) -> None:
    page = dataset.show()._repr_html_()
    assert not re.search(r"https?:|url\(|<link|<script|<style|<iframe", page)


def test_a_picture_of_more_than_a_mebibyte_is_left_out() -> None:
    large = b"\xff\xd8" + bytes(1 << 20)
    assert "no picture" in Shown((Strip("t", (Sample("f" * 32, "x", large),)),))._repr_html_()


def test_in_a_terminal_each_row_is_a_line(dataset: Dataset) -> None:
    uids = _uids(dataset)
    lines = repr(dataset.show(uids[:2])).splitlines()
    assert lines[0] == "explored"
    assert lines[1].startswith(f"  {uids[0]}") and lines[2].endswith("a green thing, number 1")


def _brute(dataset: Dataset, space: str, query: np.ndarray) -> list[int]:
    vectors = dataset.vectors(space)[:, 0].astype(np.float64)
    return list(np.argsort(-(vectors @ query), kind="stable"))


def test_an_index_shows_the_nearest_rows_and_their_cosines(dataset: Dataset) -> None:
    index, uids = Index.build(dataset, "image/enc", kind="numpy"), _uids(dataset)
    query = np.random.default_rng(3).standard_normal(8)
    expected = [uids[row] for row in _brute(dataset, "image/enc", query)[:5]]
    shown = index.show(query, 5)
    assert shown.uids == expected
    scores = index.search(query[None], 5).scores[0]
    assert re.findall(r">(-?0\.\d{4})<", shown._repr_html_()) == [f"{score:.4f}" for score in scores]


def test_a_row_shown_by_its_uid_is_left_out_of_its_neighbours(dataset: Dataset) -> None:
    index, uids = Index.build(dataset, "image/enc", kind="numpy"), _uids(dataset)
    own = dataset.vectors("image/enc", [33])[0, 0].astype(np.float64)
    order = [row for row in _brute(dataset, "image/enc", own) if row != 33]
    assert index.show(uids[33].upper(), 4).uids == [uids[row] for row in order[:4]]


def test_several_queries_have_a_strip_each(dataset: Dataset) -> None:
    index = Index.build(dataset, "image/enc", kind="numpy")
    shown = index.show(dataset.vectors("image/enc", [1, 2])[:, 0], 3)
    assert [strip.title for strip in shown.strips] == ["nearest in image/enc, query 0", "nearest in image/enc, query 1"]
    assert [len(strip.samples) for strip in shown.strips] == [3, 3]


def test_a_loaded_index_shows_rows_where_it_was_given_its_dataset(dataset: Dataset, tmp_path: Path) -> None:
    Index.build(dataset, "image/enc", kind="numpy").save(str(tmp_path / "index"))
    again = open_dataset(dataset.root)
    uid = _uids(dataset)[9]
    assert len(Index.load(str(tmp_path / "index"), dataset=again).show(uid).uids) == 10
    with pytest.raises(UsageError, match=r"dataset=\.\.\."):
        Index.load(str(tmp_path / "index")).show(uid)


def test_blank_words_and_a_dataset_without_thumbnails(tmp_path: Path) -> None:
    plain = write_dataset(tmp_path / "plain", (4,), (IMAGE,))
    with pytest.raises(UsageError, match="blank"):
        Index.build(plain, "image/enc", kind="numpy").show("  ")
    assert plain.show()._repr_html_().count("no picture") == 4
