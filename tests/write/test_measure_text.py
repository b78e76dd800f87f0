"""Measures of texts, in many scripts."""

import unicodedata

import pytest
from dfndr_builders.measure.ngrams import count_words, repeated_ngram_share, tokens, top_ngram_share
from dfndr_builders.measure.phrases import PhraseSet
from dfndr_builders.measure.text import COLUMNS, MeasureText, measure_text
from hypothesis import given
from hypothesis import strategies as st
from support.noisy_texts import NOISY
from support.pairs import mixed_table

NOTHING_BANNED = PhraseSet(())


def measured(text: str) -> dict[str, object]:
    return measure_text(text, NOTHING_BANNED)


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


def test_words_are_counted_as_datacomp_counts_them_where_words_stand_apart():
    assert count_words("a photo of the Eiffel tower") == len(["a", "photo", "of", "the", "Eiffel", "tower"])


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
