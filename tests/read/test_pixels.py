"""From a picture to what a model takes: open_clip's own values bit for bit, or faster ones that are nearly the same."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from dfndr import images
from dfndr.format.schema import Preprocess
from dfndr.images import BadImage, Picture, decode
from dfndr.pixels import Preparation

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
POOLS = Path(os.environ.get("POOLS", Path(__file__).resolve().parents[2] / ".." / "shared" / "pools"))
SHAPES = [
    (64, "bicubic", "shortest"),
    (48, "bilinear", "squash"),
    (48, "bicubic", "longest"),
    (96, "bicubic", "shortest"),
]


def preparation(size: int, interpolation: str, resize_mode: str, *, way: str = "exact") -> Preparation:
    transform = open_clip.image_transform(
        size, is_train=False, mean=MEAN, std=STD, interpolation=interpolation, resize_mode=resize_mode
    )
    return Preparation(transform, Preprocess((size, size), MEAN, STD, interpolation, resize_mode), way)


def picture(width: int, height: int, kind: str = "JPEG", mode: str = "RGB", **more: object) -> bytes:
    """Return waves of every direction with some noise, encoded."""
    rows, columns = np.mgrid[0:height, 0:width] / 9.0
    waves = np.stack([np.sin(rows + columns), np.cos(rows * 1.3 - columns), np.sin(rows - columns * 0.4)], axis=-1)
    noise = np.random.default_rng(width * height).normal(0, 0.1, waves.shape)
    file = io.BytesIO()
    Image.fromarray(((waves + noise).clip(-1, 1) * 127 + 128).astype(np.uint8)).convert(mode).save(file, kind, **more)
    return file.getvalue()


def made() -> Iterator[bytes]:
    for width, height in ((640, 480), (301, 977), (65, 64), (20, 30), (128, 128)):
        yield picture(width, height)
    turned = Image.Exif()
    turned[0x0112] = 6
    yield picture(300, 200, exif=turned)
    yield picture(300, 200, mode="L")
    yield picture(300, 200, mode="CMYK")
    yield picture(300, 200, "PNG", mode="RGBA")
    yield picture(300, 200, "PNG", mode="P")
    yield picture(300, 200, "WEBP")


def numbers(preparation: Preparation, files: list[bytes]) -> torch.Tensor:
    return preparation.numbers(torch.from_numpy(np.stack([preparation.pixels(Picture(data)) for data in files])))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_exact_is_open_clips_own_transform_bit_for_bit(shape: tuple[int, str, str]) -> None:
    ours, files = preparation(*shape), list(made())
    wanted = torch.stack([ours.transform(decode(data)) for data in files])
    assert torch.equal(numbers(ours, files), wanted)
    room = torch.full(wanted.shape, torch.nan)
    pixels = torch.from_numpy(np.stack([ours.pixels(Picture(data)) for data in files]))
    assert ours.numbers(pixels, room) is room and torch.equal(room, wanted)


def test_exact_is_open_clips_own_transform_on_real_pictures() -> None:
    shards = sorted(POOLS.glob("flickr8k_native1k/*.tar"))
    if not shards:
        pytest.skip(f"no real pools in {POOLS}")
    with tarfile.open(shards[0]) as tar:
        names = [name for name in tar.getnames() if name.endswith(".jpg")][:40]
        files = [tar.extractfile(name).read() for name in names]  # type: ignore[union-attr]
    ours = preparation(224, "bicubic", "shortest")
    wanted = torch.stack([ours.transform(Image.open(io.BytesIO(data))) for data in files])
    assert torch.equal(numbers(ours, files), wanted)
    fast = numbers(preparation(224, "bicubic", "shortest", way="fast"), files)
    assert (fast - wanted).abs().mean() < 1e-3


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fast_is_nearly_exact_and_cuts_the_same_part(shape: tuple[int, str, str]) -> None:
    fast, exact, files = preparation(*shape, way="fast"), preparation(*shape), list(made())
    one, other = (
        np.stack([which.pixels(Picture(data)) for data in files])[..., :3].astype(np.int16) for which in (fast, exact)
    )
    assert one.shape == other.shape
    apart = np.abs(one - other).mean(axis=(1, 2, 3))
    assert apart.max() < 6.0, "grey levels of 255, in the mean of a picture"
    assert apart[2:].max() < 1.0 and (one != other).any()


def test_a_jpeg_is_made_smaller_as_long_as_enough_is_left() -> None:
    file = picture(640, 480)
    assert decode(file, short_side=240).size == (320, 240)
    assert decode(file, short_side=241).size == (640, 480)
    assert decode(file, short_side=30).size == (80, 60)
    assert decode(picture(641, 483), short_side=100).size == (161, 121), "rounded up, as libjpeg does"
    assert decode(picture(640, 480, "PNG"), short_side=30).size == (640, 480)
    turned = Image.Exif()
    turned[0x0112] = 8
    assert decode(picture(640, 480, exif=turned), short_side=240).size == (240, 320)


def test_a_picture_is_decoded_once_for_all_who_want_it_equally_large(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int | None] = []

    def counted(image: Image.Image, short_side: int | None) -> Image.Image:
        asked.append(short_side)
        return loaded(image, short_side)

    loaded = images._loaded
    monkeypatch.setattr(images, "_loaded", counted)
    seen = Picture(picture(640, 480))
    assert seen.pixels() is seen.pixels() is seen.pixels(400)
    assert seen.pixels(200).size == seen.pixels(240).size == (320, 240)
    assert asked == [None, 200]


def test_bad_bytes_are_the_same_problem_in_both_ways() -> None:
    whole = picture(640, 480)
    for bad in (b"", b"<html>", whole[: len(whole) // 3], picture(4000, 2, "PNG")):
        said = []
        for way in ("exact", "fast"):
            with pytest.raises(BadImage) as caught:
                preparation(9_000, "bicubic", "shortest", way=way).pixels(Picture(bad))
            said.append(caught.value.reason)
        assert said[0] == said[1]
