"""Asking for captions: which are dropped, what is asked for again, and that a caption depends on its number alone."""

from collections.abc import Sequence

import pytest
from dfndr_builders.captions.asking import ask
from dfndr_builders.captions.captioner import Asked, Unwritten, Write, Written, caption_seed
from dfndr_builders.captions.rules import Rules

from dfndr.errors import DataError
from dfndr.seeds import hash_int


def _says(*texts: str | Unwritten) -> Write:
    """Return a captioner that gives one text after the other to whoever asks."""
    left = list(texts)
    return lambda asked: [[left.pop(0) for _ in one.numbers] for one in asked]


def _drawn(asked: Sequence[Asked]) -> list[list[Written]]:
    """Draw one of few texts for each (uid, number, attempt), so that many are equal, and some break a rule."""
    texts = ["a dog", "a cat", "a red bird", "", "I'm sorry, I can't help with that."]
    return [[texts[caption_seed(3, "drawn", one, number) % len(texts)] for number in one.numbers] for one in asked]


def _one_by_one(uid: str, numbers: int, tries: int) -> list[tuple[int, int, str]]:
    """Choose each number's caption by looking at all its attempts, the plain way."""
    found: list[tuple[int, int, str]] = []
    for number in range(numbers):
        for attempt in range(tries):
            text = _drawn([Asked(uid, b"", (number,), attempt)])[0][0]
            if Rules().broken(str(text)) is None and text not in [given for _, _, given in found]:
                found.append((number, attempt, str(text)))
                break
    return found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" . ", "empty"),
        ("...", "empty"),
        ("a dog\x00", "not_text"),
        ("a dog \ud800", "not_text"),
        ("I'm sorry, I can't help with that.", "refusing"),
        ("I\u2019m sorry, but I can\u2019t describe people.", "refusing"),
        ("I cannot see the image.", "refusing"),
        ("Sorry, I am unable to do this.", "refusing"),
        ("Unfortunately, I can't view images", "refusing"),
        ("As an AI language model, I have no eyes.", "refusing"),
        ("This shows a dog, but as a language model I cannot be sure.", "refusing"),
        ("a dog dog dog", "repeating"),
        ("a man on a bench and a man on a bench and a man on a bench", "repeating"),
        ("the dog the dog the dog", "repeating"),
        (" ".join(map(str, range(21))), "too_long"),
        ("x" * 101, "too_long"),
    ],
)
def test_a_caption_that_breaks_a_rule_is_dropped_under_its_name(text: str, reason: str) -> None:
    assert Rules(max_words=20, max_characters=100).broken(text) == reason


@pytest.mark.parametrize(
    "text",
    [
        "a dog",
        "A boy in a red shirt and a girl in a red dress",
        "Two men say sorry to a woman",
        "A sign that says 'I cannot swim'",
        "A peanut, a chocolate covered peanut, and a peanut M&M",
        "\u51e0\u53ea\u72d7\u5728\u8349\u5730\u4e0a\u5954\u8dd1",
        "a clock that shows 11 11 11",
        "As an airplane lands, people wave",
    ],
)
def test_a_plain_caption_keeps_the_rules(text: str) -> None:
    assert Rules(max_words=20, max_characters=100).broken(text) is None


def test_what_is_dropped_is_asked_for_again_and_counted() -> None:
    write = _says("", "A dog", "I cannot see it.", "a  DOG ", "a cat\n")
    (answer,) = ask(write, [Asked("u", b"", (0, 1))], Rules(), tries=4)
    assert [(text.number, text.attempt, text.text) for text in answer.texts] == [(0, 2, "a  DOG"), (1, 1, "a cat")]
    assert answer.dropped == {"empty": 1, "refusing": 1, "duplicate": 1}
    assert answer.again == 3


def test_a_number_that_no_attempt_gives_a_caption_is_left_out_with_what_the_captioner_said() -> None:
    write = _says(Unwritten("timeout", "after 3 s"), "a dog", Unwritten("timeout", "after 4 s"))
    (answer,) = ask(write, [Asked("u", b"", (0, 1))], Rules(), tries=2)
    assert [text.number for text in answer.texts] == [1]
    assert (answer.dropped, answer.details) == ({"timeout": 2}, {"timeout": "after 3 s"})


def test_what_is_final_is_not_asked_for_again() -> None:
    (answer,) = ask(_says(Unwritten("blocked", final=True)), [Asked("u", b"", (0,))], Rules(), tries=5)
    assert (answer.texts, answer.again, answer.dropped) == ([], 0, {"blocked": 1})


@pytest.mark.parametrize("tries", [1, 2, 6])
def test_each_caption_is_that_of_a_plain_search_and_more_captions_change_none(tries: int) -> None:
    uids = [f"{number:032x}" for number in range(40)]
    for numbers in (1, 2, 3):
        asked = [Asked(uid, b"", tuple(range(numbers))) for uid in uids]
        answers = ask(_drawn, asked, Rules(), tries=tries)
        found = [[(text.number, text.attempt, text.text) for text in answer.texts] for answer in answers]
        assert found == [_one_by_one(uid, numbers, tries) for uid in uids]


def test_a_captioner_that_answers_for_another_number_of_captions_is_an_error() -> None:
    with pytest.raises(DataError, match="an answer for each caption"):
        ask(lambda asked: [["a dog"]], [Asked("u", b"", (0, 1))], Rules(), tries=1)


def test_a_captions_seed_is_the_hash_that_records_tell_of() -> None:
    asked = Asked("u", b"", (3,), attempt=2)
    assert caption_seed(7, "coca", asked, 3) == hash_int(7, "caption", "coca", "u", 3, 2) >> 1
    assert caption_seed(7, "coca", asked, 3, attempt=0) == hash_int(7, "caption", "coca", "u", 3, 0) >> 1
