"""What is masked in texts and what is left, and rows with faces that are dropped."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dfndr_builders.build import build
from dfndr_builders.pools.base import PoolShard
from dfndr_builders.pools.glyphs import GlyphsPool
from dfndr_builders.pools.private import Private, masked
from dfndr_builders.recipe_file import read_recipe
from dfndr_builders.stage import POOL_SCHEMA
from support.models import tiny_config

from dfndr import open_dataset
from dfndr.errors import PoolError, RecipeError
from dfndr.verify import verify


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("write to jane.doe+cats@mail.example.org, please", "write to [email], please"),
        ("a@b.co and ä.ö@köln.de", "[email] and [email]"),
        ("(mailto:x_y%z@example.museum)", "(mailto:[email])"),
        ("call (415) 555-2671 now", "call [phone] now"),
        ("415.555.2671 or +49 30 123456", "[phone] or [phone]"),
        ("1-800-555-0199", "[phone]"),
    ],
)
def test_an_address_or_a_number_is_masked(text: str, left: str) -> None:
    assert masked(text, emails=True, phones=("US",)) == left


@pytest.mark.parametrize(
    "text",
    [
        *("taken 2024-01-15 at 10:30:15", "12/05/2024", "for $1,299.00", "ISBN 978-3-16-148410-0", "3-16-148410-0"),
        *("1920x1080", "192.168.1.1", "IMG_20240115_123456.jpg", "lot 12345678", "follow @nasa", "a@b", "x @ y.org"),
        *("f/2.8 1/250 ISO 3200", "1914-1918", "10 000 000 km", ""),
    ],
)
def test_what_is_neither_stays_as_it_is(text: str) -> None:
    assert masked(text, emails=True, phones=("US",)) == text


def test_only_what_is_asked_for_is_masked() -> None:
    text = "a@b.org 415-555-2671"
    assert masked(text, emails=False, phones=()) == text
    assert masked(text, emails=True, phones=()) == "[email] 415-555-2671"
    assert masked(text, emails=False, phones=("US",)) == "a@b.org [phone]"


def test_a_number_without_a_code_is_one_in_its_own_region_only() -> None:
    assert masked("ring 030 1234567", emails=False, phones=("US",)) == "ring 030 1234567"
    assert masked("ring 030 1234567", emails=False, phones=("US", "DE")) == "ring [phone]"


@dataclass(frozen=True)
class _Boxes:
    """A pool of one shard with a column of boxes."""

    boxes: tuple[Any, ...]
    kind: pa.DataType

    def schema(self) -> pa.Schema:
        return POOL_SCHEMA.append(pa.field("face_bboxes", self.kind))

    def shards(self) -> Sequence[PoolShard]:
        return [PoolShard(0, "it")]

    def read(self, shard: PoolShard) -> Iterator[pa.Table]:
        rows = [{"uid": f"{n:032x}", "key": str(n), "face_bboxes": boxes} for n, boxes in enumerate(self.boxes)]
        yield pa.Table.from_pylist(rows, schema=self.schema())


@pytest.mark.parametrize(
    ("kind", "boxes", "found"),
    [
        (pa.list_(pa.list_(pa.float64())), ([], [[0.1, 0.2, 0.3, 0.4]], None), [False, True, False]),
        (pa.string(), ("[]", "[[0.1, 0.2, 0.3, 0.4]]", None, ""), [False, True, False, False]),
    ],
)
def test_a_face_is_there_where_a_box_is(kind: pa.DataType, boxes: tuple[Any, ...], found: list[bool]) -> None:
    (table,) = Private(_Boxes(boxes, kind), faces="face_bboxes").read(PoolShard(0, "it"))
    assert table["has_face"].to_pylist() == found
    assert table["problem"].null_count == len(boxes)


@pytest.mark.parametrize("boxes", ["{", "7", '{"a": 1}', "[" * 100_000])
def test_boxes_that_cannot_be_read_are_a_counted_problem(boxes: str) -> None:
    (table,) = Private(_Boxes(("[]", boxes), pa.string()), faces="face_bboxes").read(PoolShard(0, "it"))
    assert table["problem"].to_pylist() == [None, "json_unreadable"]


def test_an_unknown_region_and_a_missing_column_are_errors_that_name_them() -> None:
    with pytest.raises(PoolError, match="XX"):
        Private(GlyphsPool(count=3), phones=("US", "XX"))
    with pytest.raises(PoolError, match="boxes"):
        Private(GlyphsPool(count=3), faces="boxes").schema()


RECIPE = """
name = "it"
license = "CC0-1.0"
[[pool]]
kind = "parquet"
path = "pool.parquet"
text = "caption"
keep = ["face_bboxes"]
mask = ["emails", "phones"]
drop_faces = "face_bboxes"
[[measure]]
kind = "text"
repair = true
[[score]]
name = "dfn"
model = "tiny.json"
pretrained = "random:0"
[select]
by = "dfn"
top_fraction = 1.0
[[embed]]
encoder = "tiny"
model = "tiny.json"
pretrained = "random:0"
[output]
validation = 0.0
"""


def test_a_build_holds_no_masked_word_anywhere_and_counts_the_faces(tmp_path: Path) -> None:
    pool = GlyphsPool(count=12)
    given = [row for shard in pool.shards() for table in pool.read(shard) for row in table.to_pylist()]
    rows = [
        {
            "image": row["image"],
            "caption": f"{row['text']} by secret{number}@example.org, 415-555-26{number:02}",
            "face_bboxes": [[0.1, 0.1, 0.2, 0.2]] if number % 4 == 0 else [],
        }
        for number, row in enumerate(given)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pool.parquet")
    tiny_config(tmp_path)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    manifest = build(tmp_path / "recipe.toml", tmp_path / "out", device="cpu")
    select = manifest.funnel[1]
    assert (select.rows_in, select.rows_out, select.dropped["has_face"]) == (12, 9, 3)
    texts = open_dataset(tmp_path / "out").rows(["text"])["text"].to_pylist()
    assert all(text.endswith("by [email], [phone]") for text in texts)
    for path in (tmp_path / "out").rglob("*"):
        if path.suffix == ".parquet":
            assert "secret" not in str(pq.read_table(path).drop_columns(_pictures(path)).to_pylist()), path
        elif path.is_file():
            assert b"secret" not in path.read_bytes(), path
    assert not verify(str(tmp_path / "out")).findings


def _pictures(path: Path) -> list[str]:
    return [name for name in pq.read_schema(path).names if name in ("thumbnail", "image")]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('mask = ["emails", "phones"]', 'mask = ["names"]', "mask"),
        ('keep = ["face_bboxes"]', "keep = []", "drop_faces"),
        ("mask =", "phone_regions = []\nmask =", "phone_regions"),
        ('keep = ["face_bboxes"]', 'keep = ["face_bboxes", "has_face"]', "has_face"),
    ],
)
def test_keys_that_do_not_fit_are_recipe_errors(tmp_path: Path, old: str, new: str, named: str) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE.replace(old, new))
    with pytest.raises(RecipeError, match=named):
        read_recipe(tmp_path / "recipe.toml")
