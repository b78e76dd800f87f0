"""What a picture looks like before any model sees it: shape, file, brightness, contrast, blur, and a perceptual hash.

The quantities are those behind the checks of cleanvision (github.com/cleanlab/cleanvision), put as plain columns, so
that a rule can look at them and a limit can change without a second look at the pixels (`image_rules.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.images import BadImage, Picture, inspect
from dfndr.looks import Looks
from dfndr_builders.measure.phash import perceptual_hash
from dfndr_builders.stage import Step, good_rows, mark_problems, require

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["IMAGE_FIELDS", "MeasureImage"]

IMAGE_FIELDS = (
    pa.field("image_bytes", pa.int64()),
    pa.field("image_format", pa.string()),
    pa.field("aspect", pa.float32()),
    pa.field("grayscale", pa.bool_()),
    pa.field("luminance_p01", pa.float32()),
    pa.field("luminance_p05", pa.float32()),
    pa.field("luminance_p99", pa.float32()),
    pa.field("entropy", pa.float32()),
    pa.field("sharpness", pa.float32()),
    pa.field("phash", pa.uint64()),
)
"""The columns that `MeasureImage` adds; `docs/recipes.md` says what each of them is."""

_LONGEST = 256
_GREY_WITHIN = 8
_PERCENTILES = {"luminance_p01": 1, "luminance_p05": 5, "luminance_p99": 99}


@dataclass(frozen=True)
class MeasureImage:
    """Add the columns of `IMAGE_FIELDS`, all null in a row that has a problem; a picture is decoded once.

    A row whose picture cannot be decoded gets that reason here.
    """

    is_light: ClassVar[bool] = True

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return the given schema with the measured columns."""
        require("measure image", given, {"image": pa.large_binary(), "problem": pa.string()})
        return pa.schema([*given, *IMAGE_FIELDS])

    @property
    def looks(self) -> tuple[Looks[Mapping[str, object]]]:
        """What it sees of each row's picture."""
        return (_looks(),)

    def open(self) -> Step:
        """Nothing to load."""
        return self._step

    def _step(self, table: pa.Table) -> pa.Table:
        schema, (looks,) = self.schema(table.schema), self.looks
        measured: list[Mapping[str, object]] = [{}] * len(table)
        problems: dict[int, tuple[str, str]] = {}
        for row in good_rows(table):
            found = looks.of(table["image"][row].as_py())
            if isinstance(found, BadImage):
                problems[row] = (found.reason, found.detail)
            else:
                measured[row] = found
        for field in IMAGE_FIELDS:
            values = pa.array([found.get(field.name) for found in measured], field.type)
            table = table.append_column(schema.field(field.name), values)
        return mark_problems(table, problems)


@lru_cache(maxsize=1)
def _looks() -> Looks[Mapping[str, object]]:
    return Looks(_measure)


def _measure(picture: Picture) -> dict[str, object]:
    """Return the columns of one picture by name; raises BadImage."""
    width, height, kind = inspect(picture.data)
    image = picture.pixels()
    grey = image.convert("L")
    histogram = np.array(grey.histogram(), dtype=np.int64)
    return {
        "image_bytes": len(picture.data),
        "image_format": "jpeg" if kind == "MPO" else kind.lower(),  # a JPEG with further pictures behind the first
        "aspect": max(width, height) / min(width, height),
        "grayscale": _is_grey(image),
        **{name: _percentile(histogram, percent) for name, percent in _PERCENTILES.items()},
        "entropy": _entropy(histogram),
        "sharpness": _sharpness(grey),
        "phash": perceptual_hash(grey),
    }


def _is_grey(image: Image.Image) -> bool:
    """Say whether red, green and blue lie within 8 of 255 levels of each other, in means of whole blocks of pixels.

    A block is as small as brings the longest side down to 256 or less: a single pixel in a small picture.
    """
    blocks = image.reduce(-(-max(image.size) // _LONGEST))
    red, green, blue = (np.asarray(band, dtype=np.int16) for band in blocks.split())
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return bool(spread.max() <= _GREY_WITHIN)


def _percentile(histogram: npt.NDArray[np.int64], percent: int) -> float:
    """Return the least luminance, in [0, 1], that `percent` of the pixels do not exceed ("inverted_cdf" of NumPy)."""
    below = np.cumsum(histogram)
    return float(np.searchsorted(below * 100, percent * below[-1])) / 255


def _entropy(histogram: npt.NDArray[np.int64]) -> float:
    """Return the entropy of the luminance's 256 levels, in bits per pixel, from 0 to 8."""
    shares = histogram[histogram > 0] / histogram.sum()
    return max(0.0, float(-(shares * np.log2(shares)).sum()))


def _sharpness(grey: Image.Image) -> float:
    """Return the standard deviation of the Laplacian (a pixel against its four neighbours) of luminance in [0, 1].

    The root of the "variance of the Laplacian" (Pech-Pacheco et al., ICPR 2000), with the longest side brought down to
    256 where it is more. Beyond the border the edge goes on, so the Laplacian's mean is zero.
    """
    levels = np.pad(np.asarray(_shrunk(grey), dtype=np.int16), 1, mode="edge")
    around = levels[:-2, 1:-1] + levels[2:, 1:-1] + levels[1:-1, :-2] + levels[1:-1, 2:]
    laplacian = (around - 4 * levels[1:-1, 1:-1]).astype(np.int32)
    return float(np.sqrt(np.square(laplacian).mean(dtype=np.float64))) / 255


def _shrunk(grey: Image.Image) -> Image.Image:
    """Return the picture with its longest side at most 256 pixels, each the mean of those it covers."""
    from PIL.Image import Resampling

    scale = max(grey.size) / _LONGEST
    if scale <= 1:
        return grey
    width, height = (max(1, round(side / scale)) for side in grey.size)
    return grey.resize((width, height), Resampling.BOX, reducing_gap=2.0)
