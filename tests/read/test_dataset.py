from __future__ import annotations

import os
import pathlib
import re

import fsspec
import numpy as np
import pyarrow.compute as pc
import pytest
from support.tiny import CAPTION, IMAGE, TEXT, write_dataset

import dfndr
from dfndr import open_dataset
from dfndr.errors import FormatError, StorageError, UsageError


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path, (5, 3, 0, 4), (IMAGE, CAPTION), splits=["train", "validation", "train", "train"])


def stacked(dataset, space: str) -> np.ndarray:
    """Every vector, read by numpy itself."""
    paths = [os.path.join(dataset.root, shard.files[space].path) for shard in dataset.shards]
    return np.concatenate([np.load(path, allow_pickle=False) for path in paths])


def test_a_dataset_says_what_it_is(dataset):
    assert len(dataset) == 12
    assert dataset.spaces == {"image/enc": IMAGE, "caption/enc": CAPTION}
    assert repr(dataset) == "Dataset('tiny', 12 rows, spaces=['image/enc', 'caption/enc'])"
    assert dataset.digest == dataset.manifest.digest
    assert isinstance(dataset, dfndr.Dataset)


@pytest.mark.parametrize(
    "rows",
    [
        None,
        slice(None),
        slice(0, 0),
        slice(3, 9),
        slice(None, None, -1),
        slice(-4, None),
        slice(10, 2, -3),
        slice(0, 1000),
        [],
        [0],
        [-1],
        [11, 0, 5, 5, -12],
        np.array([7, 4], dtype=np.uint8),
        range(2, 9, 3),
    ],
    ids=str,
)
def test_vectors_are_those_of_the_rows_asked_for_in_that_order(dataset, rows):
    for space in (IMAGE, CAPTION):
        everything = stacked(dataset, space.name)
        wanted = everything[
            slice(None) if rows is None else rows if isinstance(rows, slice) else np.asarray(rows, dtype=int)
        ]
        found = dataset.vectors(space.name, rows)
        assert found.dtype == np.float16 and found.shape == wanted.shape
        assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize(
    "rows", [[12], [-13], [0, 99], [0.5], [True, False], np.ones(12, dtype=bool), [[0]], 3, "x"], ids=repr
)
def test_rows_that_are_none_are_refused(dataset, rows):
    with pytest.raises(UsageError, match="rows of image/enc: expected"):
        dataset.vectors(IMAGE.name, rows)


def test_what_vectors_returns_is_the_callers_own(dataset):
    found = dataset.vectors(IMAGE.name, [0])
    found[:] = 0
    assert dataset.vectors(IMAGE.name, [0]).any()


def test_the_memory_maps_are_in_order_and_cannot_be_written_to(dataset):
    maps = dataset.mapped(IMAGE.name)
    assert [len(vectors) for vectors in maps] == [5, 3, 0, 4]
    assert np.concatenate(maps).tobytes() == stacked(dataset, IMAGE.name).tobytes()
    with pytest.raises(ValueError, match="read-only"):
        maps[0][0] = 1


def test_an_unknown_space_is_refused_and_those_there_are_named(dataset):
    with pytest.raises(UsageError, match=r"space 'text/enc': expected one of: image/enc, caption/enc"):
        dataset.vectors("text/enc")


def test_rows_come_in_order_with_the_columns_asked_for(dataset):
    table = dataset.rows()
    assert table.column_names == ["uid", "text", "captions"] == dataset.schema().names
    assert table["text"].to_pylist() == [f"text of row {row}" for row in range(12)]
    assert dataset.rows(["text"]).column_names == ["text"]
    assert [len(part) for part in dataset.tables(["uid"])] == [5, 3, 0, 4]


def test_rows_are_filtered_by_an_expression_over_any_column(dataset):
    found = dataset.rows(["uid"], where=pc.field("text") == "text of row 6")
    assert found.column_names == ["uid"]
    assert found["uid"].to_pylist() == [dataset.rows()["uid"][6].as_py()]
    assert dataset.rows(where=pc.field("text") != "text of row 6")["text"].to_pylist() == [
        f"text of row {row}" for row in range(12) if row != 6
    ]


def test_a_column_that_is_not_there_is_refused(dataset):
    with pytest.raises(UsageError, match=r"columns \['nope'\]: expected some of \['uid', 'text', 'captions'\]"):
        dataset.rows(["uid", "nope"])
    with pytest.raises(UsageError, match="an expression over"):
        dataset.rows(where=pc.field("nope") == 1)
    with pytest.raises(UsageError, match="an expression over"):
        dataset.rows(where=pc.field("text") == 1)


