"""Hugging Face datasets as pools: what save_to_disk left, local folders of images, and a Hub that cannot be reached."""

from __future__ import annotations

import json

import pytest
from dfndr_builders.pools.hf import HfPool
from support.pools import picture, rows_of, seen

from dfndr.errors import PoolError

datasets = pytest.importorskip("datasets")

RED, BLUE = picture("red"), picture("blue")


def dataset(images: list[bytes | None], **columns: list[object]) -> datasets.Dataset:
    stored = [None if image is None else {"bytes": image, "path": None} for image in images]
    return datasets.Dataset.from_dict({"image": stored, **columns}).cast_column("image", datasets.Image())


@pytest.fixture
def quiet():
    """No progress bars, which `datasets` writes to stderr."""
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def test_a_saved_dataset_gives_its_images_as_they_are_and_kept_columns_with_their_type(tmp_path, quiet):
    dataset([RED, BLUE], text=["red", "blue"], label=[3, 5]).save_to_disk(str(tmp_path / "saved"))
    pool = HfPool(str(tmp_path / "saved"), keep=("label",), source="mine")
    assert str(pool.schema().field("label").type) == "int64"
    assert [(row["key"], row["text"], row["image"], row["label"], row["source"]) for row in rows_of(pool)] == [
        ("saved-train-00000:0", "red", RED, 3, "mine"),
        ("saved-train-00000:1", "blue", BLUE, 5, "mine"),
    ]


def test_a_large_saved_dataset_is_cut_into_shards_that_hold_every_row_once(tmp_path, quiet):
    texts = [str(n) for n in range(2500)]
    dataset([RED] * 2500, text=texts).save_to_disk(str(tmp_path / "saved"))
    pool = HfPool(str(tmp_path / "saved"))
    assert len(pool.shards()) == 3
    assert [text for (text,) in seen(pool, "text")] == texts


def test_a_split_is_chosen_and_an_absent_one_is_an_error(tmp_path, quiet):
    both = datasets.DatasetDict({"train": dataset([RED], text=["a"]), "test": dataset([BLUE], text=["b"])})
    both.save_to_disk(str(tmp_path / "saved"))
    assert seen(HfPool(str(tmp_path / "saved"), split="test"), "text") == [("b",)]
    with pytest.raises(PoolError, match=r"split 'dev'.*KeyError"):
        HfPool(str(tmp_path / "saved"), split="dev").shards()


def test_a_folder_of_images_with_metadata_is_read_through_its_paths(tmp_path, quiet):
    (tmp_path / "a.png").write_bytes(RED)
    (tmp_path / "b.png").write_bytes(BLUE)
    lines = [{"file_name": "a.png", "texts": ["red", "rouge"]}, {"file_name": "b.png", "texts": ["blue"]}]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert seen(HfPool(str(tmp_path), text="texts"), "text", "image") == [("red", RED), ("blue", BLUE)]
    every = HfPool(str(tmp_path), text="texts", every_text=True)
    assert seen(every, "text", "image") == [("red", RED), ("rouge", RED), ("blue", BLUE)]


def test_bad_samples_are_rows_with_their_reasons(tmp_path, quiet):
    dataset([None, RED, RED], text=["a", "", None]).save_to_disk(str(tmp_path / "saved"))
    assert seen(HfPool(str(tmp_path / "saved")), "problem") == [("image_missing",), ("text_empty",), ("text_missing",)]


def test_a_missing_column_is_an_error_that_names_the_nearest(tmp_path, quiet):
    dataset([RED], caption=["a"]).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(PoolError, match=r"Did you mean 'caption'\?"):
        HfPool(str(tmp_path / "saved"), text="captions").schema()


def test_a_hub_that_cannot_be_reached_is_one_clear_line(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PoolError) as caught:
        HfPool("someone/no-such-dataset-without-network").shards()
    assert "\n" not in str(caught.value)
    assert "expected a dataset that loads" in str(caught.value)
