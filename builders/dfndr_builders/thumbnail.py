"""A small copy of the picture in each row, in the form that the Hub's viewer shows (its Image feature)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import pyarrow as pa

from dfndr.images import BadImage, Picture, thumbnail
from dfndr.looks import Looks
from dfndr_builders.stage import Step, good_rows, mark_problems, require

__all__ = ["THUMBNAIL", "Thumbnail"]

THUMBNAIL = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])


@dataclass(frozen=True)
class Thumbnail:
    """Add `thumbnail`: the picture with its longest side shrunk to `longest` pixels, never enlarged.

    With `is_fast` a JPEG is decoded at a fraction of its size, of which twice as much is left.
    """

    is_light: ClassVar[bool] = True

    longest: int
    is_fast: bool = False

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return the given schema with the thumbnail's column."""
        require("thumbnail", given, {"image": pa.large_binary()})
        return given.append(pa.field("thumbnail", THUMBNAIL))

    @property
    def looks(self) -> tuple[Looks[bytes]]:
        """What it sees of each row's picture."""
        return (_looks(self.longest, self.is_fast),)

    def open(self) -> Step:
        """Nothing to load."""
        return self._step

    def _step(self, table: pa.Table) -> pa.Table:
        (looks,) = self.looks
        small: list[dict[str, object] | None] = [None] * len(table)
        problems: dict[int, tuple[str, str]] = {}
        for row in good_rows(table):
            found = looks.of(table["image"][row].as_py())
            if isinstance(found, BadImage):
                problems[row] = (found.reason, found.detail)
            else:
                small[row] = {"bytes": found, "path": None}
        table = table.append_column(pa.field("thumbnail", THUMBNAIL), pa.array(small, THUMBNAIL))
        return mark_problems(table, problems)


@lru_cache(maxsize=8)
def _looks(longest: int, is_fast: bool) -> Looks[bytes]:
    def see(picture: Picture) -> bytes:
        return thumbnail(picture.pixels(2 * longest if is_fast else None), longest)

    return Looks(see)
