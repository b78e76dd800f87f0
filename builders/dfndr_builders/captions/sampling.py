"""Drawing words: the next token of each caption, by a number that belongs to that caption and that place in it.

Nothing is drawn from a generator that captions share, so what one caption becomes depends on no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

__all__ = ["NOT_FINITE", "Sampling", "next_tokens", "uniforms"]

NOT_FINITE = -1
"""Stands for the token of a row of logits that are no numbers, as those of a model that overflows."""

_LIKELIEST = 256
"""So many tokens are looked at first; a row of which these do not hold the share `top_p` is looked at as a whole."""


@dataclass(frozen=True)
class Sampling:
    """Nucleus sampling (Holtzman et al. 2019, arXiv 1904.09751).

    Kept are the likeliest tokens that together have the probability `top_p` at least; then their probabilities are
    raised to 1 / `temperature`. At temperature 0 the likeliest token is taken. At most `max_tokens` tokens in all, the
    one that starts and the one that ends a text included; no end before there are `min_tokens`.
    """

    top_p: float = 0.9
    temperature: float = 1.0
    max_tokens: int = 30
    min_tokens: int = 5


def uniforms(seeds: list[int], count: int) -> npt.NDArray[np.float64]:
    """Return `count` numbers in [0, 1) for each seed, shape (seeds, count); the first ones are always the same."""
    return np.stack([np.random.Generator(np.random.Philox(key=seed)).random(count) for seed in seeds])


def next_tokens(
    logits: torch.Tensor, rows: Sequence[int], drawn: npt.NDArray[np.float64], sampling: Sampling
) -> npt.NDArray[np.int64]:
    """Return a token for some rows of the logits, shape (all rows, vocabulary), by a number in [0, 1) for each."""
    totals = logits.logsumexp(dim=-1).double().cpu().numpy()
    tokens, shares = _likeliest(logits, totals, _LIKELIEST)
    found = np.full(len(drawn), NOT_FINITE, dtype=np.int64)
    for place, (row, number) in enumerate(zip(rows, drawn, strict=True)):
        if not np.isfinite(totals[row]):
            continue
        its, share = tokens[row], shares[row]
        if share.sum() < sampling.top_p:
            whole = logits[row : row + 1]
            its, share = (part[0] for part in _likeliest(whole, totals[row : row + 1], logits.shape[1]))
        found[place] = its[_place(share, number, sampling)]
    return found


def _likeliest(
    logits: torch.Tensor, totals: npt.NDArray[np.float64], count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the likeliest tokens of each row, the likeliest first, and their probabilities."""
    values, tokens = logits.topk(min(count, logits.shape[1]), dim=-1)
    return tokens.cpu().numpy(), np.exp(values.double().cpu().numpy() - totals[:, None])


def _place(shares: npt.NDArray[np.float64], number: float, sampling: Sampling) -> int:
    if sampling.temperature == 0:
        return 0
    kept = shares[np.cumsum(shares) - shares < sampling.top_p]
    weights = np.cumsum((kept / kept[0]) ** (1 / sampling.temperature))
    return min(int(np.searchsorted(weights, number * weights[-1], side="right")), len(kept) - 1)
