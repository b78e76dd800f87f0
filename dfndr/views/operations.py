"""The fourteen operations of RandAugment by their codes, as Apple's `param_aug` numbers them, on Pillow's pictures.

Each does what torchvision's RandAugment does to a Pillow picture (nearest neighbour, black where nothing was), to the
bit; but translations are pixels at 224 and grow with the picture. RandAugment: Cubuk et al., arXiv 1909.13719.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["MOST_MAGNITUDE", "NAMES", "Operation", "magnitude_of", "transform"]

NAMES = (
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
)
"""The names of the operations; an operation's code is its place."""

MOST_MAGNITUDE = 30
"""Magnitudes are bins from 0 to this."""

_TRANSLATED_AT = 224
_SIGNED = {1: 0.3, 2: 0.3, 3: 150 / 331 * 224, 4: 150 / 331 * 224, 5: 30.0, 6: 0.9, 7: 0.9, 8: 0.9, 9: 0.9}
"""What the highest bin means: the sine over the cosine of a shear, pixels, degrees, a factor's distance from 1."""
_LIMITS = {1: 1.0, 2: 1.0, 3: 224.0, 4: 224.0, 5: 180.0, 6: 1.0, 7: 1.0, 8: 1.0, 9: 1.0, 10: 8.0, 11: 256.0}
"""How far from 0 a magnitude may be; of Posterize (bits that stay) and Solarize (a level of 0 to 255) never below 0."""


@dataclass(frozen=True)
class Operation:
    """What is done to a view once it is cropped and resized; raises ValueError for what cannot be done."""

    code: int
    magnitude: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.code < len(NAMES):
            raise ValueError(f"an operation of code {self.code}, and the codes are 0 to {len(NAMES) - 1}")
        most = _LIMITS.get(self.code, 0.0)
        if not (0.0 if self.code in (10, 11) else -most) <= self.magnitude <= most:
            raise ValueError(f"{self.name} of magnitude {self.magnitude}, and it goes to {most:g}")

    @property
    def name(self) -> str:
        """What it is called."""
        return NAMES[self.code]

    def __str__(self) -> str:
        if self.code not in _LIMITS:
            return self.name
        return f"{self.name} {self.magnitude:+.4g}" if self.code in _SIGNED else f"{self.name} {self.magnitude:.4g}"


def magnitude_of(code: int, level: int, *, negative: bool = False) -> float:
    """Return what a bin from 0 to 30 means for an operation: a float32, as `param_aug` has it.

    The sign counts only for operations that have one; those without a magnitude have 0.
    """
    if code == 10:
        return float(8 - round(level / MOST_MAGNITUDE * 4))
    if code == 11:
        return _evenly(255.0, MOST_MAGNITUDE - level)
    return _evenly(_SIGNED.get(code, 0.0), level) * (-1.0 if negative else 1.0)


def _evenly(most: float, level: int) -> float:
    """Return a bin of 31 from 0 to `most`, in float32 and from the nearer end, as torch.linspace does."""
    import numpy as np

    step = float(np.float32(most) / np.float32(MOST_MAGNITUDE))
    if level < (MOST_MAGNITUDE + 1) / 2:
        return float(np.float32(step * level))
    return float(np.float32(float(np.float32(most)) - step * (MOST_MAGNITUDE - level)))


def transform(operation: Operation, picture: Image.Image) -> Image.Image:
    """Return an RGB picture with an operation done to it, of the same size."""
    from PIL import ImageEnhance, ImageOps

    code, magnitude = operation.code, operation.magnitude
    if 1 <= code <= 4:
        return _moved(picture, _matrix(code, magnitude, picture.size))
    if code == 5:
        return picture.rotate(magnitude, fillcolor=(0, 0, 0))
    if code == 10:
        return ImageOps.posterize(picture, int(magnitude))
    if code == 11:
        # Whole levels below a limit are those below the next whole one; Pillow wants an int.
        return ImageOps.solarize(picture, math.ceil(magnitude))
    if code in (12, 13):
        return ImageOps.autocontrast(picture) if code == 12 else ImageOps.equalize(picture)
    enhancers = {
        6: ImageEnhance.Brightness,
        7: ImageEnhance.Color,
        8: ImageEnhance.Contrast,
        9: ImageEnhance.Sharpness,
    }
    return enhancers[code](picture).enhance(1.0 + magnitude) if code in enhancers else picture


def _matrix(code: int, magnitude: float, size: tuple[int, int]) -> tuple[float, ...]:
    """Return the first two rows of the matrix that leads from a pixel of the result to one of the picture."""
    angle = math.radians(math.degrees(math.atan(magnitude)))  # torchvision's way, to the last bit
    if code == 1:
        return (1.0, math.tan(angle), 0.0, 0.0, 1.0, 0.0)
    if code == 2:
        return (1.0, 0.0, 0.0, math.sin(angle) / math.cos(angle), 1.0, 0.0)
    if code == 3:
        return (1.0, 0.0, -float(int(magnitude * size[0] / _TRANSLATED_AT)), 0.0, 1.0, 0.0)
    return (1.0, 0.0, 0.0, 0.0, 1.0, -float(int(magnitude * size[1] / _TRANSLATED_AT)))


def _moved(picture: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    from PIL import Image

    nearest, affine = Image.Resampling.NEAREST, Image.Transform.AFFINE
    return picture.transform(picture.size, affine, matrix, nearest, fillcolor=(0, 0, 0))
