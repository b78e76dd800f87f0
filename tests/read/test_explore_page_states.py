"""The page in a real browser: keys, dropped pictures, a narrow window, and what it says while something lacks."""

from __future__ import annotations

import base64

import pytest
from support.browsing import NEEDED, Served, opened_page, shown, status
from support.explored import ROWS, embedded

from dfndr.explore.queries import Explorer

pytestmark = NEEDED


def test_the_page_is_used_by_keys_alone(page):
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "query"
    page.keyboard.press("ArrowDown")
    first = page.evaluate("document.activeElement.dataset.uid")
    assert first == shown(page)[0]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    columns = page.locator(".grid").evaluate("grid => getComputedStyle(grid).gridTemplateColumns.split(' ').length")
    assert page.evaluate("document.activeElement.dataset.uid") == shown(page)[1 + columns]
    page.keyboard.press("Enter")
    page.locator("#sample .fields").wait_for()
    page.keyboard.press("Escape")
    assert page.locator("#sample").is_hidden()
    page.keyboard.press("2")
    page.keyboard.press("n")
    status(page, "Neighbours in text")
    page.keyboard.press("Escape")
    status(page, "90 samples")
    page.keyboard.press("?")
    page.locator("#help button").click()
    assert page.locator("#help").is_hidden()


def test_words_without_a_model_are_explained_and_the_rest_goes_on(page):
    page.fill("#query", "a red thing")
    page.press("#query", "Enter")
    page.locator(".message", has_text="need the model").wait_for(timeout=180_000)  # torch is loaded
    page.locator(".message button", has_text="Back").click()
    status(page, "90 samples")


def test_how_far_an_index_is_stands_on_the_page_until_it_is_ready(browser, dataset):
    explorer = Explorer(dataset)
    making = explorer.asking.indexes._making["image/enc"]
    making.state, making._done, making._total = "making", 45, ROWS
    served = Served(explorer)
    pages = opened_page(browser, served.url)
    page = next(pages)
    page.locator("#making", has_text="Making the index of image: 50 % of 90 samples").wait_for()
    assert page.locator("#making progress").evaluate("bar => bar.value") == 50
    making.state = "none"
    page.locator("#making").wait_for(state="hidden")
    pages.close()
    served.stop()


def test_a_server_that_is_gone_is_told(browser, dataset):
    served = Served(Explorer(dataset))
    pages = opened_page(browser, served.url)
    page = next(pages)
    served.stop()
    page.fill("#contains", "red")
    page.locator("#results .message", has_text="does not answer").wait_for()
    pages.close()


def test_a_narrow_window_shows_everything_without_scrolling_sideways(browser, url):
    pages = opened_page(browser, url, width=420)
    page = next(pages)

    def fits():
        return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    assert fits() and page.locator("#filters").is_hidden()
    page.locator("#open-side").click()
    assert page.locator("#filters").is_visible() and fits()
    page.locator(".plot input").press("ArrowRight")
    page.locator("#below .card").first.wait_for()
    assert fits()
    page.locator("#below .card").first.click()
    page.locator("#sample .fields").wait_for()
    box = page.locator("#sample").bounding_box()
    assert (box["x"], box["width"]) == (0, 420) and fits()
    page.locator("#sample button[aria-label=Close]").click()
    assert page.locator("#sample").is_hidden()
    pages.close()


DROP = """
([name, data]) => {
  const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
  const moved = new DataTransfer();
  moved.items.add(new File([bytes], name, {type: "image/png"}));
  document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: moved, bubbles: true, cancelable: true}));
}
"""


def test_a_dropped_picture_and_words_find_their_neighbours(browser, tmp_path):
    pytest.importorskip("open_clip")
    dataset, pictures, _ = embedded(tmp_path)
    uids = dataset.rows(["uid"])["uid"].to_pylist()
    served = Served(Explorer(dataset, device="cpu"))
    pages = opened_page(browser, served.url)
    page = next(pages)
    page.evaluate(DROP, ["mine.png", base64.b64encode(pictures[3]).decode()])
    status(page, "Nearest to your picture")
    assert shown(page)[0] == uids[3] and page.locator(".value").first.text_content() == "1.0000"
    page.evaluate(DROP, ["no.png", base64.b64encode(b"no picture").decode()])
    page.locator(".message", has_text="the dropped file").wait_for()
    assert "need the model" not in page.locator(".message").text_content()
    page.keyboard.press("Escape")
    status(page, "Nearest to your picture")
    page.fill("#query", "a red dog")
    page.press("#query", "Enter")
    status(page, "Nearest to “a red dog”")
    assert sorted(shown(page)) == sorted(uids)
    pages.close()
    served.stop()
