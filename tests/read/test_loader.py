"""The Loader over real datasets, against Dataset.vectors and Dataset.rows."""

from __future__ import annotations

import subprocess
import sys
from itertools import chain

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny import CAPTION, IMAGE, TEXT, write_dataset

from dfndr.dataset import open_dataset
from dfndr.errors import FormatError, MissingExtra, UsageError
from dfndr.format.schema import Space
from dfndr.loader import Loader

VIEWS = Space("image", "views", dim=8, per_row=4)
OTHER_VIEWS = Space("image", "other", dim=6, per_row=4, dtype="float32")
SHUFFLES = ["exact", "block", None]
FRAMEWORKS = ["torch", "numpy"]


def captions_of(row):
    return row % 4


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """Datasets by their number of rows; those of row r hold r % 4 captions of 3 places (3 of them for r % 4 == 3)."""

    def write(counts):
        captions = pa.array([["caption"] * captions_of(row) for row in range(sum(counts))], pa.list_(pa.string()))
        root = tmp_path_factory.mktemp("dataset")
        return write_dataset(root, counts, (IMAGE, TEXT, CAPTION, VIEWS, OTHER_VIEWS), columns={"captions": captions})

    written = [write([1]), write([25, 0, 3, 32]), write([300, 7, 403, 1])]
    return {len(dataset): dataset for dataset in written}


@pytest.fixture(scope="module")
def dataset(datasets):
    return datasets[60]


def rows_of(loader, epochs=1):
    return [[batch.rows.tolist() for batch in loader] for _ in range(epochs)]


CASES = {
    "size": st.sampled_from([1, 60, 711]),
    "batch_size": st.integers(1, 90),
    "world_size": st.integers(1, 5),
    "shuffle": st.sampled_from(SHUFFLES),
    "seed": st.integers(0, 3),
    "epoch": st.integers(0, 3),
}


def flat(lists):
    return list(chain.from_iterable(lists))


def loaders(dataset, world_size, **given):
    return [Loader(dataset, [], columns=[], rank=rank, world_size=world_size, **given) for rank in range(world_size)]


def steps(ranks):
    """Return the rows of each step of all ranks' present epochs, in order of rank; their steps must be as many."""
    return [flat(step) for step in zip(*[rows_of(rank)[0] for rank in ranks], strict=True)]


@settings(max_examples=50)
@given(**CASES)
def test_all_ranks_together_see_every_row_of_an_epoch_once_in_equal_numbers_of_steps(
    datasets, size, batch_size, world_size, shuffle, seed, epoch
):
    ranks = loaders(datasets[size], world_size, batch_size=batch_size, shuffle=shuffle, seed=seed)
    for rank in ranks:
        rank.set_epoch(epoch)
    seen = steps(ranks)
    assert len(seen) == len(ranks[0])
    assert sorted(flat(seen)) == list(range(size))


@settings(max_examples=50)
@given(**CASES)
def test_the_order_does_not_depend_on_batch_size_and_world_size(
    datasets, size, batch_size, world_size, shuffle, seed, epoch
):
    ranks = loaders(datasets[size], world_size, batch_size=batch_size, shuffle=shuffle, seed=seed)
    alone = Loader(datasets[size], [], columns=[], batch_size=size, shuffle=shuffle, seed=seed)
    for loader in [*ranks, alone]:
        loader.set_epoch(epoch)
    assert flat(steps(ranks)) == rows_of(alone)[0][0]


@settings(max_examples=50)
@given(**CASES, other_batch_size=st.integers(1, 90), other_world_size=st.integers(1, 5), data=st.data())
def test_resuming_goes_on_where_it_stopped_also_with_other_ranks_and_batches(
    datasets, size, batch_size, world_size, shuffle, seed, epoch, other_batch_size, other_world_size, data
):
    ranks = loaders(datasets[size], world_size, batch_size=batch_size, shuffle=shuffle, seed=seed)
    stop = data.draw(st.integers(1, len(ranks[0])))
    before = []
    for rank in ranks:
        rank.set_epoch(epoch)
        before.append([batch.rows.tolist() for _, batch in zip(range(stop), rank, strict=False)])
    states = [rank.state_dict() for rank in ranks]
    assert all(state == states[0] for state in states)
    later = loaders(datasets[size], other_world_size, batch_size=other_batch_size, shuffle=shuffle, seed=99)
    for rank in later:
        rank.load_state_dict(states[0])
    together = flat(flat(step) for step in zip(*before, strict=True)) + flat(steps(later))
    alone = Loader(datasets[size], [], columns=[], batch_size=size, shuffle=shuffle, seed=seed)
    alone.set_epoch(epoch)
    assert together == rows_of(alone)[0][0]
    assert {rank.state_dict()["epoch"] for rank in later} == {epoch + 1}


