"""Captions from a bank: the texts nearest to a picture by the similarity of the model that scores them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dfndr.dataset import open_dataset
from dfndr.errors import DataError
from dfndr_builders.captions.captioner import SEED_RULE, Asked, CaptionerRecord, Unwritten, Write, Written

__all__ = ["Retrieval"]


@dataclass(frozen=True)
class Retrieval:
    """Caption number n is the text of the bank that is the n-th nearest to the picture; of equal ones the earlier.

    `bank` is the root of a dataset of distinct texts with the space `text/<scorer>`, `digest` that of its content.
    Nothing is drawn: a caption's seed is only kept, and another attempt gives the same.
    """

    name: str
    bank: str
    scorer: str
    digest: str
    license: str

    def record(self) -> CaptionerRecord:
        """Return what it is; its revision is the digest of the bank."""
        return CaptionerRecord(
            "retrieval", f"a bank of texts by {self.scorer}", self.license, revision=self.digest, seed_rule=SEED_RULE
        )

    def open(self) -> Write:
        """Load the bank's texts and vectors."""
        bank = open_dataset(self.bank)
        texts = bank.rows(["text"])["text"].to_pylist()
        vectors = bank.vectors(f"text/{self.scorer}")[:, 0].astype(np.float32)
        nothing = Unwritten("none_left", f"the bank holds {len(texts):,} texts", final=True)

        def write(asked: Sequence[Asked]) -> list[list[Written]]:
            if not asked:
                return []
            similarity = np.stack([_vector(one) for one in asked]) @ vectors.T
            found: list[list[Written]] = []
            for row, one in zip(similarity, asked, strict=True):
                places = _nearest(row, min(max(one.numbers, default=-1) + 1, len(texts)))
                found.append([texts[places[number]] if number < len(places) else nothing for number in one.numbers])
            return found

        return write


def _vector(asked: Asked) -> npt.NDArray[np.float32]:
    if asked.vector is None:
        do = "Report this: the stage that asks has it."
        raise DataError(f"uid {asked.uid}", expected="the picture's vector", found="none", do=do)
    return asked.vector


def _nearest(similarity: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.int64]:
    """Return the places of the `count` largest values, largest first, equal ones in order."""
    if count == 0:
        return np.empty(0, dtype=np.int64)
    lowest = np.partition(similarity, -count)[-count]
    places = np.flatnonzero(similarity >= lowest)
    return places[np.argsort(-similarity[places], kind="stable")][:count]
