"""A view of a picture as parameters, in the form of Apple's `param_aug`, and what such a form may hold.

`[[top, left, height, width], [[code, magnitude], [code, magnitude]]]`, in pixels of the picture it was made for;
`null` in the second place where there are no operations. Anyone may have written it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dfndr.errors import DataError
from dfndr.views.operations import Operation

__all__ = ["View", "parse_views"]

_MOST_SIDE = 1 << 31
_FORM = "[[top, left, height, width], [[code, magnitude], ...]] with at most two operations, or null for none"


@dataclass(frozen=True)
class View:
    """A box, in pixels of the picture, and what is done to it once it is resized, in order.

    Raises ValueError for a box without an inside and for more than two operations.
    """

    top: int
    left: int
    height: int
    width: int
    operations: tuple[Operation, ...] = ()

    def __post_init__(self) -> None:
        box = (self.top, self.left, self.height, self.width)
        if min(box) < 0 or min(box[2:]) < 1 or max(box) >= _MOST_SIDE or len(self.operations) > 2:
            raise ValueError(f"a box of {list(box)} and {len(self.operations)} operations")

    def __str__(self) -> str:
        return ", ".join(str(operation) for operation in self.operations if operation.code) or "Identity"

    def to_json(self) -> str:
        """Return the view as `param_aug` has it, without spaces; joined by commas in brackets they are a whole one."""
        operations = [[one.code, one.magnitude] for one in self.operations] or None
        box = [self.top, self.left, self.height, self.width]
        return json.dumps([box, operations], separators=(",", ":"), allow_nan=False)

    def is_inside(self, size: tuple[int, int]) -> bool:
        """Say whether the box lies inside a picture of (width, height)."""
        return self.left + self.width <= size[0] and self.top + self.height <= size[1]

    def rescaled(self, made_for: tuple[int, int], found: tuple[int, int]) -> View:
        """Return the view for a smaller or larger copy of the picture; sizes are (width, height).

        The box's edges go to the nearest pixel. Raises DataError for a copy of another shape: where a side is more
        than a pixel off what the other says, it is cut or stretched, and the box would show something else.
        """
        scale = max(found) / max(made_for)
        if any(abs(side * scale - its) > 1 for side, its in zip(made_for, found, strict=True)):
            raise DataError(
                "views",
                expected=f"a copy of a picture of {made_for[0]} x {made_for[1]} pixels, larger or smaller",
                found=f"one of another shape, {found[0]} x {found[1]}",
                do="Find the picture that the views were made for.",
            )
        left, width = _scaled(self.left, self.width, made_for[0], found[0])
        top, height = _scaled(self.top, self.height, made_for[1], found[1])
        return replace(self, top=top, left=left, height=height, width=width)


def _scaled(start: int, length: int, whole: int, new: int) -> tuple[int, int]:
    """Return where a stretch of a side begins and how long it is, at least a pixel, on a side of another length."""
    begin = min(round(start * new / whole), new - 1)
    return begin, max(1, min(round((start + length) * new / whole), new) - begin)


def parse_views(given: str | Sequence[object], *, where: str = "views") -> tuple[View, ...]:
    """Return the views of a row: a list of them, a JSON string of such a list, or a list with a string for each.

    Raises DataError, naming the view, for anything else.
    """
    told = _read(given, where)
    if isinstance(told, str) or not isinstance(told, Sequence):
        raise _error(where, "a list of views", repr(told))
    return tuple(_parsed(_read(one, f"{where}[{number}]"), f"{where}[{number}]") for number, one in enumerate(told))


def _read(given: object, where: str) -> object:
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except (ValueError, RecursionError) as error:
        raise _error(where, f"JSON of {_FORM}", f"{given[:100]!r}") from error


def _parsed(given: object, where: str) -> View:
    if not isinstance(given, Sequence) or len(given) != 2:
        raise _error(where, _FORM, repr(given))
    if given[1] is not None and (isinstance(given[1], str) or not isinstance(given[1], Sequence)):
        raise _error(where, "a list of operations, or null", repr(given[1]))
    top, left, height, width = _whole(_numbers(given[0], 4, where, "[top, left, height, width]"), where)
    pairs = [_numbers(pair, 2, where, "[code, magnitude]") for pair in given[1] or ()]
    codes = _whole([code for code, _ in pairs], where)
    try:
        operations = [Operation(code, float(pair[1])) for code, pair in zip(codes, pairs, strict=True)]
        return View(top, left, height, width, tuple(operations))
    except (ValueError, OverflowError) as error:
        raise _error(where, _FORM, str(error)) from error


def _numbers(given: object, count: int, where: str, expected: str) -> list[int | float]:
    if isinstance(given, Sequence) and not isinstance(given, str) and len(given) == count:
        found = [one for one in given if isinstance(one, int | float) and not isinstance(one, bool)]
        if len(found) == count:
            return found
    raise _error(where, f"numbers, {expected}", repr(given))


def _whole(given: list[int | float], where: str) -> list[int]:
    found = [one for one in given if isinstance(one, int)]
    if len(found) < len(given):
        raise _error(where, "whole numbers for a box and for codes", repr(given))
    return found


def _error(where: str, expected: str, found: str) -> DataError:
    return DataError(where, expected=expected, found=found[:200], do="Look at what wrote them, or leave the row out.")
