"""Repair: a text without what was wrapped around it, and the text as it was.

Only what says nothing about the picture goes: markup, addresses, calls to click, credits, the names of picture
agencies, counters, a file's extension, white space. Where nothing would be left, the text stays as it is.
"""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from dfndr_builders.measure.ngrams import count_words, tokens
from dfndr_builders.measure.phrases import CALLS, CREDIT, EXTENSION, SIZE, SOURCES, URL
from dfndr_builders.stage import Step, good_rows, require

__all__ = ["Repair", "repaired"]

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_TAG = re.compile(
    r"</?(?:a|b|i|u|p|br|hr|img|div|span|em|strong|font|h[1-6]|ul|ol|li|table|tr|td|th|figure|figcaption|small|sup|sub"
    r"|center|blockquote|code|pre)(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
_BREAK = r"[\s:;,.|/()\[\]\u2013\u2014\u00b7\u2022-]"


def _any_of(phrases: tuple[str, ...]) -> str:
    ordered = sorted(phrases, key=len, reverse=True)
    return "(?:" + "|".join(re.escape(phrase).replace(r"\ ", r"\s+") for phrase in ordered) + ")"


_CALL_FIRST = re.compile(rf"^\W*{_any_of(CALLS)}(?:{_BREAK}+|$)", re.IGNORECASE)
_CALL_LAST = re.compile(rf"(?:^|{_BREAK}{{1,9}}|[.!?]){_any_of(CALLS)}\W*$", re.IGNORECASE)
_SOURCE_LAST = re.compile(
    rf"\s*(?:\s[\u2013\u2014-]|[|\u00b7\u2022(])\s*(?:by\s+|on\s+|via\s+)?{_any_of(SOURCES)}\W*$", re.IGNORECASE
)
_COUNT = (
    r"\d[\d.,]{0,11}\s?[kKmM]?\s+(?i:likes?|views?|shares?|comments?|retweets?|followers?|repins?|pins?|favou?rites?)"
)
_COUNTERS_LAST = re.compile(rf"\s*[|\u00b7\u2022,.\u2013\u2014-]\s*{_COUNT}(?:[\s,|\u00b7\u2022&-]+{_COUNT})*\W*$")
_BRACKETS = re.compile(r"\(\s+\)|\[\s+\]")
_LINK = re.compile(rf"!?\[([^\[\]]*)\]\(\s*{URL.pattern}\s*\)", re.IGNORECASE)
_URL_FIRST = re.compile(rf"^\W*{URL.pattern}", re.IGNORECASE)
_URL_LAST = re.compile(
    r"(?:\W{0,9}\b(?:at|via|see|source|from|read more|learn more|more at|more))?\s?[(\[:]{0,3}\s?"
    rf"{URL.pattern}[\s)\].]*$",
    re.IGNORECASE,
)
_EDGES = " |\u00b7\u2022:;,\u2013\u2014"


_LONGEST = 4000
"""Longer texts are no captions; they stay as they are, since each pass takes off one thing alone."""


@dataclass(frozen=True)
class Repair:
    """Replace `text` by the repaired one and add `original_text`: the text as it was where it changed, else null."""

    is_light: ClassVar[bool] = True

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return the given schema with `original_text`."""
        require("repair", given, {"text": pa.string(), "problem": pa.string()})
        return given.append(pa.field("original_text", pa.string()))

    def open(self) -> Step:
        """Nothing to load."""
        return self._step

    def _step(self, table: pa.Table) -> pa.Table:
        texts = table["text"].to_pylist()
        originals: list[str | None] = [None] * len(table)
        for row in good_rows(table):
            if texts[row] is not None:
                found = repaired(texts[row])
                if found != texts[row]:
                    originals[row], texts[row] = texts[row], found
        place = table.schema.get_field_index("text")
        table = table.set_column(place, table.schema.field(place), pa.array(texts, pa.string()))
        return table.append_column(pa.field("original_text", pa.string()), pa.array(originals, pa.string()))


def repaired(text: str) -> str:
    """Return the text repaired until nothing changes any more, in NFC; the text itself where no word would be left.

    Repairing again changes nothing. A text of more than 4,000 characters stays as it is.
    """
    if len(text) > _LONGEST:
        return text
    found, before = text, None
    while found != before:
        found, before = _once(found), found
    return found if tokens(found) else text


def _once(text: str) -> str:
    text = " ".join(unicodedata.normalize("NFC", text).split())  # no pattern meets long runs of white space
    text = _ENTITY.sub(lambda match: html.unescape(match.group()), text)
    text = SIZE.sub("", _TAG.sub(" ", text))
    text = _LINK.sub(r"\1", text)
    for pattern in (_URL_FIRST, _URL_LAST, _CALL_FIRST, _CALL_LAST, _SOURCE_LAST, _COUNTERS_LAST, CREDIT):
        text = _unless_empty(pattern.sub(" ", text), text)
    text = " ".join(_BRACKETS.sub(" ", text).split())
    text = _unless_empty(text.strip(_EDGES).removesuffix(" -"), text)
    without = EXTENSION.sub("", text)
    return without if count_words(without) > 2 else text


def _unless_empty(text: str, otherwise: str) -> str:
    return text if tokens(text) else otherwise
