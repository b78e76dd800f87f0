"""Which views a picture gets: a function of (seed, uid, view number) and the picture's size alone.

The box is that of torchvision's RandomResizedCrop, the operations those of its RandAugment. Every number comes from a
hash, so no library's release can move one, and a further view changes none of those before it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from dfndr.seeds import hash_fraction
from dfndr.views.operations import MOST_MAGNITUDE, NAMES, Operation, magnitude_of
from dfndr.views.view import View

__all__ = ["Draws", "Sampler"]

_TRIES = 10


class Draws(Protocol):
    """A stream of random numbers."""

    def between(self, low: float, high: float) -> float:
        """Return a number from `low` to `high`."""

    def below(self, count: int) -> int:
        """Return a whole number from 0 to `count` - 1."""


class _Hashed:
    """Draws that depend on a seed, a uid and a view's number."""

    def __init__(self, seed: int, uid: str, number: int) -> None:
        self._seed, self._key, self._drawn = seed, ("view", uid, number), 0

    def _next(self) -> float:
        self._drawn += 1
        return hash_fraction(self._seed, *self._key, self._drawn)

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self._next()

    def below(self, count: int) -> int:
        return min(int(self._next() * count), count - 1)


@dataclass(frozen=True)
class Sampler:
    """How views are drawn; the defaults are Apple's but for `count`, which is where published ablations saturate.

    `crop_scale` is the share of the picture's area that a box has, `ratio` its width by its height, `operations` how
    many there are in each view, `magnitude` a bin from 0 to 30. With `plain_first` view 0 is the largest square in the
    middle, without operations: what an encoder sees that cuts to the middle. Raises ValueError for what cannot be.
    """

    count: int = 5
    crop_scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    operations: int = 2
    magnitude: int = 9
    plain_first: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale goes from above 0 up to at most 1, and not {list(self.crop_scale)}")
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise ValueError(f"ratio goes from above 0 up, and not {list(self.ratio)}")
        if self.count < 1 or not 0 <= self.operations <= 2 or not 0 <= self.magnitude <= MOST_MAGNITUDE:
            found = f"count {self.count}, operations {self.operations}, magnitude {self.magnitude}"
            raise ValueError(f"a view or more, 0 to 2 operations, magnitude 0 to {MOST_MAGNITUDE}, and not {found}")

    def views(self, seed: int, uid: str, size: tuple[int, int]) -> tuple[View, ...]:
        """Return the views of a picture of (width, height)."""
        return tuple(self.view(seed, uid, number, size) for number in range(self.count))

    def view(self, seed: int, uid: str, number: int, size: tuple[int, int]) -> View:
        """Return one view of a picture of (width, height); `count` has no part in it."""
        if number == 0 and self.plain_first:
            side = min(size)
            return View((size[1] - side) // 2, (size[0] - side) // 2, side, side)
        return self.drawn(_Hashed(seed, uid, number), size)

    def drawn(self, draws: Draws, size: tuple[int, int]) -> View:
        """Return a view whose random numbers come from somewhere, drawn in torchvision's order."""
        return View(*self._box(draws, size), tuple(self._operation(draws) for _ in range(self.operations)))

    def _box(self, draws: Draws, size: tuple[int, int]) -> tuple[int, int, int, int]:
        whole_width, whole_height = size
        lowest, highest = self.ratio
        for _ in range(_TRIES):
            area = whole_width * whole_height * draws.between(*self.crop_scale)
            ratio = math.exp(draws.between(math.log(lowest), math.log(highest)))
            width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < width <= whole_width and 0 < height <= whole_height:
                top = draws.below(whole_height - height + 1)
                return top, draws.below(whole_width - width + 1), height, width
        width, height = size
        if width / height < lowest:
            height = max(1, round(width / lowest))
        elif width / height > highest:
            width = max(1, round(height * highest))
        return (whole_height - height) // 2, (whole_width - width) // 2, height, width

    def _operation(self, draws: Draws) -> Operation:
        code = draws.below(len(NAMES))
        negative = 1 <= code <= 9 and draws.below(2) == 1
        return Operation(code, magnitude_of(code, self.magnitude, negative=negative))
