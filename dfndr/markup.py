"""HTML that is safe by construction: whatever is not `Html` is escaped where it enters an element.

Texts, keys and names come from anywhere. Control characters are made visible, since HTML has no place for NUL and a
browser would let a right-to-left override turn the words around it; each such text stands in a `bdi` of its own. A
picture is shown only as what its first bytes say it is, and only where that cannot hold a script.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence

__all__ = [
    "Html",
    "cells",
    "data_url",
    "document",
    "element",
    "join",
    "media_type",
    "outside",
    "shortened",
    "visible",
]

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
"""C0 and C1 controls, marks of direction (Unicode standard annex 9, table 3), separators, and what is no character."""

_VOID = {"img", "meta"}
_TITLE_CHARACTERS = 1_000
_TYPES = ((b"\xff\xd8", "image/jpeg"), (b"\x89PNG", "image/png"), (b"GIF8", "image/gif"), (b"RIFF", "image/webp"))
_POLICY = "default-src 'none'; img-src {images}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


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


def media_type(data: bytes | None) -> str | None:
    """Return the type of a JPEG, PNG, GIF or WebP by its first bytes; None for all else: an SVG may hold a script."""
    return next((kind for start, kind in _TYPES if data is not None and data.startswith(start)), None)


def data_url(data: bytes | None) -> str | None:
    """Return a picture as a URL that holds it, None where it is not of a type that a page may show."""
    kind = media_type(data)
    return None if data is None or kind is None else f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def document(title: str, body: Html, *, style: str, images: str = "data:") -> str:
    """Return a whole page; its policy forbids scripts, and all from elsewhere but pictures that `images` allows."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY.format(images=images)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Html(style)),
    )
    return "<!doctype html>\n" + element("html", join([head, body], "\n"), lang="en") + "\n"
