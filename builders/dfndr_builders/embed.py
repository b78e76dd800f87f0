"""Embedding: images, texts or captions into one column of vectors, which a shard stores as a space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa

from dfndr.encoder import Encoded, Encoder, open_encoder
from dfndr.format.schema import Space
from dfndr.models import EncoderSpec
from dfndr_builders.stage import Step, good_rows, mark_problems, require
from dfndr_builders.vectors import vectors_column, vectors_type

__all__ = ["Embed"]

_COLUMN = {
    "image": ("image", pa.large_binary()),
    "text": ("text", pa.string()),
    "caption": ("captions", pa.list_(pa.string())),
}


@dataclass(frozen=True)
class Embed:
    """Add the column `space.name`: per row `per_row * dim` numbers of the storage type, cast once from float32.

    A row with fewer captions than `per_row` has zeros in the places left free. One forward pass per batch.
    """

    space: Space
    encoder: EncoderSpec

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return the given schema with the column of vectors."""
        name, kind = _COLUMN[self.space.modality]
        require(f"embed {self.space.name}", given, {name: kind})
        return given.append(pa.field(self.space.name, vectors_type(self.space)))

    def open(self) -> Step:
        """Load the model."""
        encoder = open_encoder(self.encoder)
        field = pa.field(self.space.name, vectors_type(self.space))

        def step(table: pa.Table) -> pa.Table:
            rows = good_rows(table)
            blocks = np.zeros((len(table), self.space.per_row, self.space.dim), dtype=self.space.dtype)
            problems: dict[int, tuple[str, str]] = {}
            given = [table[_COLUMN[self.space.modality][0]][row].as_py() for row in rows]
            places = [
                (row, place) for row, value in zip(rows, given, strict=True) for place in range(self._used(value))
            ]
            encoded = self._encode(encoder, given)
            for number, (row, place) in enumerate(places):
                if number in encoded.problems:
                    problems.setdefault(row, encoded.problems[number])
                else:
                    blocks[row, place] = encoded.vectors[number]
            return mark_problems(table.append_column(field, vectors_column(blocks)), problems)

        return step

    def _used(self, value: object) -> int:
        return min(len(cast("list[str]", value)), self.space.per_row) if self.space.modality == "caption" else 1

    def _encode(self, encoder: Encoder, given: list[object]) -> Encoded:
        if self.space.modality == "image":
            return encoder.encode_images(cast("list[bytes]", given))
        if self.space.modality == "text":
            return encoder.encode_texts(cast("list[str]", given))
        captions = cast("list[list[str]]", given)
        return encoder.encode_texts([caption for row in captions for caption in row[: self.space.per_row]])