def test_a_split_is_a_view_of_its_own_shards(dataset):
    train, validation = dataset.split("train"), dataset.split("validation")
    assert (len(train), len(validation)) == (9, 3)
    everything = stacked(dataset, IMAGE.name)
    assert validation.vectors(IMAGE.name).tobytes() == everything[5:8].tobytes()
    assert train.vectors(IMAGE.name, [4, 5]).tobytes() == everything[[4, 8]].tobytes()
    assert train.rows()["text"].to_pylist() == [f"text of row {row}" for row in (*range(5), *range(8, 12))]
    assert validation.digest == dataset.digest
    assert len(open_dataset(dataset.root, split="validation")) == 3
    with pytest.raises(UsageError, match="'test'"):
        dataset.split("test")


def test_a_split_without_rows_is_empty_and_keeps_its_columns(tmp_path):
    empty = write_dataset(tmp_path).split("validation")
    assert len(empty) == 0
    assert empty.vectors(IMAGE.name).shape == (0, 1, 8)
    assert empty.rows().column_names == ["uid", "text", "captions"]
    assert empty.rows(["uid"], where=pc.field("text") == "x").num_rows == 0


def test_a_missing_vector_file_is_reported_not_shifted(tmp_path):
    dataset = write_dataset(tmp_path)
    (tmp_path / dataset.shards[0].files[IMAGE.name].path).unlink()
    dataset = open_dataset(tmp_path)
    with pytest.raises(StorageError, match=r"image/enc/train-00000-\w+\.npy.*No such file"):
        dataset.vectors(IMAGE.name)
    assert dataset.vectors(IMAGE.name, [5]).shape == (1, 1, 8), "rows of other shards keep their numbers"


def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    dataset = write_dataset(tmp_path)
    for shard in dataset.shards:
        (tmp_path / shard.files[TEXT.name].path).unlink()
    dataset = open_dataset(tmp_path)
    assert dataset.vectors(IMAGE.name).shape == (8, 1, 8) and dataset.rows().num_rows == 8


def test_checking_by_size_alone_is_a_choice(tmp_path):
    dataset = write_dataset(tmp_path)
    path = tmp_path / dataset.shards[0].files[IMAGE.name].path
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert open_dataset(tmp_path, check="size").vectors(IMAGE.name).shape == (8, 1, 8)
    with pytest.raises(FormatError, match="sha256"):
        open_dataset(tmp_path).vectors(IMAGE.name)


@pytest.mark.parametrize("form", [str, pathlib.Path, lambda path: f"file://{path}", lambda path: f"{path}/"])
def test_a_dataset_opens_by_any_name_of_its_folder(tmp_path, form):
    write_dataset(tmp_path)
    dataset = open_dataset(form(tmp_path))
    assert dataset.vectors(IMAGE.name).shape == (8, 1, 8) and dataset.rows().num_rows == 8


@pytest.fixture
def remote(tmp_path, monkeypatch):
    monkeypatch.setenv("DFNDR_CACHE", str(tmp_path / "cache"))
    local = write_dataset(tmp_path / "set")
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "set"), "/remote-set", recursive=True)
    yield local, memory
    memory.rm("/remote-set", recursive=True)


def test_a_remote_dataset_gives_the_same_and_is_fetched_once(remote, tmp_path):
    local, memory = remote
    dataset = open_dataset("memory://remote-set")
    assert dataset.digest == local.digest
    assert dataset.vectors(IMAGE.name).tobytes() == local.vectors(IMAGE.name).tobytes()
    assert dataset.rows().equals(local.rows())
    for path in memory.find("/remote-set"):
        if not path.endswith("manifest.json"):
            memory.rm(path)
    again = open_dataset("memory://remote-set")
    assert again.vectors(IMAGE.name).tobytes() == local.vectors(IMAGE.name).tobytes()


def test_a_remote_file_that_was_altered_is_refused_and_does_not_stay_in_the_cache(remote):
    local, memory = remote
    path = f"/remote-set/{local.shards[0].files[IMAGE.name].path}"
    whole = memory.cat(path)
    memory.pipe(path, whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(FormatError, match=r"memory://remote-set/image/enc/.*sha256"):
        open_dataset("memory://remote-set").vectors(IMAGE.name)
    memory.pipe(path, whole)
    assert open_dataset("memory://remote-set").vectors(IMAGE.name).shape == (8, 1, 8)


def test_a_cached_file_that_was_truncated_is_fetched_again(remote, tmp_path):
    local, _ = remote
    open_dataset("memory://remote-set").vectors(IMAGE.name)
    stored = local.shards[0].files[IMAGE.name]
    (tmp_path / "cache" / stored.sha256[:2] / stored.sha256).write_bytes(b"half")
    assert open_dataset("memory://remote-set").vectors(IMAGE.name).tobytes() == local.vectors(IMAGE.name).tobytes()


def test_errors_say_where_expected_found_and_what_to_do(tmp_path):
    with pytest.raises(FormatError) as caught:
        open_dataset(tmp_path)
    error = caught.value
    assert re.fullmatch(r".+: expected .+, found .+\. .+", str(error))
    assert (error.where, error.exit_code) == (str(tmp_path), 1)
