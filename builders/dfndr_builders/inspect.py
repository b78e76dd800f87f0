"""The first stage: what a sample's bytes say before any model sees them, and what is wrong with them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from dfndr.images import BadImage, inspect
from dfndr_builders.stage import Step, good_rows, mark_problems, require

__all__ = ["Inspect"]


@dataclass(frozen=True)
class Inspect:
    """Add `sha256` of the image bytes (64 hex digits) and `width` and `height` in pixels, from the header alone.

    Rows whose header is unreadable, too large or too small get their reason here and are never decoded.
    """

    is_light: ClassVar[bool] = True

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return the given schema with the three columns."""
        require("inspect", given, {"image": pa.large_binary(), "problem": pa.string()})
        added = [("sha256", pa.string()), ("width", pa.int32()), ("height", pa.int32())]
        return pa.schema([*given, *(pa.field(name, kind) for name, kind in added)])

    def open(self) -> Step:
        """Nothing to load."""
        return self._step

    def _step(self, table: pa.Table) -> pa.Table:
        schema, count = self.schema(table.schema), len(table)
        hashes: list[str | None] = [None] * count
        widths: list[int | None] = [None] * count
        heights: list[int | None] = [None] * count
        problems: dict[int, tuple[str, str]] = {}
        for row in good_rows(table):
            image = table["image"][row].as_py()
            hashes[row] = hashlib.sha256(image).hexdigest()
            try:
                widths[row], heights[row], _ = inspect(image)
            except BadImage as bad:
                problems[row] = (bad.reason, bad.detail)
        for name, values in (("sha256", hashes), ("width", widths), ("height", heights)):
            table = table.append_column(schema.field(name), pa.array(values, schema.field(name).type))
        return mark_problems(table, problems)
