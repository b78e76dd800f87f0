"""Markdown in which nothing that a manifest says is markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["fenced", "plain", "table"]


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table, or `None.` where it would have no rows; the cells are made plain."""
    body = [[plain(str(cell)) for cell in row] for row in rows]
    if not body:
        return "None."
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body))


def plain(text: str) -> str:
    """Return a text of one line in which no character means anything to Markdown or HTML."""
    return re.sub(r"([\\`*{}\[\]<>|#~])", r"\\\1", " ".join(text.split()))


def fenced(text: str, language: str = "") -> str:
    """Return a code block that nothing in the text can end."""
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"
