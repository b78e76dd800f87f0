"""Parquet files as pools: columns of bytes and of structs, types that are kept, and damage."""

from __future__ import annotations

import datetime
import hashlib
import io

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dfndr_builders.pools.parquet import ParquetPool
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pools import picture, rows_of, seen

from dfndr.errors import PoolError, RecipeError
from dfndr.format.schema import FAILED

RED, BLUE = picture("red"), picture("blue")


@pytest.fixture
def pool_of(tmp_path):
    """Write tables (or bytes) as the files of a pool."""

    def write(*tables: pa.Table | bytes, **options: object) -> ParquetPool:
        for number, table in enumerate(tables):
            path = tmp_path / f"{number}.parquet"
            path.write_bytes(table if isinstance(table, bytes) else parquet(table))
        return ParquetPool((str(tmp_path / "*.parquet"),), **options)

    return write


def parquet(table: pa.Table, **options: object) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


def test_rows_come_in_order_and_kept_columns_keep_their_type(pool_of):
    when = [datetime.datetime(2020, 1, 1), None]
    columns = {
        "image": [RED, BLUE],
        "text": ["red", "blue"],
        "score": pa.array([0.5, None], pa.float32()),
        "when": pa.array(when, pa.timestamp("ns")),
        "tags": [["a"], []],
        "unread": [1, 2],
    }
    pool = pool_of(pa.table(columns), keep=("score", "when", "tags"), source="mine", license="mit")
    assert pool.schema().names[-3:] == ["score", "when", "tags"]
    assert [pool.schema().field(name).type for name in ("score", "when")] == [pa.float32(), pa.timestamp("ns")]
    rows = rows_of(pool)
    assert [(row["key"], row["text"], row["image"], row["score"], row["tags"]) for row in rows] == [
        ("0.parquet:0", "red", RED, 0.5, ["a"]),
        ("0.parquet:1", "blue", BLUE, None, []),
    ]
    assert rows[0]["uid"] == hashlib.sha256(RED + b"\0red").hexdigest()[:32]
    assert {(row["source"], row["license"]) for row in rows} == {("mine", "mit")}


def test_source_license_and_uid_come_from_columns(pool_of):
    own = "f" * 32
    columns = {
        "image": [RED, BLUE],
        "text": ["a", "b"],
        "source": ["web", None],
        "license": [1, 2],
        "uid": [own, "short"],
    }
    pool = pool_of(pa.table(columns), uid="uid")
    content = hashlib.sha256(BLUE + b"\0b").hexdigest()[:32]
    assert seen(pool, "uid", "source", "license") == [(own, "web", None), (content, None, None)]


def test_the_struct_of_hugging_face_is_read_and_a_path_alone_is_no_image(pool_of):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": RED, "path": "x.png"}, {"bytes": None, "path": "y.png"}, None], kind)
    got = seen(pool_of(pa.table({"image": images, "text": ["a", "b", "c"]})), "image", "problem", "detail")
    assert got[0] == (RED, None, None)
    assert got[1][:2] == (None, "image_missing") and "y.png" in got[1][2]
    assert got[2][:2] == (None, "image_missing")


@pytest.mark.parametrize(
    "texts",
    [
        pa.array(["a", "b"], pa.large_string()),
        pa.array(["a", "b"]).dictionary_encode(),
        pa.array([b"a", b"b"], pa.binary()),
        pa.array([["a", "x"], ["b"]]),
        pa.array([["a"], ["b", "x"]], pa.large_list(pa.large_string())),
    ],
)
def test_texts_of_every_arrow_type_are_read(pool_of, texts):
    assert seen(pool_of(pa.table({"image": [RED, BLUE], "text": texts})), "text") == [("a",), ("b",)]


def test_every_text_gives_each_text_of_a_list_a_row_with_the_kept_columns(pool_of):
    table = pa.table({"image": [RED, BLUE], "text": [["a", "b"], []], "n": pa.array([1, 2], pa.int8())})
    assert seen(pool_of(table, every_text=True, keep=("n",)), "key", "text", "n", "problem") == [
        ("0.parquet:0#0", "a", 1, None),
        ("0.parquet:0#1", "b", 1, None),
        ("0.parquet:1#0", None, 2, "text_missing"),
    ]


