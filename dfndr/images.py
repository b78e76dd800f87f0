"""From the encoded bytes of a picture to pixels, when anyone may have written those bytes.

Five formats are read (JPEG, PNG, WebP, GIF, BMP), which keeps Pillow's rarer decoders out of reach. The header is
checked before a pixel is decoded. What comes out is always 8-bit RGB, upright as EXIF says, the first frame where there
are several; transparent parts show white, 16-bit grey is scaled down and not clipped, and colour profiles are ignored.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from dfndr.errors import DfndrError, MissingExtra

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["MAX_PIXELS", "BadImage", "Picture", "Reason", "decode", "inspect", "thumbnail"]

MAX_PIXELS = 178_956_970
"""Pillow's own limit against decompression bombs: half a gigabyte of RGB. A larger `max_pixels` does not lift it."""

Reason = Literal["image_empty", "image_unreadable", "image_too_large", "image_too_small"]
"""Reasons of `FAILED` (docs/format.md) that a look at the bytes can give."""

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_ORIENTATION = 0x0112  # EXIF 2.32, section 4.6.4 A
_PNG_UP_TO = 64
_SCALABLE, _SCALES = ("JPEG", "MPO"), (2, 4, 8)


class BadImage(ValueError):
    """Bytes that are no picture to be used: a `reason` from the closed list and a `detail` in words.

    It is outside of the DfndrError tree, since it never reaches a user: whoever decodes writes it into the row.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def inspect(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int, str]:
    """Return width and height in pixels, upright, and the format as Pillow names it, from the header alone.

    Raises BadImage for a header that is unreadable, and for a side of one pixel or more than `max_pixels` in all.
    """
    with _reading(), _opened(data, max_pixels) as image:
        width, height = image.size
        turned = _orientation(image) >= 5
        return (height, width, str(image.format)) if turned else (width, height, str(image.format))


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, short_side: int | None = None) -> Image.Image:
    """Return the picture in RGB; raises BadImage where `inspect` does, and for pixels that are cut or damaged.

    With `short_side` a JPEG is made 2, 4 or 8 times smaller while it is decoded, as long as its short side keeps so
    many pixels (libjpeg's scaled inverse DCT: each pixel is about the mean of those it stands for).
    """
    with _reading(), _opened(data, max_pixels) as image:
        return _loaded(image, short_side)


def _loaded(image: Image.Image, short_side: int | None) -> Image.Image:
    orientation = _orientation(image)
    if short_side is not None and min(image.size) >= 2 * short_side:
        image.draft(None, (short_side, short_side))
    image.load()
    return _upright(_rgb(image), orientation)


class Picture:
    """One file for several who look at it: decoded once for all who need it equally large.

    What goes wrong is raised again for each of them.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._short, self._kind = -1, ""
        self._begun: Image.Image | None = None
        self._decoded: dict[int, Image.Image | BadImage] = {}

    def pixels(self, short_side: int | None = None) -> Image.Image:
        """Return what `decode` does; nobody may change it."""
        scale = self._scale(short_side)
        if scale not in self._decoded:
            try:
                self._decoded[scale] = self._decode(short_side)
            except BadImage as problem:
                self._decoded[scale] = problem
        found = self._decoded[scale]
        if isinstance(found, BadImage):
            raise found
        return found

    def _decode(self, short_side: int | None) -> Image.Image:
        begun, self._begun = self._begun, None
        if begun is None:
            return decode(self.data, short_side=short_side)
        with _reading(), begun:
            return _loaded(begun, short_side)

    def _scale(self, short_side: int | None) -> int:
        if short_side is None:
            return 1
        if self._short < 0:
            with _reading():
                self._begun = _opened(self.data, MAX_PIXELS)
                self._short, self._kind = min(self._begun.size), str(self._begun.format)
        if self._kind not in _SCALABLE:
            return 1
        return max((scale for scale in _SCALES if self._short >= scale * short_side), default=1)


def thumbnail(image: Image.Image, longest: int) -> bytes:
    """Return an RGB picture shrunk (never enlarged) to at most `longest` pixels a side: PNG up to 64, else JPEG.

    The bytes depend on the picture and on the Pillow release alone.
    """
    from PIL import Image

    small = image.copy()
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    if max(small.size) <= _PNG_UP_TO:
        small.save(file, "PNG")
    else:
        small.save(file, "JPEG", quality=90)
    return file.getvalue()


class _Quiet:
    """Pillow's warnings off while any thread is inside.

    `catch_warnings` alone is not safe between threads: two that overlap leave the filters of the one that came second.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._filters = threading.Lock(), 0, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._filters.__exit__(None, None, None)


_QUIET = _Quiet()


@contextmanager
def _reading() -> Iterator[None]:
    """Turn whatever goes wrong inside into BadImage.

    Catching Exception is right here: on bytes made to harm, Pillow and the libraries below it raise
    SyntaxError, struct.error, KeyError, ZeroDivisionError, MemoryError and more, and each release adds to the list.
    """
    try:
        with _QUIET:
            yield
    except (BadImage, DfndrError):
        raise
    except Exception as error:
        from PIL.Image import DecompressionBombError

        reason: Reason = "image_too_large" if isinstance(error, DecompressionBombError) else "image_unreadable"
        raise BadImage(reason, f"{type(error).__name__}: {error}"[:300]) from error


def _opened(data: bytes, max_pixels: int) -> Image.Image:
    """Return the picture with its header read and checked, and no pixel decoded."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingExtra.of("pillow", "build") from error
    if not data:
        raise BadImage("image_empty", "no bytes")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise BadImage("image_unreadable", f"not a {', '.join(_FORMATS)} image") from error
    width, height = image.size
    if width * height > max_pixels:
        raise BadImage("image_too_large", f"{width} x {height} pixels, and the limit is {max_pixels} in all")
    if min(width, height) < 2:
        raise BadImage("image_too_small", f"{width} x {height} pixels")
    return image


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8, as the header tells it; 1 (upright) where EXIF is absent or damaged."""
    from PIL import Image

    try:
        # The base class's method: that of PNG decodes the pixels to look for EXIF behind them.
        found = Image.Image.getexif(image).get(_ORIENTATION, 1)
    except Exception:  # the pixels may be fine: see _reading for why nothing narrower will do
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _rgb(image: Image.Image) -> Image.Image:
    """Return the picture in RGB: transparent parts on white, 16 bits scaled to 8; itself where that is what it is."""
    from PIL import Image

    if image.mode == "RGB" and not image.has_transparency_data:
        return image

    if image.mode.startswith("I"):  # 16-bit grey, which `convert` would clip at 255
        import numpy as np

        wide = np.asarray(image, dtype=np.int32).clip(0, 65535)
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    return image.convert("RGB")
