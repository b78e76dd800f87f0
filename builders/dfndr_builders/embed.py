"""Embedding: images, texts or captions into one column of vectors, which a shard stores as a space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.encoder import Encoded, Encoder, open_encoder
from dfndr.errors import DataError
from dfndr.format.schema import Space
from dfndr.looks import Looks
from dfndr.models import EncoderSpec
from dfndr.views.view import View, parse_views
from dfndr_builders.stage import Step, good_rows, mark_problems, require
from dfndr_builders.vectors import vectors_column, vectors_type
from dfndr_builders.views import VIEWS

__all__ = ["Embed"]

_COLUMN = {
    "image": ("image", pa.large_binary()),
    "text": ("text", pa.string()),
    "caption": ("captions", pa.list_(pa.string())),
}


@dataclass(frozen=True)
class Embed:
    """Add the column `space.name`: per row `per_row` vectors in the storage type, rounded once from float32.

    A row with fewer captions than `per_row` has zeros in the places left free. With `views` an image space holds
    the vectors of the views in the column `views`, which are `per_row` in each row.
    """

    space: Space
    encoder: EncoderSpec
    views: bool = False

    @property
    def looks(self) -> tuple[Looks[npt.NDArray[np.uint8]], ...]:
        """What its encoder is shown of each row's picture."""
        return (open_encoder(self.encoder).looks,) if self.space.modality == "image" and not self.views else ()

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return the given schema with the column of vectors."""
        name, kind = _COLUMN[self.space.modality]
        require(f"embed {self.space.name}", given, {name: kind} | ({"views": VIEWS.type} if self.views else {}))
        return given.append(pa.field(self.space.name, vectors_type(self.space)))

    def open(self) -> Step:
        """Load the model."""
        encoder = open_encoder(self.encoder)
        field = pa.field(self.space.name, vectors_type(self.space))

        def step(table: pa.Table) -> pa.Table:
            rows = good_rows(table)
            blocks = np.zeros((len(table), self.space.per_row, self.space.dim), dtype=np.float32)
            problems: dict[int, tuple[str, str]] = {}
            given = [table[_COLUMN[self.space.modality][0]][row].as_py() for row in rows]
            places = [
                (row, place) for row, value in zip(rows, given, strict=True) for place in range(self._used(value))
            ]
            views = [self._its_views(table["views"][row].as_py()) for row in rows] if self.views else []
            encoded = self._encode(encoder, given, views)
            for number, (row, place) in enumerate(places):
                if number in encoded.problems:
                    problems.setdefault(row, encoded.problems[number])
                else:
                    blocks[row, place] = encoded.vectors[number]
            return mark_problems(table.append_column(field, vectors_column(blocks, field.type)), problems)

        return step

    def _used(self, value: object) -> int:
        if self.space.modality == "caption":
            return min(len(cast("list[str]", value)), self.space.per_row)
        return self.space.per_row

    def _encode(self, encoder: Encoder, given: list[object], views: list[tuple[View, ...]]) -> Encoded:
        if self.views:
            return encoder.encode_views(cast("list[bytes]", given), views)
        if self.space.modality == "image":
            return encoder.encode_images(cast("list[bytes]", given))
        if self.space.modality == "text":
            return encoder.encode_texts(cast("list[str]", given))
        captions = cast("list[list[str]]", given)
        return encoder.encode_texts([caption for row in captions for caption in row[: self.space.per_row]])

    def _its_views(self, told: list[str]) -> tuple[View, ...]:
        views = parse_views(told)
        if len(views) != self.space.per_row:
            expected, do = f"{self.space.per_row} views in each row", "Report this: a stage broke its promise."
            raise DataError(f"embed {self.space.name}", expected=expected, found=str(len(views)), do=do)
        return views
