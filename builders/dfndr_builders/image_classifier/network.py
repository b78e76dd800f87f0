"""A small convolutional network that gives one number for each picture."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Conv"]


@dataclass(frozen=True)
class Conv:
    """The network's shape: pictures of `side` pixels, and `width` channels, which double twice.

    Four convolutions of 3 x 3, each with stride 2, batch norm and ReLU; the mean over what is left; one linear layer.
    """

    side: int = 32
    width: int = 32

    def make(self) -> Any:  # noqa: ANN401  a torch module
        """Return the network: from pixels, uint8 of shape (n, side, side, 3), to log-odds of shape (n,)."""
        from torch import nn

        widths = [3, self.width, 2 * self.width, 4 * self.width, 4 * self.width]
        layers: list[Any] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 1), nn.Flatten(0))

    def ready(self, pixels: npt.NDArray[np.uint8]) -> Any:  # noqa: ANN401  a torch tensor
        """Return what the network takes: float32 of shape (n, 3, side, side), about -2 to 2."""
        import torch

        return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
