"""What is measured of a picture, against the plain definitions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from dfndr_builders.inspect import Inspect
from dfndr_builders.measure.image import MeasureImage
from dfndr_builders.measure.phash import perceptual_hash
from PIL import Image, ImageFilter
from support.described import described, encoded
from support.measured_images import NAMES, measured, one, table_of
from support.pairs import mixed_table


def bits_apart(first: int, second: int) -> int:
    return (first ^ second).bit_count()


def luminance(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB").convert("L"), dtype=np.float64)


# The stage keeps the laws.


def test_a_picture_is_measured_alike_in_any_batch():
    table, step = mixed_table(), MeasureImage().open()
    whole = step(table)
    for size in (1, 5, 7):
        parts = [step(table.slice(start, size)) for start in range(0, len(table), size)]
        assert pa.concat_tables(parts).combine_chunks().equals(whole.combine_chunks())
    assert whole.equals(step(table))


def test_the_promised_schema_is_the_schema_and_no_column_is_moved():
    table, stage = mixed_table(), MeasureImage()
    assert stage.open()(table).schema == stage.schema(table.schema)
    assert stage.open()(table.slice(0, 0)).schema == stage.schema(table.schema)
    assert stage.schema(table.schema).names == [*table.schema.names, *NAMES]


def test_a_row_with_a_problem_is_passed_on_untouched_and_holds_nulls():
    before = Inspect().open()(mixed_table())
    after = MeasureImage().open()(before)
    bad = [place for place, problem in enumerate(before["problem"].to_pylist()) if problem is not None]
    assert len(bad) >= 4
    assert after.select(before.schema.names).take(bad).equals(before.take(bad))
    assert all(row[name] is None for row in after.take(bad).to_pylist() for name in NAMES)


def test_a_picture_that_is_cut_off_gets_its_reason_and_holds_nulls():
    whole = encoded(described("noise 300x200"), "jpeg")
    cut, good = measured(whole[: len(whole) // 2], whole)
    assert cut["problem"] == "image_unreadable" and good["problem"] is None
    assert {cut[name] for name in NAMES} == {None}
    assert None not in {good[name] for name in NAMES}


def test_a_picture_of_one_pixel_is_too_small_even_where_nothing_inspected_it():
    (row,) = MeasureImage().open()(table_of(encoded(described("white 1x1")))).to_pylist()
    assert row["problem"] == "image_too_small" and row["aspect"] is None


# The columns are what their definitions say.


@pytest.mark.parametrize(
    "words", ["noise 300x200", "blurred noise 500x400", "white 640x480 with lines", "grey gradient 300x200"]
)
def test_percentiles_and_entropy_are_those_of_every_pixel_of_the_whole_picture(words):
    image = described(words)
    row, levels = one(encoded(image)), luminance(image)
    for percent, name in ((1, "luminance_p01"), (5, "luminance_p05"), (99, "luminance_p99")):
        assert row[name] == pytest.approx(np.percentile(levels, percent, method="inverted_cdf") / 255, abs=1e-7)
    _, counts = np.unique(levels, return_counts=True)
    shares = counts / counts.sum()
    assert row["entropy"] == pytest.approx(-(shares * np.log2(shares)).sum(), abs=1e-5)


def test_sharpness_is_the_deviation_of_the_laplacian():
    image = described("grey noise 30x20")
    levels, found = luminance(image) / 255, []
    for y in range(20):
        for x in range(30):
            near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            around = [levels[min(max(b, 0), 19), min(max(a, 0), 29)] for b, a in near]
            found.append(sum(around) - 4 * levels[y, x])
    assert one(encoded(image))["sharpness"] == pytest.approx(np.std(found), abs=1e-6)
    assert one(encoded(described("white 300x200")))["sharpness"] == 0.0


def test_a_picture_is_as_sharp_in_a_larger_file_and_less_sharp_when_blurred():
    image = described("noise 256x192")
    sharp = one(encoded(image))["sharpness"]
    larger = image.resize((1024, 768), Image.Resampling.NEAREST)
    assert one(encoded(larger))["sharpness"] == pytest.approx(sharp, rel=1e-3)
    softer = [one(encoded(image.filter(ImageFilter.GaussianBlur(radius))))["sharpness"] for radius in (1, 2, 4)]
    assert sharp > softer[0] > softer[1] > softer[2]


def test_bytes_format_and_aspect_are_those_of_the_file():
    for kind in ("jpeg", "png", "webp", "gif", "bmp"):
        data = encoded(described("noise 60x40"), kind)
        row = one(data)
        assert (row["image_bytes"], row["image_format"]) == (len(data), kind)
        assert row["aspect"] == 1.5
    assert one(encoded(described("noise 20x70")))["aspect"] == 3.5


def test_a_jpeg_that_holds_further_pictures_is_a_jpeg():
    frames = [described("noise 64x48", seed=seed) for seed in (0, 1)]
    data = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert one(data)["image_format"] == "jpeg"


def test_grey_is_what_the_pixels_say_and_not_the_files_mode():
    grey = described("grey noise 300x200")
    assert one(encoded(grey, "jpeg"))["grayscale"] is True
    assert one(encoded(grey.convert("L"), "jpeg"))["grayscale"] is True
    assert one(encoded(described("noise 300x200")))["grayscale"] is False
    assert one(encoded(Image.new("RGB", (64, 64), (108, 104, 100))))["grayscale"] is True
    assert one(encoded(Image.new("RGB", (64, 64), (109, 104, 100))))["grayscale"] is False
    grey.paste((200, 40, 40), (100, 100, 110, 110))
    assert one(encoded(grey))["grayscale"] is False


def test_monochrome_palette_cmyk_and_sixteen_bit_pictures_are_measured_as_the_grey_they_show():
    ink = described("blurred noise 300x200").convert("L").point(lambda level: 255 * (level > 127))
    wide = Image.fromarray(np.asarray(ink, dtype=np.uint16) * 257)
    files = [
        encoded(ink),
        encoded(ink.convert("1")),
        encoded(ink.convert("P"), "gif"),
        encoded(ink.convert("RGBA")),
        encoded(wide),
        encoded(ink.convert("RGB").convert("CMYK"), "jpeg", quality=100),
    ]
    first, *others = measured(*files)
    assert first["grayscale"] is True and first["entropy"] == pytest.approx(1.0, abs=0.05)
    for row in others:
        assert row["problem"] is None and row["grayscale"] is True
        assert bits_apart(row["phash"], first["phash"]) <= 2
        for name in ("luminance_p01", "luminance_p99", "sharpness"):
            assert row[name] == pytest.approx(first[name], abs=0.02)


def test_what_is_transparent_counts_as_white():
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    row = one(encoded(clear))
    assert (row["luminance_p01"], row["entropy"], row["phash"]) == (1.0, 0.0, None)


def test_only_the_first_frame_of_an_animation_is_looked_at():
    first, second = (described("blurred noise 200x150", seed=seed).convert("P") for seed in (1, 2))
    moving = one(encoded(first, "gif", save_all=True, append_images=[second]))
    still = one(encoded(first, "gif"))
    assert {name: moving[name] for name in NAMES[1:]} == {name: still[name] for name in NAMES[1:]}


def test_a_picture_turned_by_exif_is_measured_as_it_is_seen():
    image = described("blurred noise 300x200")
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = encoded(image.transpose(Image.Transpose.ROTATE_90), "png", exif=exif)
    turned, upright = measured(lying, encoded(image))
    assert [turned[name] for name in NAMES[1:]] == [upright[name] for name in NAMES[1:]]


@pytest.mark.parametrize("size", ["2x5000", "5000x2", "2x2", "3x2"])
def test_the_thinnest_and_the_smallest_pictures_are_measured(size):
    row = one(encoded(described(f"noise {size}")))
    width, height = map(int, size.split("x"))
    assert row["aspect"] == max(width, height) / min(width, height)
    assert np.isfinite(row["sharpness"])


# The perceptual hash.


def test_the_hash_is_the_sign_of_the_lowest_frequencies_about_their_median():
    image = described("blurred noise 32x32").convert("L")
    levels = np.asarray(image, dtype=np.float64)
    place = np.arange(32)
    frequencies = []
    for v in range(8):
        for u in range(8):
            waves = np.outer(np.cos(np.pi * v * (2 * place + 1) / 64), np.cos(np.pi * u * (2 * place + 1) / 64))
            scale = (np.sqrt(0.5) if v == 0 else 1) * (np.sqrt(0.5) if u == 0 else 1) / 16
            frequencies.append(scale * (levels * waves).sum())
    middle = sorted(frequencies[1:])[31]
    expected = int("".join("1" if value > middle else "0" for value in frequencies), 2)
    assert perceptual_hash(image) == expected
    assert expected >> 63 == 1


def test_a_scaled_and_recompressed_copy_hashes_within_a_few_bits_and_another_picture_far_away():
    for seed in range(4):
        image = described("blurred noise 640x480", seed=seed)
        copy = encoded(image.resize((200, 150), Image.Resampling.BICUBIC), "jpeg", quality=40)
        original, again = one(encoded(image))["phash"], one(copy)["phash"]
        other = one(encoded(described("blurred noise 640x480", seed=seed + 100)))["phash"]
        assert bits_apart(original, again) <= 4
        assert bits_apart(original, other) >= 12


def test_flat_pictures_have_no_hash_and_so_are_no_duplicates_of_each_other():
    hiss = Image.fromarray(np.random.default_rng(0).integers(252, 256, (200, 300), dtype=np.uint8))
    files = [described("white 300x200"), described("black 300x200"), Image.new("RGB", (50, 70), (9, 99, 199)), hiss]
    assert [row["phash"] for row in measured(*map(encoded, files))] == [None] * 4
    assert one(encoded(described("white 300x200 with a disc")))["phash"] is not None


def test_frequencies_that_are_absent_set_no_bits():
    found = one(encoded(described("grey gradient 320x240")))["phash"]
    assert found & (2**56 - 1) == 0  # nothing changes from row to row
