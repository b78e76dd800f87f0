"""From a view's parameters and the picture they were made for back to the very pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dfndr.errors import DataError
from dfndr.images import MAX_PIXELS, BadImage, decode
from dfndr.views.operations import transform
from dfndr.views.view import View, parse_views

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["apply", "replay"]

_DO = "Find the picture that the views were made for, or ask for rescale=True and views that are nearly the same."


def apply(
    view: View,
    picture: Image.Image,
    *,
    size: int | tuple[int, int],
    made_for: tuple[int, int] | None = None,
    rescale: bool = False,
) -> Image.Image:
    """Return a view of an RGB picture: cropped, resized to `size` (a side, or height and width; bicubic), operated on.

    `made_for` is the width and height of the picture that the view was drawn for. A picture of another size is refused;
    with `rescale` the box is brought to its size. Raises DataError, also for a box that does not lie inside.
    """
    if made_for is not None and made_for != picture.size:
        if not rescale:
            raise DataError(
                "views",
                expected=f"the picture they were made for, {_size(made_for)}",
                found=_size(picture.size),
                do=_DO,
            )
        view = view.rescaled(made_for, picture.size)
    if not view.is_inside(picture.size):
        box = f"{view.height} x {view.width} at {view.top}, {view.left}"
        found = f"one of {box} in a picture of {_size(picture.size)}"
        raise DataError("views", expected="a box inside the picture", found=found, do=_DO)
    height, width = (size, size) if isinstance(size, int) else size
    from PIL.Image import Resampling

    box_edges = (view.left, view.top, view.left + view.width, view.top + view.height)
    seen = picture.crop(box_edges).resize((width, height), Resampling.BICUBIC)
    for operation in view.operations:
        seen = transform(operation, seen)
    return seen


def replay(
    image: bytes,
    row: Mapping[str, Any],
    *,
    size: int | tuple[int, int],
    rescale: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> list[Image.Image]:
    """Return all views of a picture's file, as a dataset's row tells them in `views`, `width`, `height` and `sha256`.

    Another file than the one that the row names is refused; with `rescale` any copy will do, whatever its size. What
    the row does not say is not compared. Raises DataError.
    """
    views, sha256 = parse_views(row["views"]), row.get("sha256")
    if sha256 is not None and not rescale:
        found = hashlib.sha256(image).hexdigest()
        if found != sha256:
            raise DataError("views", expected=f"the picture of sha256 {sha256}", found=f"one of {found}", do=_DO)
    try:
        picture = decode(image, max_pixels=max_pixels)
    except BadImage as problem:
        raise DataError("views", expected="a picture", found=f"{problem.reason}: {problem.detail}", do=_DO) from problem
    known = row.get("width") is not None and row.get("height") is not None
    made_for = (int(row["width"]), int(row["height"])) if known else None
    return [apply(view, picture, size=size, made_for=made_for, rescale=rescale) for view in views]


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} pixels"
