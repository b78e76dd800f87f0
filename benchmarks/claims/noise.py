"""The noise process: from clean pairs to a pool whose truth is known, a pure function of (seed, purpose).

Each pair of the pool is of one kind, in exact shares (largest remainders), in a drawn order:

- `good`: the picture with a prompt of its class;
- `swapped`: the picture with a prompt of another class, any of the nine alike;
- `junk`: the picture with a text that says nothing of any picture (`captions.JUNK`);
- `corrupted`: the right prompt, and a picture that is spoilt: noise over it, a flat colour, or blurred to 3 x 3 pixels;
- `duplicated`: one of a few pictures that come again and again, each time with a prompt of a wrong class.

All but `good` are what a filter should drop.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from benchmarks.claims.captions import CLASSES, caption_of, junk_text
from dfndr.seeds import rng_for

__all__ = ["KINDS", "SHARES", "Pair", "clean_pairs", "corrupt", "kinds_of", "noisy_pairs"]

KINDS = ("good", "swapped", "junk", "corrupted", "duplicated")
SHARES: Mapping[str, float] = {"good": 0.30, "swapped": 0.42, "junk": 0.10, "corrupted": 0.10, "duplicated": 0.08}
"""The pool's shares: 70 % of it is noise."""
_REPEATED = 20
"""How many pictures all duplicates are copies of."""


@dataclass(frozen=True)
class Pair:
    """A picture's bytes, its text, the class it really is of, and what the noise process did to it."""

    image: bytes
    text: str
    label: int
    kind: str


def kinds_of(count: int, shares: Mapping[str, float], rng: np.random.Generator) -> list[str]:
    """Return the kind of each of `count` pairs: exact shares (largest remainders) in a drawn order."""
    exact = np.array([shares[kind] * count for kind in KINDS])
    whole = np.floor(exact + 1e-9).astype(int)
    for place in np.argsort(whole - exact, kind="stable")[: count - whole.sum()]:
        whole[place] += 1
    kinds = np.repeat(np.array(KINDS), whole)
    return [str(kind) for kind in rng.permutation(kinds)]


def clean_pairs(samples: Sequence[tuple[bytes, int]], *, seed: int, purpose: str) -> list[Pair]:
    """Return each picture with a drawn prompt of its class."""
    rng = rng_for(seed, purpose, "captions")
    return [Pair(image, caption_of(label, rng), label, "good") for image, label in samples]


def noisy_pairs(
    samples: Sequence[tuple[bytes, int]], *, seed: int, purpose: str, shares: Mapping[str, float] = SHARES
) -> list[Pair]:
    """Return one pair for each picture, as the noise process leaves them."""
    rng = rng_for(seed, purpose, "noise")
    kinds = kinds_of(len(samples), shares, rng)
    repeated = [samples[int(place)] for place in rng.choice(len(samples), min(_REPEATED, len(samples)), replace=False)]
    return [_spoilt(image, label, kind, repeated, rng) for (image, label), kind in zip(samples, kinds, strict=True)]


def _spoilt(
    image: bytes, label: int, kind: str, repeated: Sequence[tuple[bytes, int]], rng: np.random.Generator
) -> Pair:
    if kind == "duplicated":
        image, label = repeated[int(rng.integers(len(repeated)))]
    if kind in ("swapped", "duplicated"):
        other = (label + 1 + int(rng.integers(len(CLASSES) - 1))) % len(CLASSES)
        return Pair(image, caption_of(other, rng), label, kind)
    if kind == "junk":
        return Pair(image, junk_text(rng), label, kind)
    if kind == "corrupted":
        return Pair(corrupt(image, rng), caption_of(label, rng), label, kind)
    return Pair(image, caption_of(label, rng), label, kind)


def corrupt(image: bytes, rng: np.random.Generator) -> bytes:
    """Return a PNG of the picture with what it showed gone: noise over it, a flat colour, or 3 x 3 blurred pixels."""
    with Image.open(io.BytesIO(image)) as file:
        picture = file.convert("RGB")
    way = int(rng.integers(3))
    if way == 0:
        pixels = np.asarray(picture, np.float64)
        picture = Image.fromarray(np.clip(0.1 * pixels + rng.normal(115, 60, pixels.shape), 0, 255).astype(np.uint8))
    elif way == 1:
        red, green, blue = (int(value) for value in rng.integers(256, size=3))
        picture = Image.new("RGB", picture.size, (red, green, blue))
    else:
        picture = picture.resize((3, 3), Image.Resampling.BOX).resize(picture.size, Image.Resampling.BICUBIC)
    file_out = io.BytesIO()
    picture.save(file_out, "png")
    return file_out.getvalue()
