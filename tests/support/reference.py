"""The features that the published losses of reinforced training were computed on, float64."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize


def features(rows, dim, shift):
    """Rows of unit length: sin(0.7 i d + 1.3 j + shift) before that."""
    row, column = torch.arange(rows, dtype=torch.float64)[:, None], torch.arange(dim, dtype=torch.float64)
    return normalize(torch.sin(0.7 * row * dim + 1.3 * column + shift), dim=1)


def blocks(shift, rows=4, dim=6):
    """One batch's vectors by two teachers."""
    return features(rows, dim, shift), features(rows, dim, shift + 0.25)


STUDENT = {"images": features(4, 8, 0.0), "real": features(4, 8, 0.5), "synthetic": features(4, 8, 1.0)}
TEACHERS = {"images": blocks(2.0), "real": blocks(2.3), "synthetic": blocks(2.6)}
STUDENT_SCALE = 20.0
