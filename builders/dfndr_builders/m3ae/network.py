"""The network: an encoder that sees what is not hidden of a pair, and a decoder that restores the rest."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from dfndr_builders.m3ae.shape import Shape

__all__ = ["Network"]


class Network(nn.Module):  # type: ignore[misc]
    """From pairs and the order in which their parts are hidden to how badly the hidden parts are restored.

    Both halves are transformers (pre-norm); the decoder has half the width and two layers.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        pixels, width, half = 3 * shape.patch**2, shape.width, shape.width // 2
        self.shape = shape
        self.patch_in, self.word_in = nn.Linear(pixels, width), nn.Embedding(shape.buckets + 1, width)
        self.places = nn.Parameter(torch.randn(shape.patches + shape.words, width) * 0.02)
        self.encoder = _transformer(width, shape.heads, shape.layers)
        self.narrow = nn.Linear(width, half)
        self.hidden = nn.Parameter(torch.randn(2, half) * 0.02)
        self.narrow_places = nn.Parameter(torch.randn(shape.patches + shape.words, half) * 0.02)
        self.decoder = _transformer(half, shape.heads, 2)
        self.patch_out, self.word_out = nn.Linear(half, pixels), nn.Linear(half, shape.buckets + 1)

    def forward(self, pixels: Any, words: Any, patch_order: Any, word_order: Any) -> Any:  # noqa: ANN401  tensors
        """Return two losses for each pair, of shape (n, 2): of its picture, and of its text (0 where it has no word).

        `pixels` is uint8 (n, side, side, 3) and `words` (n, words), 0 for none. The orders are permutations of patches
        and of words, (n, patches) and (n, words), the words that are there first: what comes last is hidden. The loss
        of a picture is the mean squared error over hidden patches, each brought to mean 0 and variance 1 (MAE, arXiv
        2111.06377); that of a text the mean cross-entropy over hidden words.
        """
        patches = self._patches(pixels)
        there = (words > 0).sum(1)
        seen_words = there - _masked(there, self.shape.text_mask)
        kept, most = self.shape.patches - self.shape.hidden_patches, int(self._most_seen())
        see_patches, see_words = patch_order[:, :kept], word_order[:, :most]
        absent = torch.arange(most, device=words.device) >= seen_words[:, None]
        image, text = self.places.split([self.shape.patches, self.shape.words])
        given = [_taken(self.patch_in(patches) + image, see_patches), _taken(self.word_in(words) + text, see_words)]
        nothing = torch.zeros_like(see_patches, dtype=torch.bool)
        inner = self.narrow(self.encoder(torch.cat(given, 1), src_key_padding_mask=torch.cat([nothing, absent], 1)))
        restored = self._restored(inner, see_patches, see_words, absent, words)
        image_loss = self._image_loss(restored[:, : self.shape.patches], patches, patch_order[:, kept:])
        return torch.stack([image_loss, self._text_loss(restored, words, word_order, there, seen_words)], 1)

    def _most_seen(self) -> int:
        counts = torch.arange(self.shape.words + 1)
        return int((counts - _masked(counts, self.shape.text_mask)).max())

    def _patches(self, pixels: Any) -> Any:  # noqa: ANN401
        n, size, across = len(pixels), self.shape.patch, self.shape.side // self.shape.patch
        parts = pixels.reshape(n, across, size, across, size, 3).permute(0, 1, 3, 2, 4, 5)
        return (parts.reshape(n, self.shape.patches, -1).float() / 255 - 0.5) / 0.25

    def _restored(self, inner: Any, see_patches: Any, see_words: Any, absent: Any, words: Any) -> Any:  # noqa: ANN401
        """Put what was seen back in its place, with one vector for all that is hidden, and let the decoder run."""
        n, half = len(inner), inner.shape[-1]
        kept = see_patches.shape[1]
        image = self.hidden[0].expand(n, self.shape.patches, half)
        image = image.scatter(1, see_patches[..., None].expand(-1, -1, half), inner[:, :kept])
        text = self.hidden[1].expand(n, self.shape.words, half)
        back = torch.where(absent[..., None], self.hidden[1], inner[:, kept:])
        text = text.scatter(1, see_words[..., None].expand(-1, -1, half), back)
        is_none = torch.cat([torch.zeros(n, self.shape.patches, dtype=torch.bool, device=words.device), words == 0], 1)
        return self.decoder(torch.cat([image, text], 1) + self.narrow_places, src_key_padding_mask=is_none)

    def _image_loss(self, restored: Any, patches: Any, hidden: Any) -> Any:  # noqa: ANN401
        wanted = _taken(patches, hidden)
        spread = (wanted.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()
        wanted = (wanted - wanted.mean(-1, keepdim=True)) / spread
        return (self.patch_out(_taken(restored, hidden)) - wanted).square().mean((1, 2))

    def _text_loss(self, restored: Any, words: Any, order: Any, there: Any, seen: Any) -> Any:  # noqa: ANN401
        place = torch.arange(self.shape.words, device=words.device)
        is_hidden = (place >= seen[:, None]) & (place < there[:, None])
        answers = self.word_out(_taken(restored[:, self.shape.patches :], order)[is_hidden])
        losses = functional.cross_entropy(answers, words.gather(1, order)[is_hidden], reduction="none")
        sums = torch.zeros(len(words), device=words.device).index_add(0, is_hidden.nonzero()[:, 0], losses)
        return sums / (there - seen).clamp(min=1)


def _masked(count: Any, share: float) -> Any:  # noqa: ANN401
    """Return the same as `masked_of`, for tensors."""
    return torch.minimum(count, (count * share).round().long().clamp(min=1))


def _taken(rows: Any, places: Any) -> Any:  # noqa: ANN401
    return rows.gather(1, places[..., None].expand(-1, -1, rows.shape[-1]))


def _transformer(width: int, heads: int, layers: int) -> Any:  # noqa: ANN401
    layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