@settings(max_examples=50)
@given(**CASES)
def test_drop_last_leaves_out_the_rows_that_fill_no_step(datasets, size, batch_size, world_size, shuffle, seed, epoch):
    arguments = {"batch_size": batch_size, "shuffle": shuffle, "seed": seed}
    ranks = loaders(datasets[size], world_size, drop_last=True, **arguments)
    whole = loaders(datasets[size], world_size, **arguments)
    for rank in [*ranks, *whole]:
        rank.set_epoch(epoch)
    full = size // (batch_size * world_size)
    assert len(ranks[0]) == full
    assert steps(ranks) == steps(whole)[:full]
    assert ranks[0].state_dict() == {"seed": seed, "epoch": epoch + 1, "position": 0}


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


def test_epochs_follow_one_another_and_set_epoch_returns_to_one(dataset):
    loader = Loader(dataset, [], columns=[], batch_size=16)
    first, second = rows_of(loader, epochs=2)
    assert first != second
    loader.set_epoch(0)
    assert rows_of(loader) == [first]


def test_an_iteration_that_was_left_goes_on_where_it_stopped(dataset):
    whole = rows_of(Loader(dataset, [], columns=[], batch_size=16))[0]
    loader = Loader(dataset, [], columns=[], batch_size=16)
    assert next(iter(loader)).rows.tolist() == whole[0]
    loader.set_epoch(0)
    assert rows_of(loader) == [whole[1:]]


def test_the_state_is_three_integers_and_counts_rows_of_all_ranks(dataset):
    loader = Loader(dataset, [], columns=[], batch_size=7, seed=4, rank=1, world_size=3)
    next(iter(loader))
    assert loader.state_dict() == {"seed": 4, "epoch": 0, "position": 21}


def test_a_split_is_loaded_alone(tmp_path):
    whole = write_dataset(tmp_path, [5, 4, 3], splits=["train", "validation", "train"])
    uids = whole.rows(["uid"])["uid"].to_pylist()
    for name, expected in (("train", uids[:5] + uids[9:]), ("validation", uids[5:9])):
        part = whole.split(name)
        batch = next(iter(Loader(part, ["image/enc"], shuffle=None)))
        assert batch["uid"] == expected
        assert np.array_equal(np.asarray(batch["image/enc"]), part.vectors("image/enc")[:, 0])


def test_a_dataset_without_rows_has_epochs_without_batches(tmp_path):
    loader = Loader(write_dataset(tmp_path, [0, 0]), ["image/enc"])
    assert len(loader) == 0
    assert rows_of(loader, epochs=2) == [[], []]
    assert loader.state_dict()["epoch"] == 2


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


@pytest.mark.parametrize(
    "wrong",
    [
        {"spaces": ["image/none"]},
        {"spaces": "image/enc"},
        {"spaces": ["image/enc", "image/enc"]},
        {"columns": ["nothing"]},
        {"columns": "uid"},
        {"batch_size": 0},
        {"batch_size": 1.5},
        {"batch_size": True},
        {"shuffle": "fast"},
        {"shuffle": True},
        {"pick": "last"},
        {"framework": "jax"},
        {"rank": 2, "world_size": 2},
        {"rank": -1},
        {"world_size": 0},
        {"seed": "7"},
    ],
    ids=str,
)
def test_arguments_that_cannot_be_are_refused(dataset, wrong):
    with pytest.raises(UsageError):
        Loader(dataset, **{"spaces": ["image/enc"], **wrong})


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"seed": 0, "epoch": 0},
        {"seed": 0, "epoch": 0, "position": 61},
        {"seed": 0, "epoch": -1, "position": 0},
        {"seed": 0, "epoch": 0, "position": 0, "rank": 0},
        {"seed": "0", "epoch": 0, "position": 0},
    ],
    ids=str,
)
def test_what_is_no_state_of_this_loader_is_refused(dataset, state):
    with pytest.raises(UsageError):
        Loader(dataset, ["image/enc"]).load_state_dict(state)


def test_a_name_that_was_not_asked_for_is_refused_and_the_others_are_listed(dataset):
    batch = next(iter(Loader(dataset, ["image/enc"])))
    with pytest.raises(UsageError, match="image/enc, uid"):
        batch["text"]


def test_without_torch_the_loader_gives_arrays(dataset, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert isinstance(next(iter(Loader(dataset, ["image/enc"])))["image/enc"], np.ndarray)
    with pytest.raises(MissingExtra, match="dfndr\\[train\\]"):
        Loader(dataset, ["image/enc"], framework="torch")


def test_importing_the_loader_imports_neither_torch_nor_numpy_nor_pyarrow():
    code = "import sys, dfndr.loader; print({'torch', 'numpy', 'pyarrow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
