"""Schedules of conditions and weights over a loader's epochs, against loaders with just one stage of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sampled import CONDITIONS, ROWS, SHUFFLES, WEIGHTS, epoch_of, flat, loader_of, sampled

from dfndr.errors import UsageError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return sampled(tmp_path_factory.mktemp("set"))


SCHEDULE = {
    "where": {0: CONDITIONS["high"][0], 2: None, 5: CONDITIONS["both"][0]},
    "weights": {0: None, 1: "weight", 4: np.array(WEIGHTS[::-1]), 6: None},
}


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_each_epoch_of_a_schedule_is_that_of_a_loader_with_just_its_stage(dataset, shuffle):
    loader = loader_of(dataset, shuffle=shuffle, seed=2, **SCHEDULE)
    for epoch in [*range(8), 3, 0, 5]:
        stage = {key: parts[max(first for first in parts if first <= epoch)] for key, parts in SCHEDULE.items()}
        alone = loader_of(dataset, shuffle=shuffle, seed=2, **stage)
        loader.set_epoch(epoch)
        alone.set_epoch(epoch)
        assert len(loader) == len(alone)
        assert epoch_of(loader) == epoch_of(alone)
        assert loader.state_dict() == {"seed": 2, "epoch": epoch + 1, "position": 0}


@settings(max_examples=25)
@given(
    batch_sizes=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    world_sizes=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    shuffle=st.sampled_from(SHUFFLES),
    epoch=st.integers(0, 6),
    data=st.data(),
)
def test_ranks_share_an_epoch_of_a_schedule_and_other_ranks_go_on_with_it(
    dataset, batch_sizes, world_sizes, shuffle, epoch, data
):
    def ranks(which, seed):
        return [
            loader_of(
                dataset,
                rank=rank,
                world_size=world_sizes[which],
                batch_size=batch_sizes[which],
                shuffle=shuffle,
                seed=seed,
                **SCHEDULE,
            )
            for rank in range(world_sizes[which])
        ]

    def steps(loaders, stop=0):
        each = [
            [batch.rows.tolist() for _, batch in zip(range(stop or 10**6), loader, strict=False)] for loader in loaders
        ]
        return [flat(step) for step in zip(*each, strict=True)]

    first = ranks(0, 1)
    for loader in first:
        loader.set_epoch(epoch)
    stop = data.draw(st.integers(1, len(first[0])))
    before = steps(first, stop)
    states = [loader.state_dict() for loader in first]
    assert all(state == states[0] for state in states)
    later = ranks(1, 99)
    for loader in later:
        loader.load_state_dict(states[0])
    alone = loader_of(dataset, shuffle=shuffle, seed=1, batch_size=ROWS, **SCHEDULE)
    assert flat(before) + flat(steps(later)) == epoch_of(alone, epoch)
    assert {loader.state_dict()["epoch"] for loader in later} == {epoch + 1}


def test_drop_last_drops_by_the_length_of_the_epoch(dataset):
    where, meets = CONDITIONS["low"]
    expected = sum(map(meets, range(ROWS))) // 16
    loader = loader_of(dataset, where=where, drop_last=True)
    assert len(loader) == expected == len(list(loader))


def test_a_position_beyond_the_epoch_it_is_of_is_refused(dataset):
    loader = loader_of(dataset, where={0: None, 3: CONDITIONS["low"][0]})
    count = sum(map(CONDITIONS["low"][1], range(ROWS)))
    loader.load_state_dict({"seed": 0, "epoch": 2, "position": ROWS})
    loader.load_state_dict({"seed": 0, "epoch": 3, "position": count})
    with pytest.raises(UsageError, match=f"to {count}, found {count + 1}"):
        loader.load_state_dict({"seed": 0, "epoch": 3, "position": count + 1})
