"""How much a picture looks like those of good pools, as a score: a trained classifier of `image_classifier`."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from dfndr.models import EncoderSpec
from dfndr_builders.image_classifier.model import ImageClassifier
from dfndr_builders.score.column import with_scores
from dfndr_builders.stage import Step, good_rows, require

__all__ = ["ImageClassifierScore"]


@dataclass(frozen=True)
class ImageClassifierScore:
    """Add column `name`: the log-odds, float32, that a picture is one of the good ones; the text is not looked at.

    `folder` holds what `ImageClassifier.save` wrote, `encoder` is what a linear one looks at. A row whose picture
    cannot be decoded gets that reason and a null score.
    """

    name: str
    folder: str
    encoder: EncoderSpec | None = None
    batch_size: int = 64
    threads: int = 2
    device: str = "auto"

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return the given schema with the score's column."""
        require(f"score {self.name!r}", given, {"image": pa.large_binary(), "problem": pa.string()})
        return given.append(pa.field(self.name, pa.float32()))

    def open(self) -> Step:
        """Load the weights."""
        shape = {"batch_size": self.batch_size, "threads": self.threads}
        log_odds = ImageClassifier.load(self.folder).open(self.encoder, **shape, device=self.device)

        def step(table: pa.Table) -> pa.Table:
            rows = good_rows(table)
            scores, problems = log_odds([table["image"][row].as_py() for row in rows])
            return with_scores(table, self.name, rows, scores, problems)

        return step
