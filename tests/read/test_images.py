"""Pictures that anyone may have written: what is decoded, what is refused, and with which reason."""

from __future__ import annotations

import io
import pickle
import struct
import threading
import warnings
import zlib
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from dfndr.format.schema import FAILED
from dfndr.images import BadImage, Reason, decode, inspect, thumbnail

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def quarters() -> Image.Image:
    """A 6 x 4 picture whose four quarters differ, so that every turn of it differs."""
    image = Image.new("RGB", (6, 4), RED)
    image.paste(GREEN, (3, 0, 6, 2))
    image.paste((0, 0, 255), (0, 2, 3, 4))
    return image


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds one byte of pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body


def reason_of(data: bytes, **options: int) -> str:
    with pytest.raises(BadImage) as caught:
        decode(data, **options)
    assert caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "GIF", "JPEG"])
def test_each_format_gives_its_size_and_its_pixels(kind):
    data = encoded(quarters().resize((60, 40), 0), kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert inspect(data) == (60, 40, kind)
    got = np.asarray(decode(data), dtype=int)
    want = np.asarray(quarters().resize((60, 40), 0), dtype=int)
    inner = (slice(4, 12), slice(4, 14))  # away from the edges, where JPEG rings
    assert np.abs(got[inner] - want[inner]).max() <= (2 if kind == "JPEG" else 0)


def test_no_bytes_are_an_empty_image():
    assert reason_of(b"") == "image_empty"


@pytest.mark.parametrize("data", [b"no image", b"\xff\xd8\xff", b"<svg xmlns='x'/>", b"\0" * 5000])
def test_bytes_that_are_no_image_are_unreadable(data):
    assert reason_of(data) == "image_unreadable"


def test_a_format_outside_the_five_is_not_even_tried():
    assert reason_of(encoded(quarters(), "TIFF")) == "image_unreadable"
    assert reason_of(encoded(quarters(), "PPM")) == "image_unreadable"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_truncated_image_is_unreadable_though_its_header_is_whole(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = encoded(noise, kind)
    for kept in (0.5, 0.9):
        assert reason_of(data[: int(len(data) * kept)]) == "image_unreadable"


def test_a_decompression_bomb_is_refused_from_its_header():
    assert reason_of(png_header(30_000, 30_000)) == "image_too_large"
    with pytest.raises(BadImage, match="image_too_large"):
        inspect(png_header(30_000, 30_000))


def test_the_limit_on_pixels_is_the_last_size_that_passes():
    assert decode(encoded(quarters()), max_pixels=24).size == (6, 4)
    assert reason_of(encoded(quarters()), max_pixels=23) == "image_too_large"


def test_a_large_image_below_the_limit_passes_though_pillow_would_warn():
    assert inspect(png_header(10_000, 10_000)) == (10_000, 10_000, "PNG")


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_a_side_of_one_pixel_is_too_small(size):
    assert reason_of(encoded(Image.new("RGB", size))) == "image_too_small"
    with pytest.raises(BadImage, match="image_too_small"):
        inspect(encoded(Image.new("RGB", size)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_exif_orientation_is_applied_as_pillow_applies_it(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(quarters().resize((60, 40), 0), kind, exif=exif)
    want = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    got = decode(data)
    assert got.size == want.size == inspect(data)[:2] == ((60, 40) if orientation < 5 else (40, 60))
    assert np.array_equal(np.asarray(got), np.asarray(want))


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0"]
)
def test_damaged_exif_leaves_the_picture_as_it_is_stored(exif):
    assert decode(encoded(quarters(), "JPEG", exif=exif)).size == (6, 4)


def test_16_bit_grey_is_scaled_and_not_clipped():
    wide = np.array([[0, 257, 32_896, 65_535], [128, 129, 300, 65_407]], np.uint16)
    got = np.asarray(decode(encoded(Image.fromarray(wide))))
    want = np.round(wide / 257).astype(np.uint8)
    assert np.array_equal(got, np.stack([want] * 3, axis=-1))


def test_1_bit_and_8_bit_grey_become_rgb():
    bits = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1")
    assert decode(encoded(bits)).getpixel((1, 0)) == WHITE
    assert decode(encoded(Image.new("L", (2, 2), 77))).getpixel((0, 0)) == (77, 77, 77)


def test_cmyk_becomes_rgb():
    data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100)
    red, green, blue = decode(data).getpixel((8, 8))
    assert red > 240 and green < 15 and blue < 15


def test_transparent_parts_are_composited_on_white():
    alpha = Image.new("RGBA", (2, 2), (*RED, 255))
    alpha.putpixel((1, 0), (0, 0, 0, 0))
    alpha.putpixel((1, 1), (0, 0, 0, 128))
    for kind in ("PNG", "WEBP"):
        got = decode(encoded(alpha, kind, **({"lossless": True} if kind == "WEBP" else {})))
        assert [got.getpixel(at) for at in ((0, 0), (1, 0), (1, 1))] == [RED, WHITE, (127, 127, 127)]
    grey = Image.new("LA", (2, 2), (0, 0))
    assert decode(encoded(grey)).getpixel((0, 0)) == WHITE


def test_a_palette_with_transparency_is_composited_on_white_without_a_warning():
    image = Image.new("P", (2, 2), 0)
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 1), 1)
    for transparency in (1, b"\xff\x00"):
        got = decode(encoded(image, transparency=transparency))
        assert (got.getpixel((0, 0)), got.getpixel((1, 1))) == (RED, WHITE)
    assert decode(encoded(image)).getpixel((1, 1)) == GREEN


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_an_animation_gives_its_first_frame(kind):
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, GREEN)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=40, lossless=True)
    assert decode(data).getpixel((4, 4)) == pytest.approx(RED, abs=2)


def test_every_reason_is_on_the_closed_list():
    assert set(get_args(Reason)) <= set(FAILED)


def test_a_bad_image_crosses_process_borders():
    bad = pickle.loads(pickle.dumps(BadImage("image_empty", "no bytes")))
    assert (bad.reason, bad.detail) == ("image_empty", "no bytes")


def test_threads_that_decode_leave_the_warning_filters_as_they_were():
    before, data = list(warnings.filters), encoded(quarters())
    barrier, sizes = threading.Barrier(4), []

    def work() -> None:
        barrier.wait()
        sizes.extend(decode(data).size for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == [(6, 4)] * 80
    assert warnings.filters == before


def test_a_thumbnail_is_never_enlarged_and_keeps_the_shape():
    small = thumbnail(quarters(), 96)
    assert inspect(small) == (6, 4, "PNG")
    assert np.array_equal(np.asarray(decode(small)), np.asarray(quarters()))
    assert inspect(thumbnail(Image.new("RGB", (400, 200), RED), 64)) == (64, 32, "PNG")
    large = thumbnail(Image.new("RGB", (400, 200), RED), 96)
    assert inspect(large) == (96, 48, "JPEG")
    assert large == thumbnail(Image.new("RGB", (400, 200), RED), 96)


WHOLE = [encoded(quarters().convert(mode), kind) for mode, kind in
         [("RGB", "JPEG"), ("P", "PNG"), ("RGBA", "PNG"), ("RGB", "WEBP"), ("P", "GIF"), ("RGB", "BMP")]]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(whole=st.sampled_from(WHOLE), data=st.data())
def test_damaged_bytes_give_a_picture_or_a_reason_and_nothing_else(whole, data):
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert decode(bytes(damaged), max_pixels=1 << 20).mode == "RGB"
    except BadImage as bad:
        assert bad.reason in get_args(Reason)
