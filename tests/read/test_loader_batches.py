"""What a loader's batches hold: against Dataset.vectors and Dataset.rows."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.loaded import CASES, FRAMEWORKS, SHUFFLES, captions_of, loaded
from support.tiny import write_dataset

from dfndr.dataset import open_dataset
from dfndr.errors import FormatError, MissingExtra, UsageError
from dfndr.loader import Loader


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    return loaded(tmp_path_factory.mktemp("loaded"))


@pytest.fixture(scope="module")
def dataset(datasets):
    return datasets[60]


@settings(max_examples=30)
@given(**CASES, framework=st.sampled_from(FRAMEWORKS))
def test_vectors_and_columns_are_those_of_the_rows(
    datasets, size, batch_size, world_size, shuffle, seed, epoch, framework
):
    dataset = datasets[size]
    whole, columns = {name: dataset.vectors(name) for name in dataset.spaces}, dataset.rows().to_pydict()
    for rank in range(world_size):
        loader = Loader(
            dataset,
            list(whole),
            columns=["text", "uid"],
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            rank=rank,
            world_size=world_size,
            framework=framework,
        )
        loader.set_epoch(epoch)
        for batch in loader:
            assert batch["uid"] == [columns["uid"][row] for row in batch.rows]
            assert batch["text"] == [f"text of row {row}" for row in batch.rows]
            for name, vectors in whole.items():
                places = batch.places.get(name, np.zeros(len(batch), dtype=int))
                assert np.array_equal(np.asarray(batch[name]), vectors[batch.rows, places])


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_vectors_come_in_the_type_they_are_stored_in(dataset, framework):
    batch = next(iter(Loader(dataset, list(dataset.spaces), batch_size=10, framework=framework)))
    assert np.asarray(batch["image/enc"]).dtype == np.float16
    assert np.asarray(batch["image/other"]).dtype == np.float32
    assert type(batch["image/enc"]).__name__ == {"torch": "Tensor", "numpy": "ndarray"}[framework]
    assert tuple(batch["image/enc"].shape) == (10, 8)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_picking_all_gives_every_vector_of_a_row(datasets, shuffle, framework):
    dataset = datasets[711]
    loader = Loader(
        dataset, ["caption/enc", "image/enc"], batch_size=64, shuffle=shuffle, pick="all", framework=framework
    )
    for batch in loader:
        assert np.array_equal(np.asarray(batch["caption/enc"]), dataset.vectors("caption/enc")[batch.rows])
        assert np.array_equal(np.asarray(batch["image/enc"]), dataset.vectors("image/enc")[batch.rows])
        assert dict(batch.places) == {}


def test_picking_the_first_gives_the_first(dataset):
    for batch in Loader(dataset, ["caption/enc", "image/views"], batch_size=7, pick="first"):
        assert batch.places["caption/enc"].tolist() == batch.places["image/views"].tolist() == [0] * len(batch)
        assert np.array_equal(np.asarray(batch["image/views"]), dataset.vectors("image/views")[batch.rows, 0])


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_free_place_is_never_picked_where_a_row_has_a_caption(dataset, framework):
    loader = Loader(dataset, ["caption/enc"], batch_size=16, framework=framework)
    picked = {row: set() for row in range(60)}
    for _ in range(40):
        for batch in loader:
            norms = np.linalg.norm(np.asarray(batch["caption/enc"], dtype=np.float32), axis=1)
            for row, place, norm in zip(batch.rows.tolist(), batch.places["caption/enc"].tolist(), norms, strict=True):
                assert (norm > 0) == (captions_of(row) > 0)
                picked[row].add(place)
    assert all(places == set(range(max(captions_of(row), 1))) for row, places in picked.items())


def test_picks_depend_on_seed_epoch_and_row_alone(datasets):
    def picks(**given):
        loader = Loader(datasets[711], ["image/views", "caption/enc"], **given)
        loader.set_epoch(2)
        return {
            row: (view, caption)
            for batch in loader
            for row, view, caption in zip(
                batch.rows.tolist(), batch.places["image/views"], batch.places["caption/enc"], strict=True
            )
        }

    alone = picks(batch_size=711, shuffle=None, seed=5)
    assert alone == picks(batch_size=10, shuffle="exact", seed=5) == picks(batch_size=64, shuffle="block", seed=5)
    assert alone == {**picks(rank=0, world_size=2, seed=5), **picks(rank=1, world_size=2, seed=5)}
    assert alone != picks(batch_size=711, shuffle=None, seed=6)


def test_spaces_of_one_modality_give_the_same_view(dataset):
    for batch in Loader(dataset, ["image/views", "image/other"], batch_size=13):
        assert batch.places["image/views"].tolist() == batch.places["image/other"].tolist()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_batches_that_are_kept_are_never_written_over(datasets, framework):
    dataset = datasets[711]
    loader = Loader(dataset, ["image/enc"], batch_size=32, framework=framework)
    kept = [(batch.rows, batch["image/enc"]) for batch in loader]
    parts = [(batch.rows[5], batch["image/enc"][5]) for batch in loader if len(batch) > 5]
    for _ in loader:
        pass
    for rows, vectors in kept + parts:
        assert np.array_equal(np.asarray(vectors), dataset.vectors("image/enc")[rows, 0])


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_changing_a_batch_changes_no_file_and_no_later_batch(dataset, framework):
    loader = Loader(dataset, ["image/enc"], batch_size=60, shuffle=None, framework=framework)
    before = dataset.vectors("image/enc")
    for batch in loader:
        batch["image/enc"][:] = 7
        batch.rows[:] = 0
    assert np.array_equal(np.asarray(next(iter(loader))["image/enc"]), before[:, 0])
    assert np.array_equal(open_dataset(dataset.root).vectors("image/enc"), before)


def test_a_split_is_loaded_alone(tmp_path):
    whole = write_dataset(tmp_path, [5, 4, 3], splits=["train", "validation", "train"])
    uids = whole.rows(["uid"])["uid"].to_pylist()
    for name, expected in (("train", uids[:5] + uids[9:]), ("validation", uids[5:9])):
        part = whole.split(name)
        batch = next(iter(Loader(part, ["image/enc"], shuffle=None)))
        assert batch["uid"] == expected
        assert np.array_equal(np.asarray(batch["image/enc"]), part.vectors("image/enc")[:, 0])


def test_a_rank_without_rows_gets_an_empty_batch(datasets):
    loader = Loader(datasets[1], ["image/enc", "caption/enc"], rank=2, world_size=3)
    (batch,) = loader
    assert len(batch) == 0
    assert tuple(batch["image/enc"].shape) == (0, 8)
    assert batch["uid"] == []


def test_an_altered_file_is_refused_before_a_vector_of_it_is_given(tmp_path):
    dataset = write_dataset(tmp_path, [5, 3])
    path = tmp_path / dataset.shards[1].files["image/enc"].path
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match="sha256"):
        next(iter(Loader(open_dataset(tmp_path), ["image/enc"])))


def test_a_name_that_was_not_asked_for_is_refused_and_the_others_are_listed(dataset):
    batch = next(iter(Loader(dataset, ["image/enc"])))
    with pytest.raises(UsageError, match="image/enc, uid"):
        batch["text"]


def test_without_torch_the_loader_gives_arrays(dataset, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert isinstance(next(iter(Loader(dataset, ["image/enc"])))["image/enc"], np.ndarray)
    with pytest.raises(MissingExtra, match="dfndr\\[train\\]"):
        Loader(dataset, ["image/enc"], framework="torch")
