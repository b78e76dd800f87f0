"""The samples of a dataset that are one sample's duplicates, exact or near, found among its nearest neighbours.

Equal pictures and equal texts have equal vectors, so they stand among the nearest. What is compared is the file's
sha256, the text, and the pictures themselves, by a difference hash of their thumbnails (N. Krawetz, "Kind of like
that", 2013): 64 bits, each says whether a pixel of a 9 x 8 greyscale picture is darker than the one to its right.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from dfndr.errors import DfndrError
from dfndr.explore.asking import Asking
from dfndr.explore.reading import Reading
from dfndr.explore.values import plain
from dfndr.images import BadImage, decode

__all__ = ["Alike", "difference_hash"]

_EXACT = {"sha256": "the same file", "text": "the same text"}
_LOOKED_AT = 48
_MOST_BITS = 6
_LEAST_CONTRAST = 16  # of 255
_MOST_PIXELS = 1 << 22


class Alike:
    """Which rows are duplicates of one, by the nearest of every image and text space."""

    def __init__(self, reading: Reading, asking: Asking) -> None:
        self._reading, self._asking = reading, asking
        self._columns = [name for name in ("text", "sha256", "thumbnail") if name in reading.schema.names]

    def of(self, uid: str) -> list[dict[str, Any]]:
        """Return the duplicates, exact ones first: `uid`, `text`, `exact`, and `why` in words."""
        row = self._reading.row_of(uid)
        near = self._near(row)
        mine, *others = self._reading.take(self._columns, [row, *near])
        hashed = difference_hash(_picture(mine))
        found = []
        for other, told in zip(near, others, strict=True):
            why = [words for key, words in _EXACT.items() if mine.get(key) and mine[key] == told.get(key)]
            exact = bool(why)
            bits = _distance(hashed, difference_hash(_picture(told)))
            if _EXACT["sha256"] not in why and bits is not None and bits <= _MOST_BITS:
                why.append(
                    "the same picture to the eye" if bits == 0 else f"almost the same picture, {bits} of 64 bits"
                )
            if why:
                text = plain(told.get("text"))
                found.append({"uid": self._reading.uid(other), "text": text, "exact": exact, "why": ", ".join(why)})
        return sorted(found, key=lambda one: not one["exact"])

    def _near(self, row: int) -> list[int]:
        """Return the nearest rows in each image and text space, each once."""
        found: dict[int, None] = {}
        for space in self._reading.dataset.manifest.spaces:
            if space.modality != "caption":
                with suppress(DfndrError):
                    vector = self._asking.sample(space.name, row)
                    pairs = self._asking.nearest(space.name, vector, count=_LOOKED_AT, leave_out=row)
                    found.update(dict.fromkeys(other for other, _ in pairs))
        return list(found)


def difference_hash(data: bytes) -> int | None:
    """Return the 64 bits of a picture's difference hash; None for what is no picture of at most four megapixels.

    A picture of hardly any contrast has none either: its bits would say nothing.
    """
    try:
        from PIL import Image

        small = decode(data, max_pixels=_MOST_PIXELS).convert("L").resize((9, 8), Image.Resampling.BILINEAR)
    except (BadImage, ImportError):
        return None
    grey = small.tobytes()
    if max(grey) - min(grey) < _LEAST_CONTRAST:
        return None
    pairs = ((grey[place], grey[place + 1]) for place in range(72) if place % 9 < 8)
    return sum((left < right) << bit for bit, (left, right) in enumerate(pairs))


def _picture(told: dict[str, Any]) -> bytes:
    return (told.get("thumbnail") or {}).get("bytes") or b""


def _distance(left: int | None, right: int | None) -> int | None:
    return None if left is None or right is None else (left ^ right).bit_count()
