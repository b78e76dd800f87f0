"""Contrastive losses over a square of logits in which image i belongs to text i and to no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

__all__ = ["LOSSES", "LossName", "clip_loss", "siglip_loss"]

LossName = Literal["clip", "siglip"]


def clip_loss(logits: torch.Tensor) -> torch.Tensor:
    """Return the symmetric cross-entropy (InfoNCE) of logits of shape (n, n): Radford et al. 2021, figure 3."""
    import torch
    from torch.nn.functional import cross_entropy

    matching = torch.arange(len(logits), device=logits.device)
    return (cross_entropy(logits, matching) + cross_entropy(logits.T, matching)) / 2


def siglip_loss(logits: torch.Tensor) -> torch.Tensor:
    """Return the pairwise sigmoid loss per image of logits of shape (n, n): Zhai et al. 2023, arXiv 2303.15343."""
    import torch
    from torch.nn.functional import logsigmoid

    signs = 2 * torch.eye(len(logits), dtype=logits.dtype, device=logits.device) - 1
    return -logsigmoid(signs * logits).sum() / len(logits)


LOSSES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"clip": clip_loss, "siglip": siglip_loss}
