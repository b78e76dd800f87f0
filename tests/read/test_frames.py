"""A dataset as pandas, `datasets` and torch see it: the same rows, the same bits."""

import multiprocessing
import pickle
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from datasets import Features, Image
from support.explored import explored, picture
from support.tiny import CAPTION, IMAGE, TEXT, write_dataset

from dfndr.dataset import Dataset
from dfndr.errors import FormatError, MissingExtra, UsageError
from dfndr.format.schema import Space
from dfndr.frames import vector_array, vector_columns

DOTTED = Space("image", "vit.b-32", dim=4, dtype="float32")


@pytest.fixture
def tiny(tmp_path: Path) -> Dataset:
    return write_dataset(tmp_path / "tiny", (5, 3), (IMAGE, TEXT, CAPTION), splits=["train", "validation"])


def test_a_frame_has_the_columns_and_rows_that_were_asked_for(tiny: Dataset) -> None:
    frame = tiny.to_pandas(["text", "uid"], where=pc.field("text").isin(pa.array(["text of row 6", "text of row 2"])))
    assert list(frame.columns) == ["text", "uid"]
    assert list(frame["text"]) == ["text of row 2", "text of row 6"]
    assert list(tiny.to_pandas()["uid"]) == tiny.rows()["uid"].to_pylist()


def test_a_column_that_is_not_there_is_refused_by_all_three(tiny: Dataset) -> None:
    for make in (tiny.to_pandas, tiny.to_hf, lambda columns: tiny.to_torch(columns=columns)):
        with pytest.raises(UsageError, match="no such column"):
            make(["nothing"])


def test_hf_rows_are_the_rows_and_hf_vectors_the_vectors_bit_for_bit(tiny: Dataset) -> None:
    given = tiny.to_hf(["uid", "captions"], spaces=["caption/enc", "image/enc"])
    assert given.column_names == ["uid", "captions", "caption__enc", "image__enc"]
    assert list(given["uid"]) == tiny.rows()["uid"].to_pylist()
    arrays = given.with_format("arrow")[:]
    assert arrays["image__enc"].type == pa.list_(pa.float16(), 8)
    flat = pc.list_flatten(arrays["image__enc"]).to_numpy()
    assert flat.tobytes() == tiny.vectors("image/enc").tobytes()
    twice = pc.list_flatten(pc.list_flatten(arrays["caption__enc"])).to_numpy()
    assert twice.tobytes() == tiny.vectors("caption/enc").tobytes()


def test_hf_thumbnails_are_pictures(tmp_path: Path) -> None:
    given = explored(tmp_path / "set").to_hf(["uid", "thumbnail"])
    assert given.features["thumbnail"] == Image()
    assert given[2]["thumbnail"].getpixel((0, 0)) == (2 * 37, 2 * 91, 160)
    assert given[1]["thumbnail"] is None


def test_hf_fingerprints_tell_what_is_held_apart_and_equal_things_alike(tiny: Dataset) -> None:
    made = [
        tiny.to_hf(),
        tiny.to_hf(),
        tiny.to_hf(["uid"]),
        tiny.split("train").to_hf(),
        tiny.to_hf(spaces=["text/enc"]),
    ]
    prints = [given._fingerprint for given in made]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 4


def test_an_hf_dataset_of_an_empty_split_has_its_columns(tmp_path: Path) -> None:
    given = write_dataset(tmp_path / "tiny").split("validation").to_hf(["uid"], spaces=["image/enc"])
    assert (len(given), given.column_names) == (0, ["uid", "image__enc"])


def test_vectors_become_lists_over_the_same_memory(tiny: Dataset) -> None:
    block = tiny.mapped("caption/enc")[0]
    lists = vector_array(block)
    assert lists.flatten().flatten().buffers()[1].address == block.ctypes.data
    assert np.array(lists.to_pylist(), dtype=np.float16).tobytes() == block.tobytes()


