"""Rows whose pictures are at hand: their size, sha256 and thumbnail, and whether the views can be of that picture.

A column `picture` says `found`, or why a row has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dfndr.errors import DataError
from dfndr.views import parse_views
from dfndr_builders.inspect import Inspect
from dfndr_builders.stage import Chain, Stage, Step, good_rows, mark_problems
from dfndr_builders.thumbnail import THUMBNAIL, Thumbnail

__all__ = [
    "FOUND",
    "PICTURE",
    "LookAtPictures",
    "Missing",
    "SettlePictures",
    "looking",
    "told_of",
    "with_picture_columns",
    "with_pictures",
]

Missing = Literal["keep", "drop"]
"""What becomes of a row without a picture."""

FOUND = "found"
PICTURE = (
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("thumbnail", THUMBNAIL),
    pa.field("picture", pa.string()),
)
"""What is told of each row's picture, besides its `sha256`."""

_GIVEN = ("uid", "key", "image", "problem", "detail")


def looking(longest: int) -> Stage:
    """Return the stage that takes from pictures what is kept of them: no thumbnail where `longest` is 0."""
    return Chain((Inspect(), *([Thumbnail(longest)] if longest else [])))


def with_picture_columns(schema: pa.Schema) -> pa.Schema:
    """Return an import's schema with what is told of pictures; `recorded_sha256` is what the files said of them."""
    recorded = [pa.field("recorded_sha256", pa.string())] if "sha256" in schema.names else []
    added = [pa.field("sha256", pa.string()), *PICTURE, *recorded]
    return pa.schema([*schema, *(field for field in added if field.name not in schema.names)])


def with_pictures(table: pa.Table, told: pa.Table) -> pa.Table:
    """Return a table of an import's rows with what is told of the picture of each, as `told_of` gives it."""
    found = pc.equal(told["picture"], FOUND).to_numpy()
    columns = {name: table[name] for name in table.column_names}
    if "sha256" in columns:
        columns["recorded_sha256"] = columns["sha256"]
    for field in (pa.field("sha256", pa.string()), *PICTURE[:3]):
        own = columns.get(field.name, pa.chunked_array([pa.nulls(len(table), field.type)]))
        columns[field.name] = _either(found, told[field.name], own)
    columns["picture"] = told["picture"]
    schema = with_picture_columns(table.schema)
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _either(is_first: npt.NDArray[np.bool_], first: pa.ChunkedArray, second: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the first column's value where that is wanted, else the second's; structs too."""
    rows = np.arange(len(is_first), dtype=np.int64)
    both = pa.chunked_array([*first.chunks, *second.chunks], first.type)
    return both.take(pa.array(np.where(is_first, rows, len(rows) + rows)))


@dataclass(frozen=True)
class LookAtPictures:
    """Fill the columns of the picture from the column `image`; a row is left with the reason why it has none."""

    longest: int

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return the given schema with the columns of the picture."""
        return with_picture_columns(given)

    def open(self) -> Step:
        """Nothing to load."""
        look = looking(self.longest).open()

        def step(table: pa.Table) -> pa.Table:
            fresh = table.select(_GIVEN)
            for name in ("problem", "detail"):
                fresh = fresh.set_column(fresh.schema.get_field_index(name), name, pa.nulls(len(table), pa.string()))
            absent = {row: ("image_missing", "no picture") for row in _rows_without(table["image"])}
            return with_pictures(table, told_of(look(mark_problems(fresh, absent))))

        return step


def _rows_without(images: pa.ChunkedArray) -> list[int]:
    sizes = pc.fill_null(pc.binary_length(images), 0).to_pylist()
    return [row for row, size in enumerate(sizes) if not size]


def told_of(seen: pa.Table) -> pa.Table:
    """Return what was seen of pictures as `sha256` and the columns of `PICTURE`."""
    columns = {
        field.name: seen[field.name] if field.name in seen.column_names else pa.nulls(len(seen), field.type)
        for field in (pa.field("sha256", pa.string()), *PICTURE[:3])
    }
    return pa.table({**columns, "picture": pc.coalesce(seen["problem"], pa.scalar(FOUND))})


@dataclass(frozen=True)
class SettlePictures:
    """Take a picture that the row's views were not cut from for none, and do with rows without one as asked.

    Such a row is kept with its vectors, or it fails as `image_missing` (`text_missing`, ... where its text is).
    """

    missing: Missing

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return the given schema."""
        return given

    def open(self) -> Step:
        """Nothing to load."""
        return self._step

    def _step(self, table: pa.Table) -> pa.Table:
        outside = _views_outside(table)
        if outside:
            table = _without_pictures(table, outside)
        if self.missing == "keep":
            return table
        told, good = table["picture"].to_pylist(), good_rows(table)
        problems = {
            row: (told[row] if told[row] in _REASONS else "image_missing", outside.get(row, f"no picture: {told[row]}"))
            for row in good
            if told[row] != FOUND
        }
        return mark_problems(table, problems)


_REASONS = ("image_unreadable", "image_too_large", "image_too_small", "image_empty")
OUTSIDE = "views_outside"


def _views_outside(table: pa.Table) -> dict[int, str]:
    """Return, by row, which view's box lies outside the picture that was found."""
    if "views" not in table.column_names:
        return {}
    found = {}
    for row in good_rows(table):
        told = table["views"][row].as_py()
        size = (table["width"][row].as_py(), table["height"][row].as_py())
        if told is None or None in size:
            continue
        try:
            odd = [number for number, view in enumerate(parse_views(told)) if not view.is_inside(size)]
        except DataError:
            continue  # the layout has said so already
        if odd:
            found[row] = f"view {odd[0]}, {told[odd[0]]}, was not cut from a picture of {size[0]} x {size[1]}"
    return found


def _without_pictures(table: pa.Table, rows: dict[int, str]) -> pa.Table:
    is_fine = np.array([row not in rows for row in range(len(table))])
    recorded = {"sha256": table["recorded_sha256"]} if "recorded_sha256" in table.column_names else {}
    for field in (pa.field("sha256", pa.string()), *PICTURE[:3]):
        nothing = pa.chunked_array([pa.nulls(len(table), field.type)])
        instead = recorded.get(field.name, nothing)
        place = table.schema.get_field_index(field.name)
        table = table.set_column(place, field, _either(is_fine, table[field.name], instead))
    told = pc.if_else(pa.array(is_fine), table["picture"], OUTSIDE)
    return table.set_column(table.schema.get_field_index("picture"), PICTURE[3], told)
