"""What can be counted in a text: words, characters, kinds of characters, repetition, and what is no description.

The measures hold for any script. A character is what a reader takes for one: combining marks, format characters and
skin tones belong to the character before them, and emoji that are joined, or the two halves of a flag, are one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import pyarrow as pa

from dfndr_builders.measure.ngrams import (
    count_words,
    is_unspaced,
    repeated_ngram_share,
    spaced_words,
    tokens,
    top_ngram_share,
)
from dfndr_builders.measure.phrases import URL, PhraseSet, is_boilerplate, is_file_name
from dfndr_builders.stage import Step, good_rows, require

__all__ = ["COLUMNS", "MeasureText", "measure_text"]

COLUMNS: dict[str, pa.DataType] = {
    "words": pa.int32(),
    "characters": pa.int32(),
    "mean_word_length": pa.float32(),
    "symbol_share": pa.float32(),
    "digit_share": pa.float32(),
    "upper_share": pa.float32(),
    "alphabetic_share": pa.float32(),
    "top_2gram_share": pa.float32(),
    "top_3gram_share": pa.float32(),
    "top_4gram_share": pa.float32(),
    "repeated_5gram_share": pa.float32(),
    "has_url": pa.bool_(),
    "is_file_name": pa.bool_(),
    "boilerplate": pa.bool_(),
    "banned": pa.bool_(),
}
"""The columns that the stage adds, in order."""

_JOINER = "\u200d"
Measure = int | float | bool | None


@dataclass(frozen=True)
class MeasureText:
    """Add the columns of `COLUMNS` about `text`; `ban` is a list of words and phrases for the column `banned`.

    A row with a problem has null in all of them, and so has a row without a text.
    """

    is_light: ClassVar[bool] = True

    ban: tuple[str, ...] = ()

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return the given schema with the columns."""
        require("measure text", given, {"text": pa.string(), "problem": pa.string()})
        return pa.schema([*given, *(pa.field(name, kind) for name, kind in COLUMNS.items())])

    def open(self) -> Step:
        """Prepare the list of banned phrases."""
        banned = PhraseSet(self.ban)

        def step(table: pa.Table) -> pa.Table:
            values: dict[str, list[Measure]] = {name: [None] * len(table) for name in COLUMNS}
            texts = table["text"]
            for row in good_rows(table):
                text = texts[row].as_py()
                if text is not None:
                    for name, value in measure_text(text, banned).items():
                        values[name][row] = value
            columns = [pa.array(values[name], kind) for name, kind in COLUMNS.items()]
            return pa.table([*table.columns, *columns], schema=self.schema(table.schema))

        return step


def measure_text(text: str, banned: PhraseSet) -> dict[str, Measure]:
    """Return every measure of one text by its column's name; a run of white space counts as one space."""
    text = " ".join(text.split())
    words = tokens(text)
    spaced = spaced_words(text)
    return {
        "words": count_words(text),
        **_shares(text),
        "mean_word_length": _mean_length(words, spaced),
        "alphabetic_share": _alphabetic_share(text),
        **{f"top_{size}gram_share": top_ngram_share(words, size) for size in (2, 3, 4)},
        "repeated_5gram_share": repeated_ngram_share(words, 5),
        "has_url": URL.search(text) is not None,
        "is_file_name": is_file_name(text),
        "boilerplate": is_boilerplate(text),
        "banned": banned.found_in(words),
    }


def _mean_length(words: list[str], spaced: list[str]) -> float | None:
    """Letters, numbers and marks per word (NFC), where at least half are in scripts with spaces between words."""
    unspaced = sum(map(is_unspaced, words))
    letters = sum(_count(_is_in_word, unicodedata.normalize("NFC", part)) for part in spaced)
    return letters / len(spaced) if spaced and letters >= unspaced else None


def _count(test: Callable[[str], bool], text: str) -> int:
    return sum(map(test, text))


def _is_in_word(letter: str) -> bool:
    return letter.isalnum() or unicodedata.category(letter)[0] == "M"


def _alphabetic_share(text: str) -> float | None:
    """The share, among parts between white space that are not emoji alone, of those that hold a letter."""
    parts = [part for part in text.split() if not all(_kind(letter) in "eEx" for letter in part)]
    return sum(any(map(str.isalpha, part)) for part in parts) / len(parts) if parts else None


def _shares(text: str) -> dict[str, Measure]:
    """Count characters and the shares of their kinds; white space is single spaces between words."""
    counts = dict.fromkeys("lnse", 0)
    joined = half_flag = False
    for letter in text:
        kind = _kind(letter)
        if kind == "x":
            joined = letter == _JOINER
            continue
        is_half = kind == "E" and not half_flag
        if kind != " " and not (kind == "e" and joined) and not (kind == "E" and half_flag):
            counts[kind.lower()] += 1
        joined, half_flag = False, is_half
    visible = sum(counts.values())
    lower, upper = _count(str.islower, text), _count(str.isupper, text)
    return {
        "characters": visible + text.count(" "),
        "symbol_share": counts["s"] / visible if visible else 0.0,
        "digit_share": counts["n"] / visible if visible else 0.0,
        "upper_share": upper / (lower + upper) if lower + upper else 0.0,
    }


@cache
def _kind(letter: str) -> str:
    """Return l(etter), n(umber), s(ymbol or punctuation), e(moji), E (half a flag), x (extends another) or a space."""
    category, code = unicodedata.category(letter), ord(letter)
    if letter.isspace():
        return " "
    if 0x1F1E6 <= code <= 0x1F1FF:
        return "E"
    if category[0] == "M" or category == "Cf" or 0x1F3FB <= code <= 0x1F3FF:
        return "x"
    if category == "So" and (code >= 0x1F000 or 0x2600 <= code <= 0x27BF or 0x2B00 <= code <= 0x2BFF):
        return "e"
    return {"L": "l", "N": "n"}.get(category[0], "s")
