"""The order of rows, against brute force: every row once, and the same order however it is asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfndr.order import BLOCK, RUN, WINDOW, Order, draw, permute, share

SHUFFLES = st.sampled_from(["exact", "block", None])
ROWS = st.integers(0, 3 * BLOCK + 5)


@given(size=st.integers(0, 2000), key=st.integers(0, 2**64 - 1))
def test_permute_is_a_permutation(size, key):
    assert sorted(permute(np.arange(size), size, key).tolist()) == list(range(size))


@given(size=st.integers(2**32, 2**61), key=st.integers(0, 2**64 - 1), data=st.data())
def test_permute_stays_inside_and_apart_for_sizes_that_no_table_could_hold(size, key, data):
    positions = data.draw(st.lists(st.integers(0, size - 1), unique=True, max_size=50))
    sent = permute(np.array(positions, dtype=np.int64), size, key)
    assert ((sent >= 0) & (sent < size)).all()
    assert len(set(sent.tolist())) == len(positions)


def test_permute_sends_each_position_to_each_place_about_equally_often():
    size, keys = 20, 4000
    counts = np.zeros((size, size))
    for key in range(keys):
        counts[np.arange(size), permute(np.arange(size), size, key)] += 1
    expected = keys / size
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert chi2 < (size - 1) ** 2 + 5 * np.sqrt(2 * (size - 1) ** 2)  # five standard deviations


@pytest.mark.parametrize("word", [np.uint32, np.uint64])
def test_draw_gives_every_number_below_the_bound_about_equally_often(word):
    counts = np.bincount(draw(np.arange(60_000).astype(word), 7, 6).astype(np.int64), minlength=6)
    assert len(counts) == 6
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 30


@given(rows=ROWS, shuffle=SHUFFLES, seed=st.integers(), epoch=st.integers(0, 5))
def test_an_epoch_holds_every_row_once(rows, shuffle, seed, epoch):
    assert sorted(Order(rows, shuffle, seed).at(epoch, 0, rows).rows().tolist()) == list(range(rows))


@given(rows=ROWS, shuffle=SHUFFLES, seed=st.integers(0, 3), data=st.data())
def test_a_slice_of_the_order_is_what_the_whole_order_has_there(rows, shuffle, seed, data):
    order = Order(rows, shuffle, seed)
    start = data.draw(st.integers(0, rows))
    stop = data.draw(st.integers(start, rows))
    assert order.at(1, start, stop).rows().tolist() == order.at(1, 0, rows).rows()[start:stop].tolist()


@given(rows=ROWS, shuffle=SHUFFLES, data=st.data())
def test_a_part_of_runs_is_the_same_part_of_their_rows(rows, shuffle, data):
    runs = Order(rows, shuffle, 0).at(0, 0, rows // RUN * RUN)
    start = data.draw(st.integers(0, len(runs)))
    stop = data.draw(st.integers(start, len(runs)))
    assert runs.part(start, stop).rows().tolist() == runs.rows()[start:stop].tolist()


def test_no_shuffle_keeps_the_order_of_the_dataset():
    assert Order(100, None, 3).at(2, 10, 74).rows().tolist() == list(range(10, 74))


@pytest.mark.parametrize("shuffle", ["exact", "block"])
@pytest.mark.parametrize("rows", [100, 1000, 5000])
def test_epochs_and_seeds_differ(shuffle, rows):
    orders = [Order(rows, shuffle, seed).at(epoch, 0, rows).rows() for seed in (0, 1) for epoch in (0, 1)]
    assert all((one != other).mean() > 0.5 for index, one in enumerate(orders) for other in orders[:index])


@pytest.mark.parametrize("shuffle", ["exact", "block"])
def test_a_row_is_as_likely_early_as_late(shuffle):
    rows = 3000
    places = np.zeros(rows)
    for epoch in range(60):
        places[Order(rows, shuffle, 0).at(epoch, 0, rows).rows()] += np.arange(rows)
    mean, deviation = (rows - 1) / 2, rows / np.sqrt(12 * 60)
    assert np.abs(places / 60 - mean).max() < 6 * deviation


def test_block_shuffle_reads_runs_of_neighbouring_rows_and_mixes_many_blocks_in_a_batch():
    rows = 200_000
    batch = Order(rows, "block", 0).at(0, 8192, 12_288).rows()
    runs = batch.reshape(-1, RUN)
    assert ((runs - runs[:, :1]) % rows == np.arange(RUN)).all()
    assert len(set((runs[:, 0] // BLOCK).tolist())) > 50
    assert runs[:, 0].std() > rows / 6  # from all over the dataset, not from one neighbourhood


def test_a_window_of_block_shuffle_reads_whole_blocks():
    rows = 3 * WINDOW * BLOCK
    window = np.sort(Order(rows, "block", 0).at(0, 0, WINDOW * BLOCK).rows())
    gaps = np.flatnonzero(np.diff(window) != 1)
    assert len(gaps) < WINDOW
    assert len(window) == WINDOW * BLOCK


@given(left=st.integers(0, 300), batch_size=st.integers(1, 40), world_size=st.integers(1, 7), drop_last=st.booleans())
def test_the_shares_of_all_ranks_tile_the_step(left, batch_size, world_size, drop_last):
    shares = [
        share(left, batch_size=batch_size, rank=rank, world_size=world_size, drop_last=drop_last)
        for rank in range(world_size)
    ]
    if left == 0 or (drop_last and left < batch_size * world_size):
        assert shares == [None] * world_size
        return
    taken = min(left, batch_size * world_size)
    assert [end for _, _, end in shares] == [taken] * world_size
    assert [row for first, last, _ in shares for row in range(first, last)] == list(range(taken))
    sizes = [last - first for first, last, _ in shares]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= batch_size
