"""The built-in pool: every character that matplotlib's DejaVu faces draw, as a small picture, with its Unicode name.

About 45,000 real picture-name pairs without a download. A pair is a face and a character; its colours, size and place
are a pure function of (seed, face, character), and its position in the pool is a hash of the pair alone.
"""

from __future__ import annotations

import colorsys
import io
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from dfndr.errors import MissingExtra, PoolError, RecipeError
from dfndr.seeds import hash_fraction, rng_for
from dfndr_builders.pools.base import PoolShard, Sample, pool_schema, tables_of

if TYPE_CHECKING:
    from PIL import Image, ImageFont

__all__ = ["LICENSE", "GlyphsPool"]

LICENSE = "Bitstream-Vera"
"""The SPDX name of the licence of the DejaVu faces, which allows pictures of their glyphs to be used for anything."""

_LEAST_CONTRAST = 4.5
_Color = tuple[int, int, int]


@dataclass(frozen=True)
class _Pair:
    place: float
    face: str
    character: str

    @property
    def key(self) -> str:
        return f"{self.face}/U+{ord(self.character):04X}"


@dataclass(frozen=True)
class GlyphsPool:
    """Pictures of glyphs, `size` x `size` PNG, with the characters' names in lower case as texts.

    `take` is a part of [0, 1): pools with disjoint parts hold disjoint pairs, whatever their seeds, which change only
    how the pairs look. `count` takes that many pairs of the part, None all. `source` and `license` are "glyphs" and
    `LICENSE` unless told otherwise. `keep` may name the column `face`.
    """

    size: int = 32
    seed: int = 0
    count: int | None = None
    take: tuple[float, float] = (0.0, 1.0)
    rows_per_shard: int = 1000
    source: str | None = None
    license: str | None = None
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        low, high = self.take
        if not 0 <= low < high <= 1:
            do = "Give the lower end, then the upper."
            raise RecipeError("glyphs: take", expected="0 <= low < high <= 1", found=str(self.take), do=do)
        if not 8 <= self.size <= 1024:
            raise RecipeError(
                "glyphs: size", expected="8 to 1024 pixels", found=str(self.size), do="Choose another size."
            )
        if self.rows_per_shard < 1:
            found = str(self.rows_per_shard)
            do = "Choose a larger one."
            raise RecipeError("glyphs: rows_per_shard", expected="at least 1", found=found, do=do)
        if set(self.keep) - {"face"}:
            do = "Name no other field."
            raise RecipeError("glyphs: keep", expected='at most ["face"]', found=str(list(self.keep)), do=do)

    def schema(self) -> pa.Schema:
        """Return POOL_SCHEMA, with `face` where it is kept."""
        return pool_schema(pa.field(name, pa.string()) for name in self.keep)

    def shards(self) -> Sequence[PoolShard]:
        """List the shards; raises PoolError where there are fewer pairs than `count` asks for."""
        total = len(self._pairs())
        numbers = range(-(-total // self.rows_per_shard))
        return [PoolShard(number, f"glyphs-{number:05d}") for number in numbers]

    def read(self, shard: PoolShard) -> Iterator[pa.Table]:
        """Yield the shard's pairs; what a picture looks like does not depend on the shard it is in."""
        start = shard.index * self.rows_per_shard
        pairs = self._pairs()[start : start + self.rows_per_shard]
        return tables_of(map(self._sample, pairs), self.schema())

    def _pairs(self) -> tuple[_Pair, ...]:
        low, high = (bisect_left(_all_pairs(), end, key=lambda pair: pair.place) for end in self.take)
        pairs = _all_pairs()[low:high]
        if self.count is not None and not 0 < self.count <= len(pairs):
            do = "Ask for fewer pairs, or widen `take`."
            raise PoolError("glyphs", expected=f"a count from 1 to {len(pairs)}", found=str(self.count), do=do)
        return pairs[: self.count]

    def _sample(self, pair: _Pair) -> Sample:
        picture = io.BytesIO()
        _draw(pair, self.size, self.seed).save(picture, "png", compress_level=1)
        text = unicodedata.name(pair.character).lower().encode()
        kept: dict[str, object] = {name: pair.face for name in self.keep}
        source, license = self.source or "glyphs", self.license or LICENSE
        return Sample(pair.key, picture.getvalue(), text, source=source, license=license, kept=kept)


@cache
def _faces() -> Mapping[str, Path]:
    """Return the files of the faces by name."""
    for module, package in {"PIL": "pillow", "fontTools": "matplotlib", "matplotlib": "matplotlib"}.items():
        if find_spec(module) is None:
            raise MissingExtra.of(package, "build")
    # Importing matplotlib takes half a second, and only the place of its files is needed.
    found = find_spec("matplotlib")
    folder = Path(found.origin if found and found.origin else "").parent / "mpl-data" / "fonts" / "ttf"
    faces = {path.stem: path for path in sorted(folder.glob("DejaVu*.ttf"))}
    if not faces:
        do = "Install matplotlib from its own wheel."
        raise PoolError(str(folder), expected="the DejaVu faces that matplotlib ships", found="none", do=do)
    return faces


@cache
def _all_pairs() -> tuple[_Pair, ...]:
    """Return every pair that has a picture and a name, in the pool's order."""
    return tuple(
        sorted(
            (
                _Pair(hash_fraction(0, "glyphs", face, character), face, character)
                for face, path in _faces().items()
                for character in _characters(path)
            ),
            key=lambda pair: (pair.place, pair.key),
        )
    )


def _characters(path: Path) -> Iterator[str]:
    """Yield the characters of a face with a name and an outline; marks, blanks and controls (M, Z, C) are left out."""
    from fontTools.ttLib import TTFont  # type: ignore[import-untyped]

    with TTFont(path, lazy=True) as font:
        glyphs, outlines, numbers = font.getBestCmap(), font["loca"].locations, font.getReverseGlyphMap()
    for code, glyph in glyphs.items():
        character, number = chr(code), numbers[glyph]
        named = unicodedata.category(character)[0] not in "CMZ" and bool(unicodedata.name(character, ""))
        # A glyph whose outline takes no bytes is blank, such as U+2800 or U+FFFC in these faces.
        if named and outlines[number] < outlines[number + 1]:
            yield character


def _draw(pair: _Pair, size: int, seed: int) -> Image.Image:
    """Draw one glyph, whole, near the middle; if it is not a tiny one, it fills 0.75 to 0.9 of the picture's side."""
    from PIL import Image, ImageDraw

    random = rng_for(seed, "glyph", pair.face, pair.character).random(7).tolist()
    font = _fitting(pair, round(size * (0.75 + 0.15 * random[0])), largest=size)
    left, top, right, bottom = font.getbbox(pair.character)
    x = round((size - (right - left)) * (0.35 + 0.3 * random[1]))
    y = round((size - (bottom - top)) * (0.35 + 0.3 * random[2]))
    ink, paper = _colors(random[3:])
    picture = Image.new("RGB", (size, size), paper)
    ImageDraw.Draw(picture).text((x - left, y - top), pair.character, font=font, fill=ink)
    return picture


def _fitting(pair: _Pair, extent: int, *, largest: int) -> ImageFont.FreeTypeFont:
    """Return the face at the largest size up to 1.25 pictures at which the glyph is at most `extent` pixels long."""
    left, top, right, bottom = _font(pair.face, 32).getbbox(pair.character)
    height = min(round(32 * extent / max(right - left, bottom - top, 1)) + 1, round(1.25 * largest))
    while True:
        font = _font(pair.face, height)
        left, top, right, bottom = font.getbbox(pair.character)
        if max(right - left, bottom - top) <= extent or height <= 4:
            return font
        height -= 1


@cache
def _font(face: str, height: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(str(_faces()[face]), height, layout_engine=ImageFont.Layout.BASIC)


def _colors(random: Sequence[float]) -> tuple[_Color, _Color]:
    """Return ink and paper: a dark and a light colour of any hue, of a contrast ratio >= 4.5."""
    paper = _rgb(random[0], 0.84 + 0.13 * random[1], 0.8)
    lightness = 0.12 + 0.3 * random[3]
    ink = _rgb(random[2], lightness, 0.75)
    while _contrast(paper, ink) < _LEAST_CONTRAST:
        lightness *= 0.85
        ink = _rgb(random[2], lightness, 0.75)
    return ink, paper


def _rgb(hue: float, lightness: float, saturation: float) -> _Color:
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return round(255 * red), round(255 * green), round(255 * blue)


def _contrast(light: _Color, dark: _Color) -> float:
    """Return the contrast ratio of WCAG 2.2, 1 to 21."""
    return (_luminance(light) + 0.05) / (_luminance(dark) + 0.05)


def _luminance(color: _Color) -> float:
    linear = [part / 3294.6 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
