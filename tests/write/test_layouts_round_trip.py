"""What is exported and imported again: every number, every column, every record, or the loss that the docs state."""

import inspect
import json
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from dfndr_builders.exports import Form, export
from dfndr_builders.imports import import_dataset, open_import
from dfndr_builders.imports.layout import Layout
from dfndr_builders.imports.opened import Kind
from dfndr_builders.layout_file import read_layout
from support.tiny import write_dataset

from dfndr import open_dataset
from dfndr.dataset import Dataset
from dfndr.errors import FormatError, UsageError
from dfndr.format.schema import Space, StorageType
from dfndr.verify import verify

ROWS = (5, 3, 4)
SPLITS = ("train", "train", "validation")
KINDS = get_args(Kind)
WIDE = ("dr", "parquet")
"""The layouts that have a place for several encoders, views and captions."""


def spaces_for(kind: str, dtype: StorageType = "float16") -> tuple[Space, ...]:
    """Return all spaces that a layout has a place for."""
    if kind == "clip-retrieval":
        return Space("image", "first", 6, dtype=dtype), Space("text", "first", 6, dtype=dtype)
    if kind == "datacomp":
        names = [(modality, name, dim) for name, dim in (("b-32", 6), ("l.14", 4)) for modality in ("image", "text")]
        return tuple(Space(modality, name, dim, dtype=dtype) for modality, name, dim in names)  # type: ignore[arg-type]
    counts = (("image", 3), ("text", 1), ("caption", 2))
    return tuple(
        Space(modality, name, dim, count, dtype)  # type: ignore[arg-type]
        for name, dim in (("first", 6), ("second", 4))
        for modality, count in counts
    )


def dataset_for(folder: Path, kind: str, dtype: StorageType = "float16") -> Dataset:
    """Write a dataset with columns of many types; row 1 has one caption, row 2 none, and not every row has an url."""
    rows = sum(ROWS)
    captions = [[f"caption {place} of {row}" for place in range({1: 1, 2: 0}.get(row, 2))] for row in range(rows)]
    view = "[[1,2,30,40],[[2,-0.09000000357627869],[0,0.0]]]"
    columns = {
        "text": [None if row == 3 else f"text of {row} \N{SNOWMAN}" for row in range(rows)],
        "url": [None if row == 4 else f"https://example.org/{row}" for row in range(rows)],
        "captions": pa.array(captions, pa.list_(pa.string())),
        "caption_models": pa.array([["coca"] * len(found) for found in captions], pa.list_(pa.string())),
        "caption_scores": pa.array([[0.25] * len(found) for found in captions], pa.list_(pa.float32())),
        "sha256": [f"{row:064x}" for row in range(rows)],
        "width": pa.array(range(100, 100 + rows), pa.int32()),
        "height": pa.array(range(200, 200 + rows), pa.int32()),
        "source": [f"source {row % 2}" for row in range(rows)],
        "score": pa.array(np.linspace(0, 1, rows), pa.float32()),
        "views": pa.array([[view] * 3] * rows, pa.list_(pa.string())),
        "thumbnail": pa.array(
            [{"bytes": bytes([row]), "path": None} for row in range(rows)],
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        ),
    }
    if kind not in WIDE:
        del columns["views"]
    return write_dataset(folder, ROWS, spaces_for(kind, dtype), columns=columns, splits=SPLITS)


def imported(kind: Any, folder: Path, out: Path, **more: Any) -> Dataset:
    """Import what an export wrote, with no word about it but where it is."""
    layout, given = open_import(kind, str(folder / "*.tar") if kind == "dr" else str(folder), **more)
    import_dataset(layout, given, out)
    assert [str(finding) for finding in verify(str(out)).findings] == []
    return open_dataset(out)


def same(found: Dataset, given: Dataset) -> None:
    """Assert that a dataset holds all that another one does."""
    assert found.spaces == given.spaces
    for name in given.spaces:
        assert found.vectors(name).dtype == given.vectors(name).dtype
        if given.spaces[name].dtype == "int8":  # its scale is computed again, and may differ in the last bit
            np.testing.assert_allclose(found.vectors(name), given.vectors(name), rtol=2.0**-22)
        else:
            assert found.vectors(name).tobytes() == given.vectors(name).tobytes(), name
    same_rows(found, given)
    assert found.manifest.encoders == given.manifest.encoders
    assert (found.manifest.name, found.manifest.license) == (given.manifest.name, given.manifest.license)
    for split in ("train", "validation"):
        assert found.split(split).rows(["uid"]).to_pylist() == given.split(split).rows(["uid"]).to_pylist()


def same_rows(found: Dataset, given: Dataset) -> None:
    """Assert that every column comes back with its type."""
    for field in given.schema():
        assert found.schema().field(field.name).type == field.type
        assert found.rows([field.name])[field.name].to_pylist() == given.rows([field.name])[field.name].to_pylist()


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        *((kind, dtype) for kind in WIDE for dtype in get_args(StorageType)),
        *(("clip-retrieval", dtype) for dtype in ("float32", "int8")),
        *(("datacomp", dtype) for dtype in ("float16", "bfloat16")),
    ],
)
def test_a_dataset_comes_back_from_every_layout_bit_by_bit(tmp_path: Path, kind: Any, dtype: StorageType) -> None:
    given = dataset_for(tmp_path / "given", kind, dtype)
    export(given, kind, str(tmp_path / "exported"))
    same(imported(kind, tmp_path / "exported", tmp_path / "again"), given)


