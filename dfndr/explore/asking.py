"""From what was asked (words, a picture, a sample) to the nearest rows of one space."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from dfndr.dataset import Dataset
from dfndr.encoder import Encoded, Encoder
from dfndr.errors import DataError, UsageError
from dfndr.explore.indexes import Indexes
from dfndr.explore.reading import Reading
from dfndr.format.schema import Space
from dfndr.nearest import encoder_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Vectors = npt.NDArray[np.float32]

__all__ = ["Asking"]

_FEW = 20_000


class Asking:
    """The indexes and encoders of a dataset; each is made once, when it is first needed."""

    def __init__(
        self, reading: Reading, *, index: str | None = None, pretrained: str | None = None, device: str = "auto"
    ) -> None:
        self._reading, self._pretrained, self._device = reading, pretrained, device
        self.indexes = Indexes(reading, place=index)
        self._encoders: dict[str, Encoder] = {}
        self._encoding = threading.Lock()
        self.words = lru_cache(maxsize=256)(self._words)

    @property
    def _dataset(self) -> Dataset:
        return self._reading.dataset

    def _words(self, space: str, words: str) -> Vectors:
        """Return the vector of some words, shape (1, dim)."""
        if not words.strip():
            raise UsageError("search", expected="words to search by", found="none", do="Say what to look for.")
        encoder = self._encoder(self._dataset.space(space))
        with self._encoding:
            return _usable(encoder.encode_texts([words]))

    def picture(self, space: str, image: bytes) -> Vectors:
        """Return the vector of a picture, shape (1, dim); its header was checked by whoever took it."""
        encoder = self._encoder(self._dataset.space(space))
        with self._encoding:
            return _usable(encoder.encode_images([image]))

    def sample(self, space: str, row: int) -> Vectors:
        """Return the first vector of a row, shape (1, dim)."""
        import numpy as np

        vector = np.asarray(self._dataset.vectors(space, [row])[:, 0], dtype=np.float32)
        if not vector.any():
            do = "It has no caption, it seems; look in another space."
            raise UsageError(space, expected="a vector of this sample", found="none", do=do)
        return vector

    def _encoder(self, space: Space) -> Encoder:
        with self._encoding:
            if space.encoder not in self._encoders:
                shared = encoder_of(self._dataset, space, pretrained=self._pretrained, device=self._device)
                self._encoders[space.encoder] = shared.one_at_a_time()
            return self._encoders[space.encoder]

    def nearest(
        self, space: str, vector: Vectors, *, count: int, mask: Mask | None = None, leave_out: int | None = None
    ) -> list[tuple[int, float]]:
        """Return the `count` nearest rows that pass the mask, best first, with their cosines."""
        import numpy as np

        if mask is not None and int(mask.sum()) <= _FEW:
            return self._among(space, vector, np.flatnonzero(mask), leave_out)[:count]
        index, rows = self.indexes.of(space), self.indexes.rows_of(space)
        found = index.search(vector, k=count + 1, mask=None if mask is None else mask[rows])
        pairs = [
            (self._reading.row_of(str(uid)), float(score))
            for uid, score in zip(found.uids[0], found.scores[0], strict=True)
        ]
        return [(row, score) for row, score in pairs if row != leave_out][:count]

    def recall_of(self, space: str, mask: Mask | None = None) -> float:
        """Return the share of the ten nearest that such a search finds: 1 where every vector is looked at."""
        looked_at = mask is not None and int(mask.sum()) <= _FEW
        return 1.0 if looked_at else self.indexes.of(space).recall_at_10

    def _among(
        self, space: str, vector: Vectors, rows: npt.NDArray[np.int64], leave_out: int | None
    ) -> list[tuple[int, float]]:
        """Return some rows by their cosine, best first: every one is looked at."""
        import numpy as np

        rows = rows[rows != leave_out] if leave_out is not None else rows
        query = vector[0].astype(np.float64)
        vectors = self._dataset.vectors(space, rows).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = vectors @ query / (np.linalg.norm(vectors, axis=2) * np.linalg.norm(query))
        best = np.where(np.isnan(scores), -np.inf, scores).max(axis=1, initial=-np.inf)
        order = [place for place in np.argsort(-best, kind="stable") if np.isfinite(best[place])]
        return [(int(rows[place]), float(best[place])) for place in order]


def _usable(encoded: Encoded) -> Vectors:
    if encoded.problems:
        reason, detail = encoded.problems[0]
        raise DataError("query", expected="something to embed", found=f"{reason}: {detail}", do="Try another one.")
    return encoded.vectors
