"""A 64-bit perceptual hash of a picture: what stays nearly the same when it is scaled or compressed again.

The usual pHash (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010; www.phash.org) as
the Python package ImageHash computes it: grey, 32 x 32 by an antialiased resize, a two-dimensional DCT-II, and of its
8 x 8 lowest frequencies whether each lies above their median. Two things are our own: the mean (the DC term) has no
vote in the median, and a flat picture has no hash at all.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["FLAT_BELOW", "perceptual_hash"]

FLAT_BELOW = 1.0
"""In grey levels of 255: where the hashed frequencies make a smaller standard deviation than this, noise of the
encoder alone would set the bits, and all white pictures would be each other's near-duplicates."""

_SIDE, _LOWEST, _MIDDLE = 32, 8, 31
_DECIMALS = 3  # a frequency that is absent must be 0 on every machine, whatever its order of summation leaves


@cache
def _cosines() -> npt.NDArray[np.float64]:
    """Return the lowest rows of the orthonormal DCT-II of length 32: shape (8, 32)."""
    frequency, place = np.arange(_LOWEST)[:, None], np.arange(_SIDE)[None, :]
    rows: npt.NDArray[np.float64] = np.sqrt(2.0 / _SIDE) * np.cos(np.pi * frequency * (2 * place + 1) / (2 * _SIDE))
    rows[0] = np.sqrt(1.0 / _SIDE)
    return rows


def perceptual_hash(grey: Image.Image) -> int | None:
    """Return the hash of an 8-bit grey picture, or None for a flat one.

    The highest bit is the mean's (nearly always set), then row by row of vertical frequency, as ImageHash writes it in
    hexadecimal. Two hashes are compared by the number of bits in which they differ.
    """
    from PIL.Image import Resampling

    tiny = np.asarray(grey.resize((_SIDE, _SIDE), Resampling.LANCZOS, reducing_gap=8.0), dtype=np.float64)
    cosines = _cosines()
    lowest = (cosines @ tiny @ cosines.T).ravel()
    if np.linalg.norm(lowest[1:]) / _SIDE < FLAT_BELOW:
        return None
    lowest = np.round(lowest, _DECIMALS)
    bits = lowest > np.sort(lowest[1:])[_MIDDLE]
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
