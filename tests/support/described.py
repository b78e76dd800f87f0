"""Pictures rendered from a few words, for the examples that the rules on pictures carry.

`[KIND] WIDTHxHEIGHT [with THING] [as FORMAT]`: "white 640x480 with lines", "grey noise 300x200 as jpeg". PNG is the
default; a seed gives another picture of the same description.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

_WORDS = re.compile(
    r"(?P<kind>[a-z ]+) (?P<width>\d+)x(?P<height>\d+)( with (?P<thing>[a-z ]+?))?( as (?P<format>\w+))?"
)


def _noise(low: int, high: int, bands: int = 3) -> Callable[[np.random.Generator, tuple[int, int]], Image.Image]:
    def render(random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
        values = random.integers(low, high, (size[1], size[0], bands), dtype=np.uint8)
        return Image.fromarray(np.broadcast_to(values, (size[1], size[0], 3)).copy())

    return render


def _blurred(random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    coarse = _noise(0, 256)(random, (max(4, size[0] // 64), max(4, size[1] // 64)))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def _gradient(random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    row = np.linspace(0, 255, size[0]).round().astype(np.uint8)
    return Image.fromarray(np.broadcast_to(row[None, :, None], (size[1], size[0], 3)).copy())


KINDS: dict[str, Callable[[np.random.Generator, tuple[int, int]], Image.Image]] = {
    "black": lambda random, size: Image.new("RGB", size, "black"),
    "white": lambda random, size: Image.new("RGB", size, "white"),
    "noise": _noise(0, 256),
    "grey noise": _noise(0, 256, 1),
    "dark noise": _noise(0, 30),
    "blurred noise": _blurred,
    "grey gradient": _gradient,
}


def _draw(image: Image.Image, thing: str) -> None:
    """A dot of a thousandth of a large picture; a grid that inks just under a twentieth; a disc of an eighth."""
    ink = "white" if image.getpixel((0, 0)) == (0, 0, 0) else "black"
    (width, height), pen = image.size, ImageDraw.Draw(image)
    if thing == "a dot":
        pen.ellipse((width // 2, height // 2, width // 2 + 20, height // 2 + 20), ink)
    elif thing == "lines":
        for x in range(39, width, 80):
            pen.rectangle((x, 0, x + 1, height), ink)
        for y in range(39, height, 80):
            pen.rectangle((0, y, width, y + 1), ink)
    elif thing == "a disc":
        radius = min(width, height) // 4
        pen.circle((width // 2, height // 2), radius, ink)
    else:
        raise ValueError(thing)


def described(words: str, *, seed: int = 0) -> Image.Image:
    """The picture that the words describe; its format is in `info`."""
    found = _WORDS.fullmatch(words)
    if found is None or found["kind"] not in KINDS:
        raise ValueError(words)
    image = KINDS[found["kind"]](np.random.default_rng(seed), (int(found["width"]), int(found["height"])))
    if found["thing"]:
        _draw(image, found["thing"])
    image.info["as"] = found["format"] or "png"
    return image


def encoded(image: Image.Image, kind: str | None = None, **options: object) -> bytes:
    """The bytes of a picture's file, in the given format or the one that was described."""
    file = io.BytesIO()
    image.save(file, kind or image.info.get("as", "png"), **options)
    return file.getvalue()
