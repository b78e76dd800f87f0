"""Texts that are short cost less: a text tower that looks only backwards never sees what comes after a text's end.

Tokens are padded to the context length, and a tower with a causal mask that takes its answer from the end token gives
the same vector without the padding. Texts are cut to a few fixed lengths, each a batch shape of its own, so that what
comes out of a row does not depend on its neighbours.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["LENGTHS", "ROWS_SHARE", "TextTower"]

LENGTHS = (16, 32, 48, 64)
"""In tokens, start and end included; what is longer runs at the context length."""

ROWS_SHARE = 4
"""A batch of texts has a quarter of the rows, since the last one of each length is filled up with nothing."""

_CLOSE = {"fp32": 1e-4, "bf16": 3e-2, "fp16": 5e-3}


class TextTower:
    """The text side of an open_clip model; `lengths` are those that its texts are cut to, none for other towers.

    Whether they may be is seen from its mask and from the way it pools, and then tried on `tokens`: a short text,
    padded as usual.
    """

    def __init__(self, model: Any, precision: str, tokens: torch.Tensor) -> None:  # noqa: ANN401
        self._model, self._tower = model, model.text if hasattr(model, "text") else model
        self._pools = getattr(model, "text_pool_type", None) or getattr(self._tower, "pool_type", None)
        self._end = getattr(model, "text_eos_id", None) or getattr(self._tower, "eos_id", None)
        self.lengths: tuple[int, ...] = ()
        self._cut: dict[int, Any] = {}
        if self._looks_backwards():
            lengths = tuple(length for length in LENGTHS if length < tokens.shape[1])
            self._cut = {length: self._cut_to(length) for length in lengths}
            self.lengths = lengths if self._agree(tokens, lengths, _CLOSE[precision]) else ()

    def _looks_backwards(self) -> bool:
        import torch

        mask, positions = (getattr(self._tower, name, None) for name in ("attn_mask", "positional_embedding"))
        if self._pools not in ("argmax", "eos") or getattr(self._tower, "cls_emb", None) is not None:
            return False
        if not isinstance(mask, torch.Tensor) or mask.ndim != 2 or not isinstance(positions, torch.Tensor):
            return False
        ahead = torch.ones_like(mask, dtype=torch.bool).triu_(1)
        return bool(torch.isneginf(mask[ahead]).all() and (mask[~ahead] == 0).all())

    def _agree(self, tokens: torch.Tensor, lengths: tuple[int, ...], close: float) -> bool:
        import torch

        try:
            with torch.inference_mode():
                whole = self.encode(tokens).double()
                apart = [self.encode(tokens[:, :length]).double() - whole for length in lengths]
        except RuntimeError:  # a tower that asks for its own length
            return False
        return all(bool(found.norm() < close * whole.norm()) for found in apart)

    def encode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the vectors of tokens of shape (rows, length), not normalised."""
        found: torch.Tensor = self._cut.get(tokens.shape[1], self._model).encode_text(tokens)
        return found

    def _cut_to(self, length: int) -> Any:  # noqa: ANN401
        """Return a model of the same parameters whose mask and positions are those of a shorter context."""
        import torch

        tower = _shallow(self._tower)
        tower.positional_embedding = torch.nn.Parameter(self._tower.positional_embedding[:length], requires_grad=False)
        tower.attn_mask = self._tower.attn_mask[:length, :length]
        if self._tower is self._model:
            return tower
        model = _shallow(self._model)
        model.text = tower
        return model

    def groups(self, tokens: torch.Tensor) -> Iterator[tuple[list[int], int]]:
        """Yield, for each length that is needed, the rows of `tokens` that are cut to it, and the length."""
        full = int(tokens.shape[1])
        if not self.lengths:
            yield list(range(len(tokens))), full
            return
        is_end = tokens == (tokens.amax(dim=1, keepdim=True) if self._pools == "argmax" else self._end)
        used = (is_end.int().argmax(dim=1) + 1).tolist()
        needed = [next((length for length in self.lengths if length >= count), full) for count in used]
        for length in sorted(set(needed)):
            yield [row for row, its in enumerate(needed) if its == length], length


def _shallow(module: Any) -> Any:  # noqa: ANN401
    """Return a module that shares all it has with another, and can be given something else."""
    found = copy.copy(module)
    for name in ("_parameters", "_buffers", "_modules"):
        found.__dict__[name] = dict(module.__dict__[name])
    return found
