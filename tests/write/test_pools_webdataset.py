"""Tars as pools: grouping, what is carried along, and every way in which a sample can be bad."""

from __future__ import annotations

import hashlib
import io
import logging
import tarfile
import tracemalloc

import fsspec
import pytest
from dfndr_builders.pools import parts, webdataset
from dfndr_builders.pools.webdataset import WebDatasetPool
from support import webdatasets
from support.pools import rows_of, seen, tar_of
from support.webdatasets import BLUE, PAIRS, RED, with_checksums

from dfndr.errors import PoolError, RecipeError

pool_of = webdatasets.pool_of


def test_members_with_one_key_are_one_sample_with_its_bytes_untouched(pool_of):
    rows = rows_of(pool_of(tar_of(PAIRS)))
    assert [(row["key"], row["text"], row["image"], row["problem"]) for row in rows] == [
        ("a", "red", RED, None),
        ("b", "blue", BLUE, None),
    ]
    assert rows[0]["uid"] == hashlib.sha256(RED + b"\0red").hexdigest()[:32]
    assert (rows[0]["source"], rows[0]["license"]) == (None, None)


def test_a_key_ends_at_the_first_dot_of_the_base_name_and_includes_the_folder(pool_of):
    members = [
        ("v1.5/x.png", RED),
        ("v1.5/x.seg.png", BLUE),
        ("v1.5/x.TXT", "red"),
        ("./v2/x.png", BLUE),
        ("v2/x.txt", "b"),
    ]
    assert seen(pool_of(tar_of(members)), "key", "image") == [("v1.5/x", RED), ("v2/x", BLUE)]
    assert seen(pool_of(tar_of(members), image="seg.png"), "key", "problem")[0] == ("v1.5/x", None)


def test_the_first_suffix_of_the_preference_is_the_image(pool_of):
    tar = tar_of([("a.gif", b"gif"), ("a.png", RED), ("a.txt", "red")])
    assert seen(pool_of(tar), "image") == [(RED,)]
    assert seen(pool_of(tar, image="gif;png"), "image") == [(b"gif",)]


def test_white_space_around_a_text_is_left_out(pool_of):
    assert seen(pool_of(tar_of([("a.png", RED), ("a.txt", " red\n")])), "text") == [("red",)]


def test_a_text_can_be_a_field_of_the_json(pool_of):
    tar = tar_of([("a.png", RED), ("a.txt", "no"), ("a.json", {"meta": {"texts": ["one", "two"]}, "caption": "red"})])
    assert seen(pool_of(tar, text="json:caption"), "text", "problem") == [("red", None)]
    assert seen(pool_of(tar, text="json:meta.texts"), "text", "problem") == [("one", None)]
    assert seen(pool_of(tar, text="json:meta.absent"), "text", "problem") == [(None, "text_missing")]
    assert seen(pool_of(tar, text="json:caption.deeper"), "text", "problem") == [(None, "text_missing")]


def test_every_text_gives_each_text_of_a_list_a_row_with_the_same_image(pool_of):
    tar = tar_of([("a.png", RED), ("a.json", {"captions": ["one", "two", 3, ""]}), ("b.png", BLUE), ("b.json", {})])
    rows = rows_of(pool_of(tar, text="json:captions", every_text=True))
    assert [(row["key"], row["text"], row["problem"]) for row in rows] == [
        ("a#0", "one", None),
        ("a#1", "two", None),
        ("a#2", None, "text_missing"),
        ("a#3", "", "text_empty"),
        ("b#0", None, "text_missing"),
    ]
    assert [row["image"] for row in rows] == [RED] * 4 + [BLUE]
    assert len({row["uid"] for row in rows[:3]}) == 3


def test_kept_fields_are_strings_as_they_are_and_json_otherwise(pool_of):
    about = {"s": "x", "n": 1.5, "o": {"b": [1, None], "a": "é"}, "t": True, "z": None}
    row = rows_of(pool_of(tar_of([*PAIRS[:2], ("a.json", about)]), keep=("s", "n", "o", "t", "z", "absent")))[0]
    kept = {name: row[name] for name in ("s", "n", "o", "t", "z", "absent")}
    assert kept == {"s": "x", "n": "1.5", "o": '{"a":"é","b":[1,null]}', "t": "true", "z": None, "absent": None}


