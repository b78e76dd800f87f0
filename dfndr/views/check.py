"""What is wrong with the views of rows: docs/format.md says what they should be."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from dfndr.errors import DataError
from dfndr.views.view import parse_views

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["defects"]


def defects(rows: pa.RecordBatch, per_row: Collection[int]) -> Iterator[tuple[int, str, str]]:
    """Yield the place of each row whose column `views` is not as it should be, what was expected and what found.

    `per_row` are the numbers of vectors that the image spaces have in each row; sizes that are null are not compared.
    """
    if "views" not in rows.schema.names:
        return
    unknown = [None] * len(rows)
    sizes = [rows[name].to_pylist() if name in rows.schema.names else unknown for name in ("width", "height")]
    for row, (given, width, height) in enumerate(zip(rows["views"].to_pylist(), *sizes, strict=True)):
        try:
            views = parse_views(given)
        except DataError as error:
            yield row, error.expected, f"{error.found} ({error.where})"
            continue
        if any(len(views) != count for count in per_row):
            yield row, f"{' and '.join(map(str, sorted(per_row)))} views, a vector each", f"{len(views)} views"
        if width is not None and height is not None:
            outside = [number for number, view in enumerate(views) if not view.is_inside((width, height))]
            if outside:
                yield row, f"boxes inside {width} x {height} pixels", f"another one ({outside[0]}): {given[outside[0]]}"