def test_tars_with_the_captions_vectors_below_the_texts_come_back_too(tmp_path: Path) -> None:
    given = dataset_for(tmp_path / "given", "dr")
    export(given, "dr", str(tmp_path / "exported"), form=Form(legacy=True))
    same(imported("dr", tmp_path / "exported", tmp_path / "again"), given)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_tars_of_bfloat16_lose_what_the_docs_say_and_no_row(tmp_path: Path, dtype: StorageType) -> None:
    given = dataset_for(tmp_path / "given", "dr", dtype)
    export(given, "dr", str(tmp_path / "exported"), form=Form(bfloat16=True))
    found = imported("dr", tmp_path / "exported", tmp_path / "again")
    assert {space.dtype for space in found.spaces.values()} == {"bfloat16"}
    for name in given.spaces:
        rounded = torch.from_numpy(np.array(given.vectors(name))).bfloat16().float().numpy()
        assert np.array_equal(found.vectors(name), rounded), name
    same_rows(found, given)


def test_captions_of_several_captioners_stand_together_each_with_its_vector(tmp_path: Path) -> None:
    spaces = (Space("image", "first", 6), Space("text", "first", 6), Space("caption", "first", 6, 3))
    columns = {
        "captions": pa.array([["a0", "b0", "a1"]] * 3, pa.list_(pa.string())),
        "caption_models": pa.array([["A", "B", "A"]] * 3, pa.list_(pa.string())),
        "caption_seeds": pa.array([[1, 2, 3]] * 3, pa.list_(pa.int64())),
    }
    given = write_dataset(tmp_path / "given", (3,), spaces, columns=columns)
    export(given, "dr", str(tmp_path / "exported"))
    found = imported("dr", tmp_path / "exported", tmp_path / "again")
    (row, *_) = found.rows().to_pylist()
    assert (row["captions"], row["caption_seeds"]) == (["a0", "a1", "b0"], [1, 3, 2])
    assert np.array_equal(found.vectors("caption/first"), given.vectors("caption/first")[:, [0, 2, 1]])


@pytest.mark.parametrize("kind", ["clip-retrieval", "datacomp"])
def test_what_a_layout_has_no_place_for_is_said(tmp_path: Path, kind: Any) -> None:
    given = dataset_for(tmp_path / "given", "dr")
    done = export(given, kind, str(tmp_path / "exported"))
    readme = (tmp_path / "exported" / "README.md").read_text(encoding="utf-8")
    assert "`caption/first` has no place in this layout." in readme
    assert "Of the 3 vectors of `image/first` the first is written." in readme
    assert done.startswith(str(tmp_path / "exported"))
    (tmp_path / "bare").mkdir()
    found = open_import(kind, str(tmp_path / "exported"))[0].spaces()
    assert {space.name: space.per_row for space in found}["image/first"] == 1


def test_the_dr_layout_is_that_of_the_published_tars(tmp_path: Path) -> None:
    import tarfile

    given = dataset_for(tmp_path / "given", "dr", "float32")
    export(given, "dr", str(tmp_path / "exported"))
    uid = given.rows(["uid"])["uid"][0].as_py()
    with tarfile.open(tmp_path / "exported" / "00000000.tar") as tar:
        names = [name for name in tar.getnames() if name.startswith(uid)]
        data = {name.removeprefix(uid): tar.extractfile(name).read() for name in names}  # type: ignore[union-attr]
    assert list(data) == [".url.txt", ".txt", ".syn.json", ".paug.json", ".npz", ".json"]
    (tmp_path / "one.npz").write_bytes(data[".npz"])
    arrays = np.load(tmp_path / "one.npz", allow_pickle=False)
    assert {name: (arrays[name].shape, str(arrays[name].dtype)) for name in arrays.files} == {
        "image_emb": ((3, 10), "float32"),
        "text_emb": ((1, 10), "float32"),
        "syn_text_coca_emb": ((2, 10), "float32"),
    }
    image = np.concatenate([given.vectors("image/first")[0], given.vectors("image/second")[0]], axis=1)
    assert np.array_equal(arrays["image_emb"], image)
    assert json.loads(data[".syn.json"]) == {"syn_text_coca": ["caption 0 of 0", "caption 1 of 0"]}
    view = [[1, 2, 30, 40], [[2, -0.09000000357627869], [0, 0.0]]]
    assert json.loads(data[".paug.json"]) == {"param_aug": [view] * 3}
    about = json.loads(data[".json"])
    assert (about["uid"], about["sha256"], about["width"]) == (uid, "0" * 64, 100)
    told = read_layout(str(tmp_path / "exported"), "dr")
    assert told is not None and told.places["caption/second"] == "syn_text..._emb[:, 6:10]"