def test_numbers_that_json_does_not_have_are_null(pool_of):
    tar = tar_of([*PAIRS[:2], ("a.json", b'{"a": NaN, "b": [Infinity, 1e999, 1e9]}')])
    assert seen(pool_of(tar, keep=("a", "b")), "problem", "a", "b") == [(None, None, "[null,null,1000000000.0]")]


def test_source_and_license_come_from_the_recipe_before_the_json(pool_of):
    tar = tar_of([*PAIRS[:2], ("a.json", {"source": "web", "license": 7})])
    assert seen(pool_of(tar), "source", "license") == [("web", None)]
    assert seen(pool_of(tar, source="mine", license="mit"), "source", "license") == [("mine", "mit")]


def test_the_pools_own_uid_is_taken_where_it_is_one(pool_of):
    own = "0123456789ABCDEF" * 2
    members = [*PAIRS[:2], ("a.json", {"uid": own}), *PAIRS[2:], ("b.json", {"uid": "17"})]
    uids = seen(pool_of(tar_of(members), uid="json:uid"), "uid")
    assert uids == [(own.lower(),), (hashlib.sha256(BLUE + b"\0blue").hexdigest()[:32],)]


@pytest.mark.parametrize(
    ("members", "want"),
    [
        ([("a.txt", "lone")], [("a", "image_missing")]),
        ([("a.png", RED)], [("a", "text_missing")]),
        ([("a.png", RED), ("a.txt", "")], [("a", "text_empty")]),
        ([("a.png", RED), ("a.txt", " \n\t ")], [("a", "text_empty")]),
        ([("a.png", b""), ("a.txt", "x")], [("a", "image_empty")]),
        ([("a.png", RED), ("a.txt", b"caf\xe9")], [("a", "text_not_utf8")]),
        ([("a.png", RED), ("a.txt", "x"), ("a.json", b"{")], [("a", "json_unreadable")]),
        ([("a.png", RED), ("a.txt", "x"), ("a.json", b"[1]")], [("a", "json_unreadable")]),
        ([("a.png", RED), ("a.txt", "x"), ("a.json", b"[" * 100_000)], [("a", "json_unreadable")]),
        ([("a.png", RED), ("a.txt", "x"), ("a.json", b'"\xff"')], [("a", "json_unreadable")]),
        ([("README", "read me"), *PAIRS[:2]], [("README", "image_missing"), ("a", None)]),
        ([(".DS_Store", b"1"), ("._a.png", b"2"), *PAIRS[:2]], [("a", None)]),
        ([*PAIRS[:2], *PAIRS[:2]], [("a", None), ("a", "duplicate_key")]),
        ([*PAIRS, *PAIRS[:2]], [("a", None), ("b", None), ("a", "duplicate_key")]),
        ([("a.png", RED), ("a.PNG", RED), ("a.txt", "x")], [("a", "text_missing"), ("a", "duplicate_key")]),
        ([], [("pool.tar", "shard_empty")]),
        ([(".hidden", b"")], [("pool.tar", "shard_empty")]),
    ],
)
def test_a_bad_sample_is_a_row_with_its_reason(pool_of, members, want):
    assert seen(pool_of(tar_of(members))) == want


def test_a_lone_surrogate_in_a_json_text_is_no_utf8_and_in_a_kept_field_is_escaped(pool_of):
    tar = tar_of([("a.png", RED), ("a.json", b'{"caption": "x\\ud800", "note": "y\\ud800"}')])
    assert seen(pool_of(tar, text="json:caption", keep=("note",)), "problem", "note") == [("text_not_utf8", "y\\ud800")]


def test_a_name_that_is_no_utf8_is_a_key_all_the_same(pool_of):
    tar = tar_of([("aaaa.png", RED), ("aaaa.txt", "x")]).replace(b"aaaa", b"a\xe9bb")
    tar = with_checksums(tar)
    assert seen(pool_of(tar)) == [("a\\udce9bb", None)]


def test_a_text_beyond_the_limit_is_refused_and_kept_out_of_memory(pool_of):
    tar = tar_of([("a.png", RED), ("a.txt", "é" * 10_000), ("b.png", BLUE), ("b.txt", "x" * 100_000)])
    rows = rows_of(pool_of(tar))
    assert [(row["problem"], len(row["text"] or "")) for row in rows] == [(None, 10_000), ("text_too_long", 0)]
    assert "100000 characters" in rows[1]["detail"]


