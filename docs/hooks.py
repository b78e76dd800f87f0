"""What the site needs and the pages on their own do not: links that leave docs/ point at nothing there."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["on_page_markdown"]

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:  # noqa: ANN401  what mkdocs passes
    """Return the page with the words of a link into the checkout, and no link."""
    return _OUTSIDE.sub(r"\1", markdown)
