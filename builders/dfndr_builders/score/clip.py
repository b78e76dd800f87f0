"""The data filtering network as a score: cosine between a CLIP model's image and text features (arXiv 2309.17425)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.encoder import open_encoder
from dfndr.format.schema import Space
from dfndr.looks import Looks
from dfndr.models import EncoderSpec
from dfndr_builders.stage import Step, good_rows, mark_problems, require
from dfndr_builders.vectors import vectors_column, vectors_type

__all__ = ["ClipScore"]


@dataclass(frozen=True)
class ClipScore:
    """Add column `name`: the cosine in [-1, 1], float32; the model's own preprocessing and tokenizer are used.

    The vectors it is made of are kept as columns where `spaces` asks for those of the image or the text. A row whose
    picture cannot be decoded, or whose score is not finite, gets that reason, a null score and vectors of zeros.
    """

    name: str
    encoder: EncoderSpec
    spaces: tuple[Space, ...] = ()

    @property
    def looks(self) -> tuple[Looks[npt.NDArray[np.uint8]], ...]:
        """What its encoder is shown of each row's picture."""
        return (open_encoder(self.encoder).looks,)

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return the given schema with the score's column."""
        require(f"score {self.name!r}", given, {"image": pa.large_binary(), "text": pa.string()})
        added = [
            pa.field(self.name, pa.float32()),
            *(pa.field(space.name, vectors_type(space)) for space in self.spaces),
        ]
        return pa.schema([*given, *added])

    def open(self) -> Step:
        """Load the model."""
        encoder = open_encoder(self.encoder)

        def step(table: pa.Table) -> pa.Table:
            rows = good_rows(table)
            images = encoder.encode_images([table["image"][row].as_py() for row in rows])
            texts = encoder.encode_texts([table["text"][row].as_py() for row in rows])
            cosines = np.einsum("nd,nd->n", images.vectors, texts.vectors, dtype=np.float64).astype(np.float32)
            size = len(table)
            scores: list[float | None] = [None] * size
            problems: dict[int, tuple[str, str]] = {}
            for place, row in enumerate(rows):
                bad = images.problems.get(place) or texts.problems.get(place)
                if bad is not None:
                    reason = "score_not_finite" if bad[0] == "vector_not_finite" else bad[0]
                    problems[row] = (reason, bad[1])
                else:
                    scores[row] = float(cosines[place])
            table = table.append_column(pa.field(self.name, pa.float32()), pa.array(scores, pa.float32()))
            for space in self.spaces:
                vectors = images.vectors if space.modality == "image" else texts.vectors
                blocks = np.zeros((size, 1, space.dim), dtype=np.float32)
                blocks[rows, 0] = vectors
                kind = vectors_type(space)
                table = table.append_column(pa.field(space.name, kind), vectors_column(blocks, kind))
            return mark_problems(table, problems)

        return step
