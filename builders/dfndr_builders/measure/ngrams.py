"""Words of short texts in any script, and how much of a text its repeated word n-grams cover (Gopher, DCLM).

Scripts that put no spaces between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese) give one token per letter.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

__all__ = ["count_words", "is_unspaced", "repeated_ngram_share", "spaced_words", "tokens", "top_ngram_share"]

_IDEOGRAPHS = "\u2e80-\u2fdf\u3005-\u3007\u3041-\u30ff\u3105-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
_IDEOGRAPHS += "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
_SOUTHEAST = "\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff"
_UNSPACED = re.compile(f"[{_IDEOGRAPHS}{_SOUTHEAST}]")
_IDEOGRAPH = re.compile(f"[{_IDEOGRAPHS}]")
_PER_WORD = (2, 4)
"""How many letters make a word: ideographs and kana; Thai, Lao, Burmese and Khmer, their marks not counted."""
_ASCII_TOKEN = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*")
_APOSTROPHES = "'\u2019"


def tokens(text: str) -> list[str]:
    """Return a text's words, case-folded and in NFC: runs of letters, numbers and their marks, without punctuation.

    An apostrophe between letters belongs to its word, a hyphen ends one; format characters (joiners, direction
    marks, soft hyphens) vanish without ending a word.
    """
    if text.isascii():
        return _ASCII_TOKEN.findall(text.lower())
    found: list[str] = []
    run = ""
    folded = unicodedata.normalize("NFC", text.casefold())
    for place, letter in enumerate(folded):
        if letter.isalnum():
            if _UNSPACED.match(letter) or (run and _UNSPACED.match(run)):
                found.append(run)
                run = ""
            run += letter
            continue
        kind = unicodedata.category(letter)
        if kind == "Cf":
            continue
        if kind[0] == "M" and run:
            run += letter
        elif letter in _APOSTROPHES and run and folded[place + 1 : place + 2].isalpha():
            run += "'"
        else:
            found.append(run)
            run = ""
    found.append(run)
    return [token for token in found if token]


def is_unspaced(word: str) -> bool:
    """Say whether a word begins with a letter of a script that puts no spaces between words."""
    return _UNSPACED.match(word) is not None


def spaced_words(text: str) -> list[str]:
    """Return the parts between white space that hold a letter or number of a script with spaces between words."""
    if text.isascii():
        return [part for part in text.split() if _ASCII_TOKEN.search(part.lower())]
    parts = (_UNSPACED.sub("", part) for part in text.split())
    return [part for part in parts if any(map(str.isalnum, part))]


def count_words(text: str) -> int:
    """Count words: the parts between white space, and an estimate for scripts without spaces.

    The estimate is one word for every 2 ideographs or kana and for every 4 letters of Thai, Lao, Burmese and Khmer,
    rounded up. Parts without a letter or number (dashes, emoji) are no words.
    """
    count = len(spaced_words(text))
    if text.isascii():
        return count
    letters = [letter for letter in _UNSPACED.findall(text) if letter.isalnum()]
    ideographs = sum(_IDEOGRAPH.match(letter) is not None for letter in letters)
    return count - -ideographs // _PER_WORD[0] - -(len(letters) - ideographs) // _PER_WORD[1]


def top_ngram_share(words: Sequence[str], size: int) -> float:
    """Return the share of the words' characters that lie in the most frequent n-gram, in [0, 1].

    Rae et al. 2021 (arXiv 2112.11446), table A1; of equally frequent n-grams the one that covers most counts, and a
    text in which none comes twice has share 0. A character is counted once, so overlaps never lift it above 1.
    """
    starts = _starts(words, size)
    most = max(map(len, starts.values()), default=0)
    if most < 2:
        return 0.0
    covered = max(_covered(words, places, size) for places in starts.values() if len(places) == most)
    return covered / sum(map(len, words))


def repeated_ngram_share(words: Sequence[str], size: int) -> float:
    """Return the share of the words' characters that lie in any n-gram that comes twice or more, in [0, 1]."""
    places = [place for found in _starts(words, size).values() if len(found) > 1 for place in found]
    return _covered(words, places, size) / sum(map(len, words)) if places else 0.0


def _starts(words: Sequence[str], size: int) -> dict[tuple[str, ...], list[int]]:
    """Return where each n-gram begins; nothing at all where no n-gram comes twice."""
    grams = list(zip(*(words[offset:] for offset in range(size)), strict=False))
    if len(set(grams)) == len(grams):
        return {}
    counts = Counter(grams)
    starts: dict[tuple[str, ...], list[int]] = {gram: [] for gram, count in counts.items() if count > 1}
    for place, gram in enumerate(grams):
        if gram in starts:
            starts[gram].append(place)
    return starts


def _covered(words: Sequence[str], places: Sequence[int], size: int) -> int:
    inside = {place + offset for place in places for offset in range(size)}
    return sum(len(words[place]) for place in inside)
