"""Measures of texts, the default rules on them, and their repair, in many scripts."""

import os
import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest
from dfndr_builders.measure.ngrams import count_words, repeated_ngram_share, tokens, top_ngram_share
from dfndr_builders.measure.phrases import PhraseSet
from dfndr_builders.measure.repair import Repair, repaired
from dfndr_builders.measure.text import COLUMNS, MeasureText, measure_text
from dfndr_builders.measure.text_rules import TEXT_RULES
from dfndr_builders.pools.webdataset import WebDatasetPool
from dfndr_builders.rules import Default, DropRule
from hypothesis import given
from hypothesis import strategies as st
from support.pairs import mixed_table
from support.pools import rows_of

POOLS = Path(os.environ.get("POOLS", Path(__file__).parents[3] / "shared" / "pools"))
NOTHING_BANNED = PhraseSet(())
NOISY = st.text(
    st.sampled_from(list("ab Zé\u0301.,|-:/()[]<>&;#3\u4e00\u0e01\u200d\U0001f600\U0001f1fb\U0001f1f3")), max_size=40
) | st.lists(
    st.sampled_from(
        [
            *("Click to enlarge", "dog", "a", ":", "|", "- stock photo", "https://a.b/c", "&amp;", "<b>", "5 likes"),
            *(".jpg", "Photo by Jane Doe", "(", ")", "&lt;", "www.x.y", ",", "|690x351", "[dog](https://a.b)"),
        ]
    ),
    max_size=8,
).map(" ".join)


def measured(text: str) -> dict[str, object]:
    return measure_text(text, NOTHING_BANNED)


def meets(rule: DropRule, text: str) -> bool:
    table = pa.table({"text": pa.array([text]), "problem": pa.nulls(1, pa.string())})
    value = MeasureText(ban=("casino",)).open()(table)[rule.column][0].as_py()
    if value is None:
        return False
    if rule.comparison == "is":
        return value is rule.value
    return value < rule.value if rule.comparison == "below" else value > rule.value


# Repetition ----------------------------------------------------------------------------------------------------------


def test_repetition_is_that_of_dclm():
    assert top_ngram_share(tokens("hello world hello apple.... world hello world hello"), 2) == 30 / 40
    assert top_ngram_share(tokens("a b a b a b ab cd ab cd ab cd abc def abc def"), 2) == 12 / 30
    looping = "hello world hello world hello. apple world hello world hello world hello world"
    assert repeated_ngram_share(tokens(looping), 5) == 60 / 65


def test_a_text_without_a_repeated_ngram_has_share_zero():
    assert [top_ngram_share(tokens("two dogs run"), size) for size in (1, 2, 3, 4)] == [0, 0, 0, 0]
    assert repeated_ngram_share([], 5) == 0


@given(st.lists(st.sampled_from(["a", "bb", "ccc"]), max_size=14), st.integers(1, 5))
def test_repetition_agrees_with_marking_every_character_by_hand(words, size):
    grams = [tuple(words[place : place + size]) for place in range(len(words) - size + 1)]

    def covered(chosen):
        marked = [False] * len(words)
        for place, gram in enumerate(grams):
            if gram in chosen:
                marked[place : place + size] = [True] * size
        return sum(len(word) for word, mark in zip(words, marked, strict=True) if mark) / max(len("".join(words)), 1)

    repeated = {gram for gram in grams if grams.count(gram) > 1}
    assert repeated_ngram_share(words, size) == covered(repeated)
    most = max((grams.count(gram) for gram in repeated), default=0)
    assert top_ngram_share(words, size) == max(
        (covered({gram}) for gram in repeated if grams.count(gram) == most), default=0
    )


