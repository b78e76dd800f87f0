"""The prompts that stand for captions of CIFAR-10, and the texts that stand for those of the web."""

from __future__ import annotations

import numpy as np

__all__ = ["CLASSES", "JUNK", "PROMPTS", "caption_of", "junk_text"]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

PROMPTS = (
    "a photo of a {}.",
    "a small photo of a {}.",
    "a blurry photo of a {}.",
    "a photo of the {}.",
    "a picture of a {}.",
    "the {} in the picture.",
    "one {}.",
    "this is a {}.",
)

JUNK = (
    "DSC{:05d}.jpg",
    "IMG {:04d}",
    "untitled image {}",
    "click to enlarge ({})",
    "plot of chunk unnamed-{}",
    "product {} free shipping",
    "page {} of the gallery",
    "see more at number {}",
)
"""Texts that say nothing of any picture, as alt texts of the web often do."""


def caption_of(label: int, rng: np.random.Generator) -> str:
    """Return one of the prompts, drawn, for a class."""
    return PROMPTS[int(rng.integers(len(PROMPTS)))].format(CLASSES[label])


def junk_text(rng: np.random.Generator) -> str:
    """Return a text that says nothing of any picture."""
    return JUNK[int(rng.integers(len(JUNK)))].format(int(rng.integers(10_000)))
