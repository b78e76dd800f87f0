"""The page in a real browser: each thing it is for, done as a person would do it."""

from __future__ import annotations

import pytest
from support.browsing import NEEDED, shown, status
from support.explored import HOSTILE, ROWS

from dfndr.explore.queries import Explorer
from dfndr.explore.values import Filter

pytestmark = NEEDED


def test_what_a_stranger_wrote_is_text_and_never_runs(page, uids):
    page.fill("#query", uids[0])
    page.press("#query", "Enter")
    page.locator("#sample .fields").wait_for()
    assert page.locator("#sample .text").text_content() == HOSTILE
    page.keyboard.press("Escape")
    page.locator("#query").blur()
    page.fill("#contains", "<script>")
    status(page, "1 of 90 samples")
    assert page.locator("#results .card p").text_content() == HOSTILE
    assert page.evaluate("window.hacked") is None
    assert page.locator("#results script, #sample script, #results [onerror]").count() == 0


def test_a_sample_shows_its_fields_its_captions_and_its_picture(page, uids):
    page.fill("#query", uids[6].upper())
    page.press("#query", "Enter")
    page.locator("#sample .fields").wait_for()
    captions = ["caption of 60.256 · retrieval", "second-0.5 · retrieval"]
    assert page.locator("#sample .captions li").all_text_contents() == captions
    assert page.locator("#sample .captions li span").all_text_contents() == ["0.256 · retrieval", "-0.5 · retrieval"]
    fields = page.locator("#sample .fields dt").all_text_contents()
    assert set(fields) >= {"split", "score", "quality", "source", "hash"}
    assert page.locator("#sample .picture img").evaluate("image => image.complete && image.naturalWidth") == 24


def test_a_sample_without_a_picture_shows_its_text_in_the_place(page, uids):
    page.fill("#contains", "number 1")
    status(page, "11 of 90 samples")
    card = page.locator(f".card[data-uid='{uids[1]}']")
    card.locator(".words").wait_for()
    assert "number 1" in card.locator(".words").text_content()


def test_a_uid_that_is_not_there_is_told(page):
    page.fill("#query", "0" * 32)
    page.press("#query", "Enter")
    assert "no such row" in page.locator("#sample .message").text_content()


def test_neighbours_come_by_a_click_and_the_trail_leads_back(page, dataset, uids):
    first = page.locator("#results .card").first
    origin = first.get_attribute("data-uid")
    before = shown(page)
    first.hover()
    first.locator("[data-space='text/enc']").click()
    status(page, "Neighbours in text")
    expected = Explorer(dataset).near("text/enc", Filter(), uid=origin, count=60)
    assert shown(page) == [one["uid"] for one in expected["samples"]]
    page.locator("#results .card").nth(2).click()
    page.locator("#sample [data-space='caption/enc']").click()
    status(page, "Neighbours in caption")
    assert page.locator("#trail li").count() == 3
    page.go_back()
    status(page, "Neighbours in text")
    page.locator("#trail button").first.click()
    status(page, "90 samples")
    assert shown(page) == before and page.locator("#trail").is_hidden()


def test_more_is_shown_where_there_is_more(page):
    assert len(shown(page)) == 60
    page.locator(".more").click()
    page.locator(".card").nth(ROWS - 1).wait_for()
    assert len(set(shown(page))) == ROWS and page.locator(".more").is_hidden()


def test_the_page_of_a_sample_tells_that_it_has_no_duplicates(page, uids):
    page.fill("#query", uids[6])
    page.press("#query", "Enter")
    page.locator("#duplicates p", has_text="None in this dataset").wait_for()


def test_two_spaces_stand_side_by_side(page):
    page.keyboard.press("ArrowRight")
    page.keyboard.press("s")
    status(page, "nearest in each space")
    assert page.locator(".half h2").all_text_contents() == ["image", "text", "caption"]
    halves = [shown(page, f".half[data-space='{name}/enc']") for name in ("image", "text", "caption")]
    assert [len(half) for half in halves] == [30, 30, 30]
    shared = {uid for half in halves for uid in half if sum(uid in other for other in halves) > 1}
    ringed = page.locator(".card.both").evaluate_all("cards => cards.map(card => card.dataset.uid)")
    assert set(ringed) == shared


def test_the_threshold_shows_what_lies_on_either_side_and_becomes_a_filter(page, uids):
    page.locator(".plot input").press("ArrowRight")
    page.locator("#below .card").first.wait_for()
    page.fill("#threshold", "0.595")
    page.locator("#threshold").press("Tab")
    status(page, "score around 0.595")
    assert shown(page, "#above")[:3] == [uids[29], uids[28], uids[27]]
    assert shown(page, "#below")[:3] == [uids[30], uids[31], uids[32]]
    assert page.locator("#score-told").text_content() == "30 at or above, 60 below (66.7 %)"
    page.locator("#scores button", has_text="≥").click()
    page.locator(".chip", has_text="score").wait_for()
    page.locator("#home").click()
    status(page, "30 of 90 samples")
    page.locator(".chip").click()
    status(page, "90 samples")


def test_filters_hold_for_every_view_and_can_be_cleared(page, dataset):
    page.get_by_label("odd").check()
    status(page, "44 of 90 samples")
    page.locator(".card").first.click()
    page.locator("#sample [data-space='image/enc']").click()
    status(page, "among 44 of 90")
    table = dataset.rows(["uid", "source"]).to_pydict()
    source = dict(zip(table["uid"], table["source"], strict=True))
    assert {source[uid] for uid in shown(page)} == {"odd"}
    page.fill("#contains", "nothing says this")
    page.locator(".message", has_text="No sample passes").wait_for()
    page.locator(".message button").click()
    page.locator(".card").nth(59).wait_for()
    assert not page.get_by_label("odd").is_checked() and page.input_value("#contains") == ""


def test_a_language_is_chosen_among_the_filters(page, dataset):
    page.get_by_label("vi").check()
    status(page, "30 of 90 samples")
    table = dataset.rows(["uid", "language"]).to_pydict()
    vietnamese = {uid for uid, tongue in zip(table["uid"], table["language"], strict=True) if tongue == "vi"}
    assert set(shown(page)) == vietnamese
    page.get_by_role("checkbox", name="en 60").check()
    status(page, "90 of 90 samples")


def test_samples_are_flagged_by_key_kept_and_saved_as_a_list_that_a_recipe_reads(page, tmp_path):
    uid_lists = pytest.importorskip("dfndr_builders.uid_lists")
    flagged = []
    for _ in range(3):
        page.keyboard.press("ArrowRight")
        flagged.append(page.locator(".card.current").get_attribute("data-uid"))
        page.keyboard.press("f")
    page.keyboard.press("f")
    page.reload()
    page.locator("#flag-count", has_text="2").wait_for()
    page.locator("#open-flags").click()
    assert "dfndr remove explored --uids explored-flags.txt" in page.locator("#flags").text_content()
    assert '[select] exclude = ["explored-flags.txt"]' in page.locator("#flags").text_content()
    with page.expect_download() as download:
        page.locator("#download").click()
    assert download.value.suggested_filename == "explored-flags.txt"
    download.value.save_as(tmp_path / "flags.txt")
    packed = uid_lists.read_uids(str(tmp_path / "flags.txt"))
    assert [bytes(uid).hex() for uid in packed] == flagged[:2]
    page.locator("#flags button", has_text="Clear").click()
    assert page.locator("#flags h2").text_content() == "Nothing is flagged"
