"""Bringing JPEGs to a model's size: open_clip's transform, our exact way and our fast one, in one run on one core.

The pictures are those of a WebDataset pool, enlarged to two sizes and saved again. Times are of the process alone (CPU
seconds), so that a busy machine disturbs them less; ratios are of the same run. With `--model`, cosines between the
vectors of fast and exact pictures, for several choices of how much a scaled JPEG leaves.

    python benchmarks/decode.py --pool ../shared/pools/flickr8k_native1k --model ViT-S-32-alt
    python benchmarks/decode.py --count 1000 --runs 0 --sizes native 1280x960 --spares 2 --model ViT-S-32-alt
"""

from __future__ import annotations

import argparse
import io
import statistics
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

from dfndr import pixels
from dfndr.encoder import EncoderSpec, open_encoder
from dfndr.format.schema import Preprocess
from dfndr.images import Picture

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def files_of(pool: str, count: int) -> list[bytes]:
    """Return the first pictures of a pool's tars."""
    found: list[bytes] = []
    for path in sorted(Path(pool).rglob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if len(found) < count and member.name.endswith(".jpg"):
                    found.append(tar.extractfile(member).read())  # type: ignore[union-attr]
    return found


def enlarged(data: bytes, size: tuple[int, int]) -> bytes:
    """Return the picture stretched to a size, as a JPEG."""
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").resize(size, Image.Resampling.LANCZOS).save(file, "JPEG", quality=90)
    return file.getvalue()


def compare(files: list[bytes], runs: int) -> None:
    """Print the rates of the three ways, and how many times the first's they are, run by run."""
    transform = open_clip.image_transform(224, is_train=False, mean=MEAN, std=STD)
    shape = Preprocess((224, 224), MEAN, STD, "bicubic", "shortest")
    ways = {way: pixels.Preparation(transform, shape, way) for way in ("exact", "fast")}
    room = torch.empty((len(files), 3, 224, 224))

    def ours(way: pixels.Preparation) -> torch.Tensor:
        return way.numbers(torch.from_numpy(np.stack([way.pixels(Picture(data)) for data in files])), room)

    sides: dict[str, Callable[[], Any]] = {
        "open_clip": lambda: torch.stack([transform(Image.open(io.BytesIO(data))) for data in files]),
        "exact": lambda: ours(ways["exact"]),
        "fast": lambda: ours(ways["fast"]),
    }
    assert torch.equal(sides["open_clip"](), sides["exact"]()), "exact is exact"
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(runs):
        for name, side in sides.items():
            start = time.process_time()
            side()
            seconds[name].append(time.process_time() - start)
    for name, found in seconds.items():
        rates = sorted(len(files) / one for one in found)
        ratios = sorted(base / one for base, one in zip(seconds["open_clip"], found, strict=True))
        told = f"{statistics.median(ratios):.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"  {name:<10} {statistics.median(rates):6.0f} /s ({rates[0]:.0f} to {rates[-1]:.0f})   {told}")


def drift(files: list[bytes], model: str, spares: list[int]) -> None:
    """Print mean and worst cosine to exact vectors, for each choice of what a scaled JPEG leaves.

    Beside them, what the cosine is between each picture and the next one: a drift is small or large beside that.
    """
    exact = open_encoder(EncoderSpec("one", model, "random:0", device="cpu")).encode_images(files)
    good = [place for place in range(len(files)) if place not in exact.problems]
    others = np.einsum("nd,nd->n", exact.vectors[good], np.roll(exact.vectors[good], 1, axis=0), dtype=np.float64)
    print(f"  {len(good)} pictures; cosine between two of them: {others.mean():.6f} in the mean")
    chosen = pixels._SPARE
    for spare in spares:
        pixels._SPARE = spare
        fast = open_encoder(EncoderSpec("one", model, "random:0", device="cpu", decode="fast")).encode_images(files)
        cosines = np.einsum("nd,nd->n", exact.vectors[good], fast.vectors[good], dtype=np.float64)
        print(f"  {spare} x the side left: cosine {cosines.mean():.6f} in the mean, {cosines.min():.6f} at worst")
    pixels._SPARE = chosen


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", default="../shared/pools/flickr8k_native1k")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--runs", type=int, default=5, help="0 for the drift alone")
    parser.add_argument("--model", default="")
    parser.add_argument("--sizes", nargs="+", default=["640x480", "1280x960"], help="or `native`: as they are")
    parser.add_argument("--spares", nargs="+", type=int, default=[1, 2, 4])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    given = files_of(asked.pool, asked.count)
    for told in asked.sizes:
        files = given
        if told != "native":
            width, height = map(int, told.split("x"))
            files = [enlarged(data, (width, height)) for data in given]
        print(f"{told}, {len(files)} pictures of {sum(map(len, files)) // len(files):,} bytes", flush=True)
        if asked.runs:
            compare(files, asked.runs)
        if asked.model:
            drift(files, asked.model, asked.spares)


if __name__ == "__main__":
    main()