def test_the_columns_of_spaces_are_words_of_sql_and_two_of_one_name_are_refused() -> None:
    assert vector_columns([DOTTED, CAPTION], ["uid"]) == {
        "image/vit.b-32": "image__vit_b_32",
        "caption/enc": "caption__enc",
    }
    with pytest.raises(UsageError, match="no other column image__vit_b_32"):
        vector_columns([DOTTED, Space("image", "vit-b-32", dim=4)], [])
    with pytest.raises(UsageError, match="no other column caption__enc"):
        vector_columns([CAPTION], ["caption__enc"])


def test_torch_rows_hold_what_the_dataset_holds_in_every_split(tiny: Dataset) -> None:
    for view in (tiny, tiny.split("train"), tiny.split("validation")):
        rows = view.to_torch(["image/enc", "caption/enc"], ["uid", "text"])
        assert len(rows) == len(view)
        texts = view.rows()["text"].to_pylist()
        for place, row in enumerate(rows):
            assert torch.equal(
                row["image/enc"], torch.from_numpy(view.vectors("image/enc", [place])[0, 0].astype("f4"))
            )
            assert torch.equal(
                row["caption/enc"], torch.from_numpy(view.vectors("caption/enc", [place])[0].astype("f4"))
            )
            assert row["text"] == texts[place]
        assert rows[-1]["text"] == texts[-1]


@pytest.mark.parametrize("row", [8, -9])
def test_a_torch_row_outside_of_the_dataset_is_an_index_error(tiny: Dataset, row: int) -> None:
    with pytest.raises(IndexError):
        tiny.to_torch()[row]


@pytest.mark.parametrize("method", [None, "fork", "spawn"])
def test_a_data_loader_gives_every_row_once_whatever_its_workers(
    tiny: Dataset, method: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if method is not None and method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method}")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", None, raising=False)  # or a spawned worker starts pytest
    rows = tiny.to_torch(columns=["uid"])
    assert rows[0]["uid"]  # maps are open before the workers are made
    options = {} if method is None else {"num_workers": 2 if method == "fork" else 1, "multiprocessing_context": method}
    batches = list(torch.utils.data.DataLoader(rows, batch_size=3, **options))
    assert [uid for batch in batches for uid in batch["uid"]] == tiny.rows()["uid"].to_pylist()
    vectors = torch.cat([batch["caption/enc"] for batch in batches])
    assert torch.equal(vectors, torch.from_numpy(tiny.vectors("caption/enc").astype("f4")))


def test_workers_are_sent_paths_and_not_vectors(tmp_path: Path) -> None:
    rows = write_dataset(tmp_path / "many", (4_000,), (IMAGE,)).to_torch(columns=["uid"])
    assert rows[3]["uid"]
    assert len(pickle.dumps(rows)) < 4_000


def test_a_file_that_was_altered_is_refused_before_a_row_is_read(tiny: Dataset) -> None:
    path = Path(tiny.root) / tiny.shards[1].files["image/enc"].path
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    for make in (tiny.to_torch, lambda: tiny.to_hf(spaces=["image/enc"])):
        with pytest.raises(FormatError, match="sha256"):
            make()


@pytest.mark.parametrize(("package", "make"), [("datasets", "to_hf"), ("torch", "to_torch")])
def test_a_package_that_is_missing_is_named_with_its_extra(
    tiny: Dataset, package: str, make: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=package):
        getattr(tiny, make)()


def test_features_survive_saving_and_loading(tmp_path: Path) -> None:
    given = explored(tmp_path / "set").to_hf(["uid", "thumbnail"], spaces=["image/enc"])
    given.to_parquet(tmp_path / "saved.parquet")
    again = Features.from_arrow_schema(pa.parquet.read_schema(tmp_path / "saved.parquet"))
    assert again == given.features
    assert picture(3) == pa.parquet.read_table(tmp_path / "saved.parquet")["thumbnail"][3]["bytes"].as_py()