# Words and characters in any script ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words", "characters"),
    [
        ("  Two dogs -- run \n fast! ", 4, 21),
        ("Một con chó đang chạy", 5, 21),
        (unicodedata.normalize("NFD", "Một con chó đang chạy"), 5, 21),
        ("हिन्दी में एक वाक्य", 4, 12),
        ("שָׁלוֹם עוֹלָם כלב רץ", 4, 16),
        ("مرحبا بالعالم، كلب يركض", 4, 23),
        ("\u200fمرحبا\u200e كلب", 2, 9),  # noqa: RUF001
        ("几只狗在草地上奔跑。", 5, 10),
        ("สุนัขวิ่งบนหญ้า", 3, 10),
        ("犬が草の上を走っている", 6, 11),
        ("한국어 문장이 있습니다", 3, 12),
        ("family \U0001f468\u200d\U0001f469\u200d\U0001f467 here", 2, 13),
        ("\U0001f1fb\U0001f1f3\U0001f1eb\U0001f1f7", 0, 2),
        ("\U0001f44b\U0001f3fd \u2764\ufe0f", 0, 3),
        ("", 0, 0),
    ],
)
def test_words_and_characters_are_what_a_reader_counts(text, words, characters):
    found = measured(text)
    assert (found["words"], found["characters"]) == (words, characters)


def test_tokens_keep_marks_and_apostrophes_and_lose_punctuation_case_and_joiners():
    found = tokens("Don't STOP—e\u0301t\u0301 \u00abplug-in\u00bb 3.5")
    assert found == ["don't", "stop", "\u00e9t\u0301", "plug", "in", "3", "5"]
    assert tokens("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 co\u00adop") == [
        "\u0645\u06cc\u062e\u0648\u0627\u0647\u0645",
        "coop",
    ]
    assert tokens("iPhone手机在桌上") == ["iphone", "手", "机", "在", "桌", "上"]


def test_shares_are_those_of_their_definitions():
    found = measured("AB cd 12 #! \U0001f600")
    assert found["symbol_share"] == 2 / 9
    assert found["digit_share"] == 2 / 9
    assert found["upper_share"] == 1 / 2
    assert found["alphabetic_share"] == 2 / 4
    assert found["mean_word_length"] == 2


def test_a_script_without_spaces_has_no_mean_word_length_that_a_rule_could_punish():
    assert measured("3只狗在草地上奔跑")["mean_word_length"] is None
    assert measured("a photo of 狗")["mean_word_length"] == 8 / 3


@given(NOISY)
def test_no_text_breaks_a_measure_and_shares_stay_in_range(text):
    found = measured(text)
    assert set(found) == set(COLUMNS)
    shares = [value for name, value in found.items() if name.endswith("_share") and value is not None]
    assert all(0 <= share <= 1 for share in shares)
    assert 0 <= found["words"] <= max(found["characters"], 0)


# What is no description ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "is_name"),
    [
        *((name, True) for name in ("DSC04818.jpg", "IMG_2034", "untitled-1.png", "golden_retriever.JPEG")),
        *(
            (name, True)
            for name in ("screenshot 2020-01-01 at 10.11.12", "Screenshot from 2021-02-27 10-14-55|690x388")
        ),
        *((name, True) for name in ("image|460x500", "fig4", "download (1)", "PXL_20210321_101112345")),
        *(
            (name, True)
            for name in ("d41d8cd98f00b204e9800998ecf8427e", "12345678_98765_n", "WhatsApp Image 2020-03-01")
        ),
        *((text, False) for text in ("A dog running on the beach.jpg", "photo of 3 men", "scandal 5", "dog", "3 dogs")),
        *((text, False) for text in ("Screenshot of 2 cats", "imagine 12", "cafebabe", "")),
    ],
)
def test_file_names_are_told_from_descriptions(text, is_name):
    assert measured(text)["is_file_name"] is is_name


@pytest.mark.parametrize(
    ("text", "is_boilerplate"),
    [
        *((text, True) for text in ("Click to ENLARGE!", "click to enlarge: dog", "Image may contain: 2 people")),
        *((text, True) for text in ("plot of chunk unnamed-chunk-4", "plot of chunk leaf size by site", "Figure 3")),
        *((text, True) for text in ("Photo by Jane Doe on Unsplash", "Zum Vergr\u00f6\u00dfern klicken", "点击放大")),
        *((text, True) for text in ("Нажмите, чтобы увеличить", "Nhấn để phóng to", "stock photo 1234")),
        *((text, False) for text in ("photo by the lake", "Stick figure", "Figure skating pairs", "Pinterest icon")),
        *((text, False) for text in ("Click to enlarge: a red barn", "点击放大一只狗在草地上奔跑", "", "dog")),
        ("Image may contain: people smiling, outdoor", False),
    ],
)
def test_boilerplate_is_what_leaves_nothing_beside_its_phrase(text, is_boilerplate):
    assert measured(text)["boilerplate"] is is_boilerplate


