"""How much a text reads like curated captions, as a score: a trained classifier of `dfndr_builders.text_quality`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dfndr_builders.stage import Step, good_rows, require
from dfndr_builders.text_quality import TextQuality

__all__ = ["TextQualityScore"]


@dataclass(frozen=True)
class TextQualityScore:
    """Add column `name`: the probability in [0, 1], float32, that a text is curated; null for rows with a problem.

    `folder` holds what `TextQuality.save` wrote.
    """

    name: str
    folder: str

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return the given schema with the score's column."""
        require(f"score {self.name!r}", given, {"text": pa.string(), "problem": pa.string()})
        return given.append(pa.field(self.name, pa.float32()))

    def open(self) -> Step:
        """Load the weights."""
        model = TextQuality.load(self.folder)

        def step(table: pa.Table) -> pa.Table:
            texts = table["text"].to_pylist()
            rows = [row for row in good_rows(table) if texts[row] is not None]
            scores = np.zeros(len(table), dtype=np.float32)
            is_null = np.ones(len(table), dtype=bool)
            scores[rows], is_null[rows] = model.score([texts[row] for row in rows]), False
            column = pa.array(scores, pa.float32(), mask=is_null)
            return table.append_column(self.schema(table.schema).field(self.name), column)

        return step
