"""What a masked autoencoder looks like, and how pairs are made ready for it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dfndr.errors import RecipeError
from dfndr_builders.measure.ngrams import tokens

__all__ = ["Shape", "masked_of", "words_of"]


@dataclass(frozen=True)
class Shape:
    """The network's shape and how much of a pair it does not see.

    A picture is its middle square of `side` pixels in patches of `patch`; a text its first `words` words, each one of
    `buckets` by its hash. `image_mask` and `text_mask` are the shares of patches and of words that are hidden.
    """

    side: int = 32
    patch: int = 8
    words: int = 16
    buckets: int = 4096
    width: int = 64
    layers: int = 3
    heads: int = 4
    image_mask: float = 0.75
    text_mask: float = 0.75

    def __post_init__(self) -> None:
        sizes = (self.side, self.patch, self.words, self.buckets, self.width, self.layers, self.heads)
        if min(sizes) < 1 or max(sizes) > 1 << 20 or self.side % self.patch or self.width % (2 * self.heads):
            expected = "sizes of 1 and more; patch divides side, twice heads divides width"
            raise RecipeError("m3ae", expected=expected, found=str(sizes), do="Mend the one that does not fit.")
        if self.side == self.patch or not (0 < self.image_mask < 1 and 0 < self.text_mask <= 1):
            expected = "two patches and more, image_mask within (0, 1), text_mask within (0, 1]"
            found = f"{self.patches} patches, {self.image_mask}, {self.text_mask}"
            raise RecipeError("m3ae", expected=expected, found=found, do="Mend the one that does not fit.")

    @property
    def patches(self) -> int:
        """How many patches a picture has."""
        return (self.side // self.patch) ** 2

    @property
    def hidden_patches(self) -> int:
        """How many of them are hidden: at least one, and never all."""
        return int(masked_of(np.array(self.patches), self.image_mask).clip(1, self.patches - 1))


def masked_of(count: npt.NDArray[np.int64], share: float) -> npt.NDArray[np.int64]:
    """Return how many of so many are hidden: the share, rounded, and at least one where there is any."""
    hidden = np.maximum(1, np.rint(count * share).astype(np.int64))
    return np.asarray(np.minimum(count, hidden), dtype=np.int64)


def words_of(texts: Sequence[str], shape: Shape) -> npt.NDArray[np.int64]:
    """Return each text's words as numbers of shape (n, words): 1 + crc32 of the word modulo `buckets`; 0 is no word."""
    found = np.zeros((len(texts), shape.words), dtype=np.int64)
    for row, text in enumerate(texts):
        for place, word in enumerate(tokens(text)[: shape.words]):
            found[row, place] = 1 + zlib.crc32(word.encode()) % shape.buckets
    return found
