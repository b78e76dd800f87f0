"""HTML that is safe by construction: whatever is not `Html` is escaped where it enters an element.

Texts, keys and names come from anywhere. Control characters are made visible, since HTML has no place for NUL and a
browser would let a right-to-left override turn the words around it; each such text stands in a `bdi` of its own.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

__all__ = ["Html", "cells", "element", "join", "outside", "shortened", "visible"]

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
"""C0 and C1 controls, marks of direction (Unicode standard annex 9, table 3), separators, and what is no character."""

_VOID = {"img", "meta"}
_TITLE_CHARACTERS = 1_000


class Html(str):
    """Markup that may stand in a page as it is; made by this module, and from constants."""

    __slots__ = ()


def visible(text: str) -> str:
    """Return the text with each control character as its code point in brackets, and a space for each line's end."""
    return _UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text.replace("\r\n", " ").replace("\n", " "))


def shortened(text: str, limit: int) -> str:
    """Return at most `limit` characters of a text, an ellipsis last where it is cut."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def element(name: str, /, *content: object, **attributes: object) -> Html:
    """Return an element; `class_` is class, None leaves an attribute out, and content that is no `Html` is escaped."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(visible(str(value)), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{given}>" if name in _VOID else f"<{name}{given}>{join(content)}</{name}>")


def join(parts: Iterable[object], between: str = "") -> Html:
    """Return the parts one after the other, each escaped unless it is `Html`; None is nothing."""
    return Html(
        between.join(
            part if isinstance(part, Html) else html.escape(visible(str(part)), quote=True)
            for part in parts
            if part is not None
        )
    )


def outside(text: object, *, limit: int = 160) -> Html:
    """Return a text that somebody else wrote: by itself in its direction, shortened, with more of it as a tooltip."""
    whole = str(text)
    is_cut = len(whole) > limit
    return element(
        "bdi", shortened(whole, limit), title=shortened(whole, _TITLE_CHARACTERS) if is_cut else None, dir="auto"
    )


def cells(head: Sequence[object], rows: Iterable[Sequence[object]], *, left: int = 1, class_: str = "") -> Html:
    """Return a table whose first `left` columns are text and whose others are numbers; it scrolls where it is wide."""

    def line(kind: str, row: Sequence[object]) -> Html:
        return element(
            "tr",
            *(element(kind, cell, class_=None if place < left else "n") for place, cell in enumerate(row)),
        )

    body = [line("td", row) for row in rows]
    table = element("table", element("thead", line("th", head)), element("tbody", *body), class_=class_ or None)
    return element("div", table, class_="wide")
