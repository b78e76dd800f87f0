"""The rules that every caption has to keep, whoever wrote it; each has a name that drops are counted under."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from dfndr_builders.measure.ngrams import count_words, tokens, top_ngram_share

__all__ = ["Rules", "is_repeating"]

_BEGINNINGS = re.compile(
    "(?:(?:i'm|i am|we're|we are) (?:so |very |really )?(?:sorry|afraid|unable|not able)"
    "|sorry (?:but|i|we|this|there)|apologies|(?:unfortunately )?(?:i|we) (?:apologi[sz]e|cannot|can't|can not"
    "|could not|couldn't|do not|don't|am not|are not|won't))\\b"
)
_ANYWHERE = re.compile(
    r"\b(?:as|i'm|i am) an? (?:ai|artificial intelligence|(?:large )?language model|virtual assistant)\b"
)
_MOST_IN_A_ROW = 2
_MOST_COVERED = 0.7
"""What one run of 2, 3 or 4 words may cover of a caption; the limit of the default rules on texts."""


@dataclass(frozen=True)
class Rules:
    """What drops a caption: `empty`, `not_text`, `refusing`, `repeating`, `too_long`.

    Limits that are None are none. Words are those of `dfndr_builders.measure`, so that scripts without spaces between
    words have words too.
    """

    max_words: int | None = None
    max_characters: int | None = None

    def broken(self, text: str) -> str | None:
        """Return the name of the first rule that a caption breaks; None where it keeps them all."""
        if not any(map(str.isalnum, text)):
            return "empty"
        if any(unicodedata.category(letter) in ("Cs", "Cc") for letter in text if letter not in "\n\r\t"):
            return "not_text"
        words = " ".join(tokens(text))
        if _BEGINNINGS.match(words) or _ANYWHERE.search(words):
            return "refusing"
        if self.max_characters is not None and len(text) > self.max_characters:
            return "too_long"
        if self.max_words is not None and count_words(text) > self.max_words:
            return "too_long"
        return "repeating" if is_repeating(text) else None


def is_repeating(text: str) -> bool:
    """Say whether a word comes three times in a row, or one run of 2, 3 or 4 words, repeated, covers most of a text."""
    words = tokens(text)
    in_a_row = zip(*(words[start:] for start in range(_MOST_IN_A_ROW + 1)), strict=False)
    if any(len(set(run)) == 1 and not run[0].isdigit() for run in in_a_row):
        return True
    return any(top_ngram_share(words, size) > _MOST_COVERED for size in (2, 3, 4))