def test_a_bad_sample_is_a_row_with_its_reason(pool_of):
    not_utf8 = pa.array([b"x", b"caf\xe9", b"", None, b"y" * 10_001, b"z"]).view(pa.string())
    table = pa.table({"image": [None, RED, RED, RED, RED, b""], "text": not_utf8})
    assert [problem for (problem,) in seen(pool_of(table), "problem")] == [
        "image_missing",
        "text_not_utf8",
        "text_empty",
        "text_missing",
        "text_too_long",
        "image_empty",
    ]


def test_a_missing_column_is_an_error_that_names_the_nearest(pool_of):
    pool = pool_of(pa.table({"image": [RED], "caption": ["a"]}), text="captions")
    with pytest.raises(PoolError, match=r"expected a column 'captions'.*Did you mean 'caption'\?"):
        pool.schema()


def test_a_column_of_another_type_is_an_error(pool_of):
    with pytest.raises(PoolError, match="a column 'image' of bytes, found int64"):
        pool_of(pa.table({"image": [1], "text": ["a"]})).schema()
    with pytest.raises(PoolError, match="a column 'text' of strings, found double"):
        pool_of(pa.table({"image": [RED], "text": [0.5]})).schema()
    with pytest.raises(RecipeError, match="found 'uid'"):
        pool_of(pa.table({"image": [RED], "text": ["a"], "uid": ["x"]}), keep=("uid",)).schema()


def test_files_that_type_a_kept_column_differently_are_an_error(pool_of):
    one, two = (pa.table({"image": [RED], "text": ["a"], "n": values}) for values in (pa.array([1], pa.int8()), ["1"]))
    with pytest.raises(PoolError, match="the column 'n' as int8, as in the first file, found string"):
        rows_of(pool_of(one, two, keep=("n",)))


def test_a_damaged_file_is_one_row_and_the_others_are_read(pool_of):
    whole = pa.table({"image": [RED], "text": ["a"]})
    got = seen(pool_of(b"", b"PAR1 but no more", parquet(whole)[:-20], whole, whole.slice(0, 0)))
    assert got == [
        ("0.parquet", "shard_unreadable"),
        ("1.parquet", "shard_unreadable"),
        ("2.parquet", "shard_unreadable"),
        ("3.parquet:0", None),
        ("4.parquet", "shard_empty"),
    ]


def test_no_whole_file_at_all_is_an_error(pool_of):
    with pytest.raises(PoolError, match="at least one whole Parquet file"):
        pool_of(b"").schema()


def test_damage_further_on_gives_the_rows_before_it_and_one_row_tells(pool_of):
    table = pa.table({"image": [picture((n, 0, 0)) for n in range(200)], "text": [f"text {n}" for n in range(200)]})
    data = bytearray(parquet(table, row_group_size=100, compression="snappy"))
    group = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(1).column(0)
    data[group.data_page_offset : group.data_page_offset + 100] = b"\xff" * 100
    got = seen(pool_of(bytes(data)))
    assert [problem for _, problem in got] == [None] * 100 + ["shard_truncated"]


def test_folders_and_patterns_without_match_are_errors(tmp_path):
    with pytest.raises(PoolError, match="expected a Parquet file, found a folder"):
        ParquetPool((str(tmp_path),)).shards()
    with pytest.raises(PoolError, match="nothing there"):
        ParquetPool((str(tmp_path / "*.parquet"),)).shards()


def test_a_file_in_memory_reads_like_one_on_disk(pool_of):
    table = pa.table({"image": [RED], "text": ["a"]})
    with fsspec.open("memory://parquet-pool/0.parquet", "wb") as file:
        file.write(parquet(table))
    assert rows_of(ParquetPool(("memory://parquet-pool/*.parquet",))) == rows_of(pool_of(table))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


WHOLE = parquet(pa.table({"image": [RED, BLUE], "text": ["a", "é"], "n": [1, 2]}))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_gives_rows_with_reasons_or_a_clear_error(scratch, data):
    damaged = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    (scratch / "0.parquet").write_bytes(WHOLE)
    (scratch / "1.parquet").write_bytes(damaged)
    try:
        rows = rows_of(ParquetPool((str(scratch / "*.parquet"),), keep=("n",)))
    except PoolError:
        return  # the damage renamed or retyped a column
    assert {row["problem"] for row in rows} - {None} <= set(FAILED)
    assert len(rows) >= 3
