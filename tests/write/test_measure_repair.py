"""The repair of texts: what it takes off, what it leaves alone, and that repairing again changes nothing."""

import pyarrow as pa
import pytest
from dfndr_builders.measure.ngrams import tokens
from dfndr_builders.measure.repair import Repair, repaired
from hypothesis import given
from support.noisy_texts import NOISY


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("Click to enlarge: A dog on grass", "A dog on grass"),
        ("Red car on road - Stock Photo | Adobe Stock", "Red car on road"),
        ("A bear (Getty Images)", "A bear"),
        ("A dog. Photo by Jane Doe on Unsplash", "A dog."),
        ("Tom &amp;amp; Jerry  <b class='x'>cartoon</b>", "Tom & Jerry cartoon"),
        ("golden retriever on beach.jpg", "golden retriever on beach"),
        ("A cat sleeping, 12 likes, 3 comments", "A cat sleeping"),
        ("A cat https://t.co/ab12", "A cat"),
        ("Map of [all stations](https://a.org/x?y=1), 2020", "Map of all stations, 2020"),
        ("wind rose|690x345, 50%", "wind rose"),
        ("e\u0301te\u0301 en ville", "\u00e9t\u00e9 en ville"),
    ],
)
def test_repair_takes_off_what_was_wrapped_around_a_text(text, after):
    assert repaired(text) == after


@pytest.mark.parametrize(
    "text",
    [
        *("Click to enlarge", "https://a.org/x", "photo.jpg", "Stock photo of a dog", "a house with 2 views"),
        *("I <3 my dog", "a < b and c > d", "calls to extract() and f(x)", "A view of Flickr", "A girl by Jane Doe"),
        *("Screenshot of https://a.org/ where one can apply", "AT&T; Tower", "&", "\U0001f600 \U0001f1fb\U0001f1f3 (:"),
    ],
)  # fmt: skip
def test_repair_leaves_alone_what_is_part_of_a_text_or_all_of_it(text):
    assert repaired(text) == text


@given(NOISY)
def test_repairing_again_changes_nothing_and_words_never_run_out(text):
    once = repaired(text)
    assert repaired(once) == once
    assert bool(tokens(once)) == bool(tokens(text))


def test_a_text_far_too_long_for_a_caption_stays_as_it_is():
    long = "click to enlarge " * 300
    assert repaired(long) == long and repaired(long[:1700] + "a red barn") == "a red barn"


def test_repair_keeps_the_original_where_it_changed_something_and_null_elsewhere():
    texts = ["A dog | Shutterstock", "A dog", None, "A  cat", "x"]
    problems = pa.array([None, None, None, "missing_text", None], pa.string())
    done = Repair().open()(pa.table({"text": pa.array(texts, pa.string()), "problem": problems}))
    assert done["text"].to_pylist() == ["A dog", "A dog", None, "A  cat", "x"]
    assert done["original_text"].to_pylist() == ["A dog | Shutterstock", None, None, None, None]
