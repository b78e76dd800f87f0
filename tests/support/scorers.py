"""Images whose label is a noisy function of one planted direction, and scorers of them."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pyarrow as pa
import pytest

from support.tiny import CAPTION, IMAGE, TEXT, write_dataset

pytest.importorskip("safetensors.numpy", reason="scorers are kept as safetensors")

from dfndr.format.schema import Space
from dfndr.heads.scorer import Fits, Scorer, ScorerOrigin
from dfndr.seeds import rng_for

__all__ = ["DIM", "DIRECTION", "FITS", "ORIGIN", "OTHER", "ROWS", "SPACES", "planted", "scorer_of", "vectors_of"]

ROWS, DIM = 900, 8
OTHER = Space("image", "other", dim=DIM)
SPACES = (IMAGE, TEXT, CAPTION, OTHER)
DIRECTION = np.array([2.0, -1, 0, 0, 3, 0, 0, 1]) / math.sqrt(15)
ORIGIN = ScorerOrigin("tiny", "0" * 64, "image/enc", {"l2": 0.1}, {"held_out": None})
FITS = Fits("image", "enc", hashlib.sha256(b"enc").hexdigest(), DIM)


def vectors_of(rows=ROWS, *, offset=0.0):
    drawn = rng_for(3, "scorer").standard_normal((rows, DIM)) + offset
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Images whose label is a noisy function of one direction; a few rows have no label."""
    images = vectors_of(offset=0.4)
    chance = 1 / (1 + np.exp(-12 * (images @ DIRECTION - 0.2)))
    labels = rng_for(3, "labels").random(ROWS) < chance
    columns = {
        "good": labels,
        "some": pa.array([None if row % 7 == 0 else bool(label) for row, label in enumerate(labels)]),
        "always": [True] * ROWS,
        "captions": pa.array([["caption"] * (row % 4) for row in range(ROWS)], pa.list_(pa.string())),
    }
    root = tmp_path_factory.mktemp("planted")
    splits = ["train", "train", "train", "validation"]
    return write_dataset(
        root, [300, 0, 300, 300], SPACES, vectors={"image/enc": images}, columns=columns, splits=splits
    )


def scorer_of(weight=DIRECTION, bias=0.25, fits=FITS, origin=ORIGIN):
    return Scorer(np.asarray(weight, dtype=np.float64), bias, fits, origin)
