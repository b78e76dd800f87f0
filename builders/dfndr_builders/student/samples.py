"""What a student is given of samples: views as pixels, texts as tokens; DataLoader's workers run this alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from dfndr.errors import DataError
from dfndr.images import BadImage, decode
from dfndr.views import Sampler, View, apply, parse_views
from dfndr_builders.student.pack import Pack

if TYPE_CHECKING:
    import torch
    from PIL import Image

__all__ = ["Samples", "Tokens", "Wanted"]

_REMEMBERED = 1 << 16


class Wanted(NamedTuple):
    """One sample: which row, its texts, and the view as the row has it, or None for the middle or a fresh crop.

    A fresh crop is of this epoch; `made_for` is the width and height that the view was drawn for, where that is known.
    """

    row: int
    texts: tuple[str, ...]
    view: str | None
    epoch: int
    made_for: tuple[int, int] | None = None


class Tokens:
    """A tokenizer of open_clip that remembers texts, since small sets say them again and again."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401
        self._tokenizer = tokenizer
        self._known: dict[str, torch.Tensor] = {}

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """Return tokens, int64, shape (texts, context)."""
        import torch

        for text in texts:
            if text not in self._known:
                if len(self._known) == _REMEMBERED:
                    self._known.clear()
                self._known[text] = self._tokenizer([text])[0]
        return torch.stack([self._known[text] for text in texts])


@dataclass(frozen=True)
class Samples:
    """Turns what is wanted into pixels, uint8 of shape (3, height, width), and tokens; `size` is (height, width).

    With `crop_scale` a picture without a view is cropped to a share of its area, by (seed, epoch, row); else it is cut
    to the largest square in its middle. Boxes are in pixels of the source, so a student of any size sees the same part.
    """

    pack: Pack
    tokens: Tokens
    size: tuple[int, int]
    seed: int
    crop_scale: tuple[float, float] | None = None

    def __getitem__(self, wanted: Wanted) -> tuple[torch.Tensor, torch.Tensor]:
        """Return one sample; raises DataError where the picture is not what the view was made for."""
        import numpy as np
        import torch

        try:
            picture = decode(self.pack.picture(wanted.row))
        except BadImage as problem:
            found, do = f"{problem.reason}: {problem.detail}", "Pack the pictures again: remove the folder of the pack."
            raise DataError(f"row {wanted.row}", expected="a picture", found=found, do=do) from problem
        seen = apply(self._view(wanted, picture), picture, size=self.size, made_for=wanted.made_for)
        return torch.from_numpy(np.array(seen)).permute(2, 0, 1), self.tokens(wanted.texts)

    def _view(self, wanted: Wanted, picture: Image.Image) -> View:
        if wanted.view is not None:
            return parse_views([wanted.view], where=f"row {wanted.row}: views")[0]
        if self.crop_scale is None:
            return Sampler(plain_first=True).view(self.seed, "", 0, picture.size)
        crops = Sampler(crop_scale=self.crop_scale, operations=0)
        return crops.view(self.seed, f"student {wanted.row}", wanted.epoch, picture.size)
