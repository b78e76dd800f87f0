"""Captioners: a batch of images in, per image a list of captions out, each with its model, its seed and its score.

Every captioner adds four list columns of one length per row: `captions`, `caption_models`, `caption_seeds` and
`caption_scores` (the cosine between the caption and its picture by the scorer named in the recipe).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.dataset import Dataset, open_dataset
from dfndr.encoder import open_encoder
from dfndr.models import EncoderSpec
from dfndr.seeds import hash_int
from dfndr_builders.stage import Step, good_rows, mark_problems, require

__all__ = ["CAPTION_FIELDS", "Caption", "CaptionStage", "Captioned", "Captioner", "Retrieval"]

CAPTION_FIELDS = (
    pa.field("captions", pa.list_(pa.string())),
    pa.field("caption_models", pa.list_(pa.string())),
    pa.field("caption_seeds", pa.list_(pa.int64())),
    pa.field("caption_scores", pa.list_(pa.float32())),
)


@dataclass(frozen=True)
class Caption:
    """One caption of one picture; `score` is its cosine to the picture."""

    text: str
    model: str
    seed: int
    score: float


Captioned = list[Caption] | tuple[str, str]
"""A picture's captions, or the reason and the detail for which it has none."""


class Captioner(Protocol):
    """Something that captions pictures; a frozen value, so that it can travel to a worker."""

    def open(self) -> Callable[[Sequence[str], Sequence[bytes]], list[Captioned]]:
        """Load what is heavy and return the function from (uids, image files) to captions, one entry per picture."""


@dataclass(frozen=True)
class CaptionStage:
    """The stage around a captioner."""

    captioner: Captioner

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return the given schema with the four list columns."""
        require("caption", given, {"uid": pa.string(), "image": pa.large_binary()})
        return pa.schema([*given, *CAPTION_FIELDS])

    def open(self) -> Step:
        """Open the captioner."""
        caption = self.captioner.open()

        def step(table: pa.Table) -> pa.Table:
            rows = good_rows(table)
            found = caption([table["uid"][row].as_py() for row in rows], [table["image"][row].as_py() for row in rows])
            captions: list[list[Caption]] = [[] for _ in range(len(table))]
            problems: dict[int, tuple[str, str]] = {}
            for row, entry in zip(rows, found, strict=True):
                if isinstance(entry, tuple):
                    problems[row] = entry
                elif not entry:
                    problems[row] = ("caption_failed", "the captioner gave an empty list")
                else:
                    captions[row] = entry
            for field, part in zip(CAPTION_FIELDS, ("text", "model", "seed", "score"), strict=True):
                values = [[getattr(caption, part) for caption in row] for row in captions]
                table = table.append_column(field, pa.array(values, field.type))
            return mark_problems(table, problems)

        return step


@dataclass(frozen=True)
class Retrieval:
    """Captions from a bank: the `per_image` distinct texts nearest to the picture by the scorer's own similarity.

    `bank` is the root of a dataset with the space `text/<scorer>`; equal similarities go to the earlier text. It
    invents nothing, so `seed` is only the record of (recipe seed, uid) that every captioner keeps.
    """

    bank: str
    scorer: EncoderSpec
    per_image: int
    seed: int

    def open(self) -> Callable[[Sequence[str], Sequence[bytes]], list[Captioned]]:
        """Load the bank's vectors and the scorer."""
        encoder = open_encoder(self.scorer)
        bank: Dataset = open_dataset(self.bank)
        texts = bank.rows(["text"])["text"].to_pylist()
        vectors = bank.vectors(f"text/{self.scorer.name}")[:, 0].astype(np.float32)
        wanted = min(self.per_image, len(texts))

        def caption(uids: Sequence[str], images: Sequence[bytes]) -> list[Captioned]:
            encoded = encoder.encode_images(images)
            similarity = encoded.vectors @ vectors.T
            nearest = [_nearest(row, wanted) for row in similarity]
            return [
                encoded.problems[row]
                if row in encoded.problems
                else [
                    Caption(
                        texts[place],
                        f"retrieval:{self.scorer.name}",
                        hash_int(self.seed, "caption", uid, number) >> 1,
                        float(similarity[row, place]),
                    )
                    for number, place in enumerate(nearest[row])
                ]
                for row, uid in enumerate(uids)
            ]

        return caption


def _nearest(similarity: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.int64]:
    """Return the places of the `count` largest values, largest first, equal ones in order."""
    lowest = np.partition(similarity, -count)[-count]
    places = np.flatnonzero(similarity >= lowest)
    return places[np.argsort(-similarity[places], kind="stable")][:count]