def test_a_member_beyond_the_limit_is_never_read_into_memory(pool_of, monkeypatch):
    for module in (webdataset, parts):
        monkeypatch.setattr(module, "MAX_FILE_BYTES", 1_000_000)
    large = bytes(4_000_000)
    members = [("a.png", large), ("a.txt", "x"), ("b.png", RED), ("b.txt", large), *PAIRS[:2], ("a.json", large)]
    pool = pool_of(tar_of(members))
    tracemalloc.start()
    got = seen(pool)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert got == [("a", "image_too_large"), ("b", "text_too_long"), ("a", "duplicate_key")]
    assert peak < 1_000_000


def test_a_link_in_a_tar_is_a_sample_without_image_and_not_lost(pool_of):
    file = io.BytesIO(tar_of(PAIRS))
    with tarfile.open(fileobj=file, mode="a") as archive:
        link = tarfile.TarInfo("c.png")
        link.type, link.linkname = tarfile.LNKTYPE, "a.png"
        archive.addfile(link)
    assert seen(pool_of(file.getvalue())) == [("a", None), ("b", None), ("c", "image_missing")]


def test_hidden_files_are_named_in_the_log(pool_of, caplog):
    with caplog.at_level(logging.WARNING):
        rows_of(pool_of(tar_of([("._a.png", b"1"), *PAIRS])))
    assert "pool.tar: 1 hidden files passed over" in caplog.text


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_compressed_tar_is_read_like_a_plain_one(pool_of, mode):
    assert seen(pool_of(tar_of(PAIRS, mode))) == [("a", None), ("b", None)]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_read_in_every_dialect_of_tar(pool_of, format):
    name, file = "folder/" * 20 + "x", io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as archive:
        for suffix, content in (("png", RED), ("txt", b"red")):
            header = tarfile.TarInfo(f"{name}.{suffix}")
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    assert seen(pool_of(file.getvalue())) == [(name, None)]


def test_several_shards_follow_one_another_in_sorted_order(tmp_path):
    for name in ("1.tar", "0.tar"):
        (tmp_path / name).write_bytes(tar_of([(f"{name[0]}.png", RED), (f"{name[0]}.txt", "x")]))
    pool = WebDatasetPool((str(tmp_path / "{0,1}.tar"),))
    assert [(shard.index, shard.name) for shard in pool.shards()] == [(0, "0.tar"), (1, "1.tar")]
    assert pool.shards()[0].size_bytes == (tmp_path / "0.tar").stat().st_size
    assert seen(pool, "key") == seen(WebDatasetPool((str(tmp_path / "*.tar"),)), "key") == [("0",), ("1",)]


def test_a_pattern_that_matches_nothing_and_a_folder_are_errors(tmp_path):
    with pytest.raises(PoolError, match="nothing there"):
        WebDatasetPool((str(tmp_path / "*.tar"),)).shards()
    with pytest.raises(PoolError, match="expected a tar file, found a folder"):
        WebDatasetPool((str(tmp_path),)).shards()


def test_a_pool_in_memory_reads_like_one_on_disk(pool_of):
    with fsspec.open("memory://webdataset-pool/00.tar", "wb") as file:
        file.write(tar_of(PAIRS))
    remote = WebDatasetPool(("memory://webdataset-pool/*.tar",))
    assert rows_of(remote) == rows_of(pool_of(tar_of(PAIRS)))
    assert remote.shards()[0].name == "00.tar"


@pytest.mark.parametrize(
    "options", [{"uid": "uid"}, {"every_text": True}, {"every_text": True, "text": "json:c", "uid": "json:u"}]
)
def test_a_reading_that_makes_no_sense_is_refused(options):
    with pytest.raises(RecipeError):
        WebDatasetPool(("x.tar",), **options)


def test_a_kept_field_may_not_take_the_name_of_a_pools_own_column():
    with pytest.raises(RecipeError, match="found 'text'"):
        WebDatasetPool(("x.tar",), keep=("text",)).schema()


def test_more_rows_than_a_table_holds_come_in_order(pool_of):
    tar = tar_of([member for n in range(600) for member in ((f"{n:04d}.png", RED), (f"{n:04d}.txt", str(n)))])
    assert seen(pool_of(tar), "text") == [(str(n),) for n in range(600)]
