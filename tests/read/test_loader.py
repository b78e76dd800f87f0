"""The order of a loader's batches: each row once, whatever the ranks, and on from any state."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.loaded import CASES, flat, loaded, rows_of
from support.tiny import write_dataset

from dfndr.errors import UsageError
from dfndr.loader import Loader


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    return loaded(tmp_path_factory.mktemp("loaded"))


@pytest.fixture(scope="module")
def dataset(datasets):
    return datasets[60]


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


def test_a_dataset_without_rows_has_epochs_without_batches(tmp_path):
    loader = Loader(write_dataset(tmp_path, [0, 0]), ["image/enc"])
    assert len(loader) == 0
    assert rows_of(loader, epochs=2) == [[], []]
    assert loader.state_dict()["epoch"] == 2


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


def test_importing_the_loader_imports_neither_torch_nor_numpy_nor_pyarrow():
    code = "import sys, dfndr.loader; print({'torch', 'numpy', 'pyarrow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
