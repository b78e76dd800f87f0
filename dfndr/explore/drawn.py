"""The views of a sample for the page: where their boxes lie, what is done to them, and how they look.

The page has no pool, so a view is drawn from the small picture that the dataset keeps: rescaled, and coarse where the
box is small. A dataset may come from anywhere, so views that are none are told and not drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dfndr.errors import DataError, UsageError
from dfndr.images import BadImage, decode, thumbnail
from dfndr.views.replay import apply
from dfndr.views.view import View, parse_views

__all__ = ["MOST_VIEWS", "draw", "told"]

MOST_VIEWS = 60
"""How many views of one sample are told; what is beyond is only counted."""

_SIDE = 128
_DO = "Run `dfndr verify` on the dataset."


def told(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a row's views as the page shows them, None where the dataset has none.

    `boxes` are [left, top, width, height] as shares of the picture, or empty where its size is not known.
    """
    if "views" not in fields:
        return None
    try:
        views, size = _views(fields), _size(fields)
    except DataError as error:
        return {"count": 0, "problem": f"expected {error.expected}, found {error.found}", "said": [], "boxes": []}
    shown = views[:MOST_VIEWS]
    boxes = [] if size is None else [_box(view, size) for view in shown]
    aspect = None if size is None else size[0] / size[1]
    return {"count": len(views), "said": [str(view) for view in shown], "boxes": boxes, "aspect": aspect}


def draw(fields: Mapping[str, Any], number: int, picture: bytes, *, max_pixels: int) -> bytes:
    """Return a view of a row as a JPEG, drawn from a copy of its picture of any size.

    Raises UsageError for a view that is not there, DataError for one that is none, and where its picture is another.
    """
    views = _views(fields)
    if not 0 <= number < len(views):
        raise UsageError(
            f"view {number}", expected=f"0 to {len(views) - 1}", found="no such view", do="Ask for another."
        )
    try:
        copy = decode(picture, max_pixels=max_pixels)
    except BadImage as problem:
        raise DataError(f"view {number}", expected="a picture", found=problem.detail, do=_DO) from problem
    size = _size(fields)
    if size is None:
        do = "It cannot be drawn from another copy."
        raise UsageError(f"view {number}", expected="the size of the picture it is for", found="none in the row", do=do)
    return thumbnail(apply(views[number], copy, size=_SIDE, made_for=size, rescale=True), _SIDE)


def _views(fields: Mapping[str, Any]) -> tuple[View, ...]:
    given = fields.get("views")
    return () if given is None else parse_views(given)


def _size(fields: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = fields.get("width"), fields.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) and min(width, height) > 0 else None


def _box(view: View, size: tuple[int, int]) -> list[float]:
    return [view.left / size[0], view.top / size[1], view.width / size[0], view.height / size[1]]
