"""Folder trees as pools: sidecars, keys, shards, and files that are no samples."""

from __future__ import annotations

import json
import logging

import fsspec
import pytest
from dfndr_builders.pools import folder, parts
from dfndr_builders.pools.folder import FolderPool
from support.pools import picture, rows_of, seen

from dfndr.errors import PoolError

RED, BLUE = picture("red"), picture("blue")


@pytest.fixture
def tree(tmp_path):
    """Write files into a folder and return the pool over it."""

    def write(files: dict[str, object], **options: object) -> FolderPool:
        for name, content in files.items():
            path = tmp_path / "pool" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            data = content if isinstance(content, bytes | str) else json.dumps(content)
            path.write_bytes(data.encode() if isinstance(data, str) else data)
        return FolderPool((str(tmp_path / "pool"),), **options)

    return write


def test_images_take_the_text_and_the_json_of_their_stem(tree):
    files = {"b.png": BLUE, "b.txt": "blue\n", "sub/a.v1.PNG": RED, "sub/a.v1.txt": "red", "sub/a.v1.json": {"tag": 7}}
    rows = rows_of(tree(files, keep=("tag",), source="mine"))
    assert [(row["key"], row["text"], row["image"], row["tag"], row["source"]) for row in rows] == [
        ("b", "blue", BLUE, None, "mine"),
        ("sub/a.v1", "red", RED, "7", "mine"),
    ]


def test_a_text_can_be_a_field_of_the_json_and_each_of_a_list_a_row(tree):
    pool = tree({"a.png": RED, "a.json": {"captions": ["one", "two"]}}, text="json:captions", every_text=True)
    assert seen(pool, "key", "text", "image") == [("a#0", "one", RED), ("a#1", "two", RED)]


def test_a_bad_sample_is_a_row_with_its_reason(tree):
    files = {
        "a.txt": "lone",
        "b.png": RED,
        "c.png": RED, "c.txt": "",
        "d.png": b"", "d.txt": "x",
        "e.png": RED, "e.txt": b"\xff",
        "f.png": RED, "f.txt": "x", "f.json": b"{",
        "g.png": RED, "g.txt": "x" * 10_001,
        "h.png": RED, "h.gif": BLUE, "h.txt": "x",
    }  # fmt: skip
    assert seen(tree(files)) == [
        ("a", "image_missing"),
        ("b", "text_missing"),
        ("c", "text_empty"),
        ("d", "image_empty"),
        ("e", "text_not_utf8"),
        ("f", "json_unreadable"),
        ("g", "text_too_long"),
        ("h", None),
        ("h", "duplicate_key"),
    ]


def test_a_lone_json_is_a_lone_text_only_where_it_holds_the_text(tree):
    files = {
        "a.png": RED,
        "a.txt": "red",
        "a.json": {"caption": "json red"},
        "info.json": {"caption": "x"},
        "lone.txt": "x",
    }
    assert seen(tree(files)) == [("a", None), ("lone", "image_missing")]
    assert seen(tree(files, text="json:caption")) == [("a", None), ("info", "image_missing")]


def test_files_that_are_no_samples_are_counted_in_the_log_and_the_first_is_named(tree, caplog):
    files = {"a.png": RED, "a.txt": "red", "README.md": "x", ".git/b.png": BLUE, "info.json": {}}
    with caplog.at_level(logging.WARNING):
        assert seen(tree(files)) == [("a", None)]
    assert "3 files that are no samples passed over, such as .git/b.png" in caplog.text


def test_a_file_beyond_the_limit_is_not_read_whole(tree, monkeypatch):
    for module in (folder, parts):
        monkeypatch.setattr(module, "MAX_FILE_BYTES", 2000)
    assert seen(tree({"a.png": bytes(2001), "a.txt": "x", "b.png": bytes(2000), "b.txt": "x"})) == [
        ("a", "image_too_large"),
        ("b", None),
    ]


def test_shards_hold_as_many_samples_as_asked_for_in_the_order_of_their_paths(tree):
    files = {f"{name}.{suffix}": content for name in "ecadb" for suffix, content in (("png", RED), ("txt", name))}
    pool = tree(files, files_per_shard=2)
    assert [shard.name[:12] for shard in pool.shards()] == ["folder-00000", "folder-00001", "folder-00002"]
    assert [shard.size_bytes for shard in pool.shards()] == [2 * len(RED) + 2, 2 * len(RED) + 2, len(RED) + 1]
    each = [[row["key"] for table in pool.read(shard) for row in table.to_pylist()] for shard in pool.shards()]
    assert each == [["a", "b"], ["c", "d"], ["e"]]


def test_the_hash_of_a_shards_files_changes_with_their_names_and_sizes_alone(tree):
    def names(files: dict[str, object]) -> list[str]:
        return [shard.files for shard in tree(files, files_per_shard=2).shards()]

    first = names({"a.png": RED, "a.txt": "x", "b.png": RED, "b.txt": "y", "c.png": RED, "c.txt": "z"})
    assert names({}) == first
    assert names({"README.md": "passed over"}) == first
    longer = names({"c.txt": "a longer text"})
    assert longer[0] == first[0] and longer[1] != first[1]
    assert not {*names({"aa.png": b"", "aa.txt": "w"})} & {*first, *longer}
    assert [shard.name for shard in tree({}, files_per_shard=2).shards()] == ["folder-00000", "folder-00001"]


def test_a_file_and_a_folder_without_images_and_nothing_at_all_are_errors(tree, tmp_path):
    tree({"a.txt": "x"})
    with pytest.raises(PoolError, match="expected a folder of images, found a file"):
        FolderPool((str(tmp_path / "pool" / "a.txt"),)).shards()
    (tmp_path / "empty").mkdir()
    with pytest.raises(PoolError, match="found an empty folder"):
        FolderPool((str(tmp_path / "empty"),)).shards()
    (tmp_path / "empty" / "x.md").write_text("x")
    with pytest.raises(PoolError, match="found 1 other files"):
        FolderPool((str(tmp_path / "empty"),)).shards()
    with pytest.raises(PoolError, match="nothing there"):
        FolderPool((str(tmp_path / "absent"),)).shards()


def test_a_folder_in_memory_reads_like_one_on_disk(tree):
    files = {"sub/a.png": RED, "sub/a.txt": "red", "b.png": BLUE, "b.txt": "blue"}
    for name, content in files.items():
        with fsspec.open(f"memory://folder-pool/{name}", "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
    assert rows_of(FolderPool(("memory://folder-pool",))) == rows_of(tree(files))
    with pytest.raises(PoolError, match="found a file"):
        FolderPool(("memory://folder-pool/b.txt",)).shards()