def test_files_of_one_number_have_one_row_for_each_sample_and_sort_as_they_are_paired(tmp_path: Path) -> None:
    given = write_dataset(tmp_path / "given", (2,) * 11, spaces_for("clip-retrieval"))
    export(given, "clip-retrieval", str(tmp_path / "exported"))
    listed = {
        name: sorted(path.name for path in (tmp_path / "exported" / name).iterdir())
        for name in ("img_emb", "text_emb", "metadata")
    }
    numbers = [f"{number:02d}" for number in range(11)]
    assert listed["img_emb"] == [f"img_emb_{number}.npy" for number in numbers]
    assert listed["metadata"] == [f"metadata_{number}.parquet" for number in numbers]
    uids, start = given.rows(["uid"])["uid"].to_pylist(), 0
    for image, metadata in zip(listed["img_emb"], listed["metadata"], strict=True):
        vectors = np.load(tmp_path / "exported" / "img_emb" / image)
        table = pq.read_table(tmp_path / "exported" / "metadata" / metadata)
        assert np.array_equal(vectors, given.vectors("image/first", slice(start, start + 2))[:, 0])
        assert table["uid"].to_pylist() == uids[start : start + 2]
        start += 2


# ---------------------------------------------------------------- going on, and other folders


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_that_was_stopped_goes_on_and_ends_in_the_same_bytes(
    tmp_path: Path, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, out = dataset_for(tmp_path / "given", kind), tmp_path / "exported"
    export(given, kind, str(tmp_path / "whole"))
    from dfndr import storage

    real, calls = storage.put, []

    def stopping(root: str, path: str, data: Any, **more: Any) -> Any:
        calls.append(path)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(root, path, data, **more)

    monkeypatch.setattr(storage, "put", stopping)
    with pytest.raises(KeyboardInterrupt):
        export(given, kind, str(out))
    monkeypatch.undo()
    assert not list(out.rglob(".tmp-*")) and not (out / "layout.json").exists()
    export(given, kind, str(out))
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.parent.name != "exported"}
    export(given, kind, str(out))  # a third time writes no part again
    assert all(path.stat().st_mtime_ns == time for path, time in written.items() if path.name != "plan.json")
    for path in (tmp_path / "whole").rglob("*"):
        if path.is_file():
            assert (out / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes(), path


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_of_another_export_or_of_something_else_is_left_alone(tmp_path: Path, kind: Any) -> None:
    given = dataset_for(tmp_path / "given", kind)
    other = write_dataset(tmp_path / "other", (2,), spaces_for(kind))
    export(given, kind, str(tmp_path / "out"))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="another export"):
        export(other, kind, str(tmp_path / "out"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"mine\.txt"):
        export(given, kind, str(tmp_path / "full"))
    assert sorted(path for path in tmp_path.rglob("*") if "full" not in path.parts) == before


# ---------------------------------------------------------------- what every reader has


@pytest.mark.parametrize("kind", KINDS)
def test_defect_11_every_reader_has_all_that_its_protocol_names_and_keeps_to_it(tmp_path: Path, kind: Any) -> None:
    given = dataset_for(tmp_path / "given", kind)
    export(given, kind, str(tmp_path / "out"))
    layout, _ = open_import(kind, str(tmp_path / "out" / "*.tar") if kind == "dr" else str(tmp_path / "out"))
    for name in [name for name in vars(Layout) if not name.startswith("_")]:
        assert hasattr(layout, name), name
        if inspect.isfunction(there := vars(Layout)[name]):
            theirs = getattr(type(layout), name)
            assert list(inspect.signature(theirs).parameters) == list(inspect.signature(there).parameters)
            assert get_type_hints(theirs) == get_type_hints(there)
    assert layout.kind == kind
    shards, uids = layout.shards(), []
    assert [shard.index for shard in shards] == list(range(len(shards)))
    for shard in shards:
        tables = list(layout.read(shard))
        assert all(table.schema == layout.schema() for table in tables)
        again = pa.concat_tables(layout.read(shard))
        assert again == pa.concat_tables(tables)
        assert again["uid"].to_pylist() == list(layout.uids(shard))
        assert again["problem"].null_count == len(again)
        uids += again["uid"].to_pylist()
    assert uids == given.rows(["uid"])["uid"].to_pylist()


def test_what_is_said_of_an_export_is_checked(tmp_path: Path) -> None:
    given = dataset_for(tmp_path / "given", "parquet")
    export(given, "parquet", str(tmp_path / "out"))
    path = tmp_path / "out" / "layout.json"
    told = json.loads(path.read_text())
    for change in ({"format": "dfndr-export/9"}, {"spaces": 3}, {"encoders": {}}, {"places": {}}, {"kind": 1}):
        path.write_text(json.dumps(told | change))
        with pytest.raises(FormatError, match=r"layout\.json"):
            open_import("parquet", str(tmp_path / "out"))
    path.write_text(json.dumps(told))
    with pytest.raises(FormatError, match="an export of kind datacomp"):
        open_import("datacomp", str(tmp_path / "out"))
