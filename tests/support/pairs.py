"""A table of pool rows: glyphs with their names, and among them rows that are bad in every way a stage can meet."""

import io

import pyarrow as pa
from dfndr_builders.pools.base import Sample, pool_schema, tables_of
from dfndr_builders.pools.glyphs import GlyphsPool
from PIL import Image


def glyph_table(count: int, *, seed: int = 0) -> pa.Table:
    """Return rows of the built-in pool."""
    pool = GlyphsPool(count=count, seed=seed)
    return pa.concat_tables([table for shard in pool.shards() for table in pool.read(shard)])


def jpeg(
    size: tuple[int, int] = (40, 30), *, colour: tuple[int, int, int] = (200, 40, 40), kind: str = "JPEG"
) -> bytes:
    """Return an encoded picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


def mixed_table() -> pa.Table:
    """Return 23 rows: 18 good glyphs, and a row each that is truncated, no image, one pixel, or a problem already."""
    whole = jpeg((64, 64))
    bad = [
        Sample("truncated", whole[: len(whole) // 2], b"a red square"),
        Sample("no-image", b"<html>not found</html>", b"a page"),
        Sample("one-pixel", jpeg((1, 1), kind="PNG"), b"a dot"),
        Sample("no-text", whole, b"   "),
        Sample("not-utf8", whole, b"\xff\xfe\xfa"),
    ]
    glyphs = glyph_table(18)
    broken = pa.concat_tables(tables_of(bad, pool_schema([])))
    parts = []
    for place in range(5):
        parts += [glyphs.slice(place * 3, 3), broken.slice(place, 1)]
    return pa.concat_tables([*parts, glyphs.slice(15, 3)])
