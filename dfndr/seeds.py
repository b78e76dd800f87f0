"""Randomness as a pure function of its names: the same seed and key give the same numbers everywhere, in any order."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["hash_fraction", "hash_int", "rng_for"]


def hash_int(seed: int, *key: str | int) -> int:
    """Return 64 bits of sha256 over the seed and the key; parts are length-prefixed, so ("a", "b") is not ("ab",)."""
    digest = hashlib.sha256()
    for part in (seed, *key):
        data = f"{type(part).__name__}:{part}".encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return int.from_bytes(digest.digest()[:8], "little")


def hash_fraction(seed: int, *key: str | int) -> float:
    """Return a number in [0, 1), uniform over keys."""
    return hash_int(seed, *key) / 2**64


def rng_for(seed: int, *key: str | int) -> np.random.Generator:
    """Return a NumPy generator that depends on the seed and the key alone."""
    import numpy as np

    return np.random.Generator(np.random.Philox(key=hash_int(seed, *key)))