def test_banned_words_and_phrases_are_found_whole_in_any_case_and_script():
    banned = PhraseSet(("casino", "free  money", "का", "赌场", "Größe"))

    def is_banned(text):
        return measure_text(text, banned)["banned"]

    assert all(map(is_banned, ("The CASINO!", "free-money now", "का", "这家赌场很大", "GRÖSSE")))
    assert not any(map(is_banned, ("casinos", "free the money", "काम", "场赌", "")))


def test_an_address_is_one_with_a_scheme_or_www():
    assert measured("see HTTPS://a.org/x")["has_url"] and measured("at www.a.org now")["has_url"]
    assert not measured("The logo of Booking.com")["has_url"]


def test_bad_rows_are_passed_on_with_nulls():
    done = MeasureText().open()(mixed_table()).to_pylist()
    for row in done:
        assert (row["words"] is None) == (row["problem"] is not None or row["text"] is None)
    assert {row["words"] for row in done} > {None}


# Rules ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("default", TEXT_RULES, ids=lambda default: default.rule.reason)
def test_each_default_rule_is_the_first_to_drop_its_example_and_no_rule_drops_what_it_keeps(default: Default):
    assert next(other.rule.reason for other in TEXT_RULES if meets(other.rule, default.drops)) == default.rule.reason
    assert [other.rule.reason for other in TEXT_RULES if meets(other.rule, default.keeps)] == []
    assert default.family == "text" and default.source


@pytest.mark.parametrize(
    "text",
    [
        *("Một con chó đang chạy trên cỏ", unicodedata.normalize("NFD", "Một con chó đang chạy")),
        *("הכלב רץ על הדשא הירוק", "الكلب يركض على العشب الأخضر", "एक आदमी घर में है"),
        *("几只狗在草地上奔跑", "犬が草の上を走っている", "สุนัขวิ่งเล่นอยู่บนสนามหญ้า", "개가 풀밭 위를 달린다"),
        *("Собака бежит по траве", "Ο σκύλος τρέχει στο γρασίδι"),  # noqa: RUF001
        "Ein Feuerwehrmann vor dem Krankenwagengebäude",
        "I love my dog \U0001f436\U0001f436\U0001f468\u200d\U0001f469\u200d\U0001f467",
    ],
)  # fmt: skip
def test_no_default_rule_drops_a_plain_caption_of_any_script(text):
    assert [default.rule.reason for default in TEXT_RULES if meets(default.rule, text)] == []


# Repair --------------------------------------------------------------------------------------------------------------


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


# Real texts ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not POOLS.is_dir(), reason=f"no real pools in {POOLS}")
@pytest.mark.parametrize(
    ("pattern", "low", "high"),
    [("flickr8k/*dev*.tar", 0, 0.005), ("vietnamese/*.tar", 0, 0.005), ("alttext_web/*.tar", 0.15, 0.25)],
)
def test_the_default_rules_leave_captions_and_drop_a_fifth_of_the_alt_texts(pattern, low, high):
    texts = [row["text"] for row in rows_of(WebDatasetPool((str(POOLS / pattern),)))]
    table = pa.table({"text": pa.array(texts), "problem": pa.nulls(len(texts), pa.string())})
    done = MeasureText().open()(table).to_pylist()

    def is_dropped(row):
        tests = {"is": lambda a, b: a is b, "below": lambda a, b: a < b, "above": lambda a, b: a > b}
        rules = [default.rule for default in TEXT_RULES if row[default.rule.column] is not None]
        return any(tests[rule.comparison](row[rule.column], rule.value) for rule in rules)

    assert low <= sum(map(is_dropped, done)) / len(done) <= high


def test_words_are_counted_as_datacomp_counts_them_where_words_stand_apart():
    assert count_words("a photo of the Eiffel tower") == len(["a", "photo", "of", "the", "Eiffel", "tower"])
