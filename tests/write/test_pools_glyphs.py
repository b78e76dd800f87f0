"""The built-in pool: what it holds, that it is a pure function of its seed, and that its pictures can be read."""

from __future__ import annotations

import hashlib
import io
import itertools
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from dfndr_builders.pools import glyphs
from dfndr_builders.pools.glyphs import GlyphsPool
from dfndr_builders.stage import POOL_SCHEMA
from PIL import Image

from dfndr.errors import PoolError, RecipeError


def rows_of(pool: GlyphsPool) -> list[dict]:
    return [row for shard in pool.shards() for table in pool.read(shard) for row in table.to_pylist()]


def keys_of(pool: GlyphsPool) -> list[str]:
    return [pair.key for pair in pool._pairs()]


def pixels(row: dict) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(row["image"])))


def test_every_row_is_whole_and_its_text_is_the_characters_unicode_name():
    rows = rows_of(GlyphsPool(count=300))
    assert len(rows) == len({row["key"] for row in rows}) == len({row["uid"] for row in rows}) == 300
    for row in rows:
        character = chr(int(row["key"].split("/U+")[1], 16))
        assert row["text"] == unicodedata.name(character).lower()
        assert (row["problem"], row["source"], row["license"]) == (None, "glyphs", "Bitstream-Vera")
        assert pixels(row).shape == (32, 32, 3)


def test_the_pool_holds_what_the_faces_can_draw_and_no_blank_and_no_mark():
    pairs = glyphs._all_pairs()
    assert 40_000 < len(pairs) < 50_000
    assert len({pair.face for pair in pairs}) == 14
    # FreeType's own answer, for one face: a pair is there just when its drawing has a pixel.
    face = [pair.character for pair in pairs if pair.face == "DejaVuSerif-Italic"]
    font = glyphs._font("DejaVuSerif-Italic", 40)
    assert all(font.getmask(character).getbbox() for character in face)
    assert not {"\u2800", "\ufffc", " ", "\u0301", "\u200b"} & set(face)
    assert {"A", "à", "ж", "→"} <= set(face)


@pytest.mark.parametrize("size", [16, 32, 224])
def test_a_glyph_is_whole_and_its_colours_can_be_told_apart(size):
    for row in rows_of(GlyphsPool(count=300, seed=3, size=size)):
        picture = pixels(row).astype(int)
        paper = picture[0, 0]
        border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert (border == paper).all(), row["key"]
        ink = picture.reshape(-1, 3)[np.abs(picture - paper).sum(axis=2).argmax()]
        assert (picture != paper).any() and np.abs(ink - paper).sum() > 60, row["key"]


def test_ink_and_paper_always_reach_the_contrast_of_wcag():
    for random in itertools.product((0.0, 0.17, 0.33, 0.66, 0.999), repeat=4):
        ink, paper = (glyphs._luminance(color) + 0.05 for color in glyphs._colors(random))
        assert paper / ink >= 4.5


def test_the_same_seed_gives_the_same_bytes_in_another_process():
    program = (
        "import hashlib; from dfndr_builders.pools.glyphs import GlyphsPool; pool = GlyphsPool(count=50, seed=5);"
        "rows = [row for shard in pool.shards() for table in pool.read(shard) for row in table.to_pylist()];"
        "print(hashlib.sha256(b''.join(row['image'] for row in rows)).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    here = hashlib.sha256(b"".join(row["image"] for row in rows_of(GlyphsPool(count=50, seed=5)))).hexdigest()
    assert there == here


def test_another_seed_changes_the_pictures_and_not_the_pairs():
    one, other = rows_of(GlyphsPool(count=20, seed=1)), rows_of(GlyphsPool(count=20, seed=2))
    assert [row["key"] for row in one] == [row["key"] for row in other]
    assert not {row["image"] for row in one} & {row["image"] for row in other}


def test_shards_change_neither_the_rows_nor_their_order():
    assert rows_of(GlyphsPool(count=25, rows_per_shard=7)) == rows_of(GlyphsPool(count=25))
    assert [shard.name for shard in GlyphsPool(count=25, rows_per_shard=7).shards()][-1] == "glyphs-00003"


def test_disjoint_parts_hold_disjoint_pairs_and_together_every_pair_whatever_their_seeds():
    low, high = keys_of(GlyphsPool(take=(0, 0.4), seed=1)), keys_of(GlyphsPool(take=(0.4, 1), seed=2))
    assert not set(low) & set(high)
    assert low + high == keys_of(GlyphsPool())
    assert abs(len(low) / len(low + high) - 0.4) < 0.01


def test_the_face_is_a_column_when_it_is_kept():
    pool = GlyphsPool(count=5, keep=("face",))
    assert pool.schema().names == [*POOL_SCHEMA.names, "face"]
    assert all(row["key"].startswith(row["face"] + "/") for row in rows_of(pool))
    assert next(pool.read(pool.shards()[0])).schema == pool.schema()


def test_a_larger_picture_shows_the_same_glyph_larger():
    assert [pixels(row).shape for row in rows_of(GlyphsPool(count=2, size=96))] == [(96, 96, 3)] * 2


@pytest.mark.parametrize("wrong", [{"take": (0.5, 0.5)}, {"take": (0, 1.5)}, {"size": 4}, {"keep": ("color",)}])
def test_an_impossible_pool_is_refused(wrong):
    with pytest.raises(RecipeError):
        GlyphsPool(**wrong)


def test_more_pairs_than_there_are_is_refused_with_the_number_there_is():
    with pytest.raises(PoolError, match=r"a count from 1 to \d+, found 90000"):
        GlyphsPool(count=90_000).shards()
