"""What every captioner is: a frozen value that opens into a function from pictures to captions.

A caption is named by its picture's uid and its own number, and has randomness of its own: it depends on neither the
other captions of the picture, nor the other pictures of a batch, nor the other captioners of a recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from dfndr.format.captioner import CaptionerRecord
from dfndr.seeds import hash_int

__all__ = ["SEED_RULE", "Asked", "Captioner", "CaptionerRecord", "Unwritten", "Write", "Written", "caption_seed"]

SEED_RULE = "hash_int(seed, 'caption', captioner, uid, number, attempt) >> 1"
"""What a caption's seed is made of, as records say it."""


@dataclass(frozen=True)
class Asked:
    """One picture, and which of its captions are wanted now, by their numbers.

    `attempt` is raised each time that a caption is asked for again, and gives it another seed. `vector` is the
    picture's unit vector by the model that the captions will be scored with.
    """

    uid: str
    image: bytes
    numbers: tuple[int, ...]
    attempt: int = 0
    vector: npt.NDArray[np.float32] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Unwritten:
    """Why there is no caption: a reason of one word, to be counted by, and more in words.

    `final` says that to ask for it again is of no use.
    """

    reason: str
    detail: str = ""
    final: bool = False


Written: TypeAlias = str | Unwritten
Write: TypeAlias = Callable[[Sequence[Asked]], list[list[Written]]]
"""From pictures to a list for each of them, with an entry for each number that was asked for."""


class Captioner(Protocol):
    """Something that writes captions of pictures; a frozen value, so that it can travel to a worker."""

    @property
    def name(self) -> str:
        """What the recipe calls it: part of every caption's seed, and the word in the column `caption_models`."""

    def open(self) -> Write:
        """Load what is heavy, once per worker, and return the function that writes."""

    def record(self) -> CaptionerRecord:
        """Return what it is; all that its captions depend on, but for the recipe's seed. `asked` is left empty."""


def caption_seed(seed: int, name: str, asked: Asked, number: int, *, attempt: int | None = None) -> int:
    """Return the seed of one caption, 63 bits; `seed` is the recipe's, `name` the captioner's."""
    return hash_int(seed, "caption", name, asked.uid, number, asked.attempt if attempt is None else attempt) >> 1
