"""From a picture to what a model takes: resized and cut to its size as 8-bit pixels, then numbers, a batch at a time.

`exact` gives the values of the model's own transform, bit for bit: its resizing and cutting are used as they are, and
the last two steps, which are the same for each pixel, are done for a batch at once. `fast` decodes a JPEG at a
fraction of its size and resizes it by torch's 8-bit kernels, which differ from Pillow's by a level here and there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from dfndr.format.schema import Preprocess
from dfndr.images import MAX_PIXELS, BadImage, Picture

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from PIL import Image

    Prepared: TypeAlias = list[npt.NDArray[np.uint8] | BadImage]
    """The pixels of pictures, or for each of them the reason why there are none."""

__all__ = ["Preparation", "prepared"]

_SPARE = 2
"""How many times the wanted short side a JPEG keeps when it is decoded in the fast way; `benchmarks/decode.py`
measures what once and four times would give."""


@dataclass(frozen=True)
class Preparation:
    """What is done to a picture before a model sees it; `transform` is the model's own, which `preprocess` describes.

    `decode` is "exact" or "fast". Pixels are 8-bit, of shape (height, width, 4) with an idle fourth value, as Pillow
    and torch have them in memory.
    """

    transform: Any
    preprocess: Preprocess
    decode: str = "exact"

    def pixels(self, picture: Picture) -> npt.NDArray[np.uint8]:
        """Decode a file, resize and cut it; raises BadImage."""
        if self.decode == "exact":
            return self.cut(self._checked(picture.pixels()))
        seen = self._checked(picture.pixels(_SPARE * max(self.preprocess.size)))
        return _resized(seen, self.preprocess) if _is_plain(self.preprocess) else self.cut(seen)

    def cut(self, seen: Image.Image) -> npt.NDArray[np.uint8]:
        """Resize and cut an RGB picture by the model's own transform."""
        for step in self.transform.transforms[:-2]:
            seen = step(seen)
        found: npt.NDArray[np.uint8] = _shared(seen).numpy()
        return found

    def numbers(self, pixels: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return pixels of shape (n, height, width, 4) as float32 of shape (n, 3, height, width), normalised.

        The same operations in the same order as ToTensor and Normalize do them, so the same bits; into `out` where it
        is given.
        """
        import torch

        mean, std = (
            torch.tensor(values, dtype=torch.float32, device=pixels.device).view(-1, 1, 1)
            for values in (self.preprocess.mean, self.preprocess.std)
        )
        if out is None:
            out = torch.empty((len(pixels), 3, *pixels.shape[1:3]), dtype=torch.float32, device=pixels.device)
        return (
            out.copy_(pixels[..., :3].permute(0, 3, 1, 2))
            .div_(torch.tensor(255.0, device=pixels.device))
            .sub_(mean)
            .div_(std)
        )

    def _checked(self, seen: Image.Image) -> Image.Image:
        """Raise BadImage where the short side, made as long as the model wants it, makes too many pixels."""
        width, height = seen.size
        if self.preprocess.resize_mode == "shortest":
            scale = max(self.preprocess.size) / min(width, height)
            if width * scale * height * scale > MAX_PIXELS:
                detail = f"{width} x {height} pixels, too long and thin to be resized to {max(self.preprocess.size)}"
                raise BadImage("image_too_large", detail)
        return seen


def _is_plain(preprocess: Preprocess) -> bool:
    """Say whether the transform is one that `_resized` knows; another one is used as it is."""
    height, width = preprocess.size
    known = preprocess.resize_mode == "squash" or (preprocess.resize_mode == "shortest" and height == width)
    return known and preprocess.interpolation in ("bicubic", "bilinear")


def _resized(seen: Image.Image, preprocess: Preprocess) -> npt.NDArray[np.uint8]:
    """Resize and cut as torchvision's Resize and CenterCrop would, with an antialiasing filter on 8-bit values."""
    import torch

    height, width = preprocess.size
    whole_height, whole_width = height, width
    if preprocess.resize_mode == "shortest":
        short = min(seen.size)
        whole_width, whole_height = (int(height * side / short) for side in seen.size)
    pixels = _shared(seen).permute(2, 0, 1)[None]
    if (whole_height, whole_width) != tuple(pixels.shape[2:]):
        size, mode = (whole_height, whole_width), preprocess.interpolation
        pixels = torch.nn.functional.interpolate(pixels, size, mode=mode, antialias=True)
    top, left = round((whole_height - height) / 2.0), round((whole_width - width) / 2.0)
    cut: npt.NDArray[np.uint8] = pixels[0].permute(1, 2, 0)[top : top + height, left : left + width].numpy()
    return cut


def _shared(seen: Image.Image) -> torch.Tensor:
    """Return a picture's own memory, of shape (height, width, 4); a copy where it lies in several pieces.

    Pillow does that with pictures of more than 16 MB, and older releases share none.
    """
    import numpy as np
    import pyarrow as pa
    import torch

    try:
        return torch.from_dlpack(pa.array(seen).values).view(seen.height, seen.width, 4)
    except (ValueError, TypeError, pa.ArrowInvalid):
        return torch.from_numpy(np.array(seen.convert("RGBX")))


def prepared(tasks: Sequence[tuple[Callable[[], Prepared], int]], threads: int, size: int) -> Iterator[Prepared]:
    """Run tasks in threads, two batches ahead, and yield what they give, as many pictures as each says, in batches.

    Where a task raises BadImage, that is yielded as often as there would have been pictures.
    """
    waiting: deque[tuple[Future[Prepared], int]] = deque()
    done: Prepared = []
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for task, count in tasks:
            waiting.append((pool.submit(task), count))
            while sum(its for _, its in waiting) >= 2 * size:
                done += _given(*waiting.popleft())
                while len(done) >= size:
                    yield done[:size]
                    done = done[size:]
        for future, count in waiting:
            done += _given(future, count)
    for start in range(0, len(done), size):
        yield done[start : start + size]


def _given(future: Future[Prepared], count: int) -> Prepared:
    try:
        return future.result()
    except BadImage as problem:
        return [problem] * count
