"""Conditions, weights and schedules of the Loader, against what plain Python says of the same rows."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pyarrow.compute as pc
import pytest
from support.sampled import CONDITIONS, ROWS, SCORES, SHUFFLES, WEIGHTS, comb, epoch_of, loader_of, sampled
from support.tiny import write_dataset

from dfndr.dataset import open_dataset
from dfndr.errors import FormatError, UsageError
from dfndr.loader import Loader
from dfndr.order import BLOCK
from dfndr.sampling import Sampling
from dfndr.seeds import hash_fraction

field = pc.field


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return sampled(tmp_path_factory.mktemp("set"))


@pytest.mark.parametrize("shuffle", SHUFFLES)
@pytest.mark.parametrize("name", CONDITIONS)
def test_an_epoch_holds_each_row_that_meets_the_condition_once_and_a_null_meets_none(dataset, name, shuffle):
    where, meets = CONDITIONS[name]
    loader = loader_of(dataset, where=where, shuffle=shuffle)
    expected = [row for row in range(ROWS) if meets(row)]
    assert len(loader) == -(-len(expected) // 16)
    for _ in range(2):
        seen = epoch_of(loader)
        assert sorted(seen) == expected
        assert (seen == expected) == (shuffle is None)


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_weights_bring_a_row_floor_or_ceil_of_its_share_and_over_many_epochs_just_its_share(dataset, shuffle):
    loader = loader_of(dataset, weights="weight", shuffle=shuffle)
    counts, epochs, share = Counter(), 200, ROWS / sum(WEIGHTS)
    for _ in range(epochs):
        seen = Counter(epoch_of(loader))
        assert seen.total() == ROWS
        assert all(
            math.floor(weight * share) <= seen[row] <= math.ceil(weight * share) for row, weight in enumerate(WEIGHTS)
        )
        counts += seen
    found = np.array([counts[row] for row in range(ROWS)]) / epochs
    deviation = 0.5 / math.sqrt(epochs)  # of a coin's mean, the most that floor or ceil can vary
    assert np.abs(found - np.array(WEIGHTS) * share).max() < 5 * deviation


def test_weights_among_the_rows_that_meet_a_condition_are_those_of_brute_force(dataset):
    where, meets = CONDITIONS["both"]
    rows = [row for row in range(ROWS) if meets(row)]
    for epoch in (0, 3):
        drawn = comb([WEIGHTS[row] for row in rows], hash_fraction(5, "weights", epoch))
        for weights in ("weight", np.array(WEIGHTS), WEIGHTS, np.array(WEIGHTS, dtype=np.uint8)):
            loader = loader_of(dataset, where=where, weights=weights, seed=5, shuffle=None)
            assert epoch_of(loader, epoch) == [rows[item] for item in drawn]


def test_equal_weights_bring_every_row_once_in_the_same_order_as_none(dataset):
    for shuffle in SHUFFLES:
        plain = epoch_of(loader_of(dataset, shuffle=shuffle, seed=3))
        for same in ({"weights": np.full(ROWS, 0.1)}, {"where": {0: None}, "weights": {0: None}}):
            assert epoch_of(loader_of(dataset, shuffle=shuffle, seed=3, **same)) == plain


def test_what_comes_twice_depends_on_seed_and_epoch(dataset):
    def drawn(seed, epoch):
        return sorted(epoch_of(loader_of(dataset, weights="weight", seed=seed), epoch))

    assert drawn(0, 1) == drawn(0, 1)
    assert len({tuple(drawn(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


@pytest.mark.parametrize("framework", ["torch", "numpy"])
@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_vectors_and_columns_are_those_of_the_rows_and_copies_pick_captions_of_their_own(dataset, shuffle, framework):
    whole = {name: dataset.vectors(name) for name in dataset.spaces}
    uids, heavy = dataset.rows(["uid"])["uid"].to_pylist(), np.ones(ROWS)
    heavy[103] = 60
    loader = Loader(
        dataset, list(whole), where=field("source") == "b", weights=heavy, shuffle=shuffle, framework=framework,
        batch_size=50,
    )  # fmt: skip
    picked = Counter()
    for batch in loader:
        assert batch["uid"] == [uids[row] for row in batch.rows]
        places = batch.places["caption/enc"]
        assert np.array_equal(np.asarray(batch["image/enc"]), whole["image/enc"][batch.rows, 0])
        assert np.array_equal(np.asarray(batch["caption/enc"]), whole["caption/enc"][batch.rows, places])
        picked.update(places[batch.rows == 103].tolist())
        batch.rows[:] = 0  # what the caller does with a batch is no matter to the loader
    assert set(picked) == {0, 1, 2} and picked.total() > 30


def test_the_first_copy_of_a_row_picks_what_it_picks_without_weights(dataset):
    def picks(**given):
        loader = Loader(dataset, ["caption/enc"], columns=[], shuffle=None, seed=4, **given)
        found = {}
        for batch in loader:
            for row, place in zip(batch.rows.tolist(), batch.places["caption/enc"].tolist(), strict=True):
                found.setdefault(row, place)
        return found

    plain, weighted = picks(), picks(weights="weight")
    assert weighted == {row: plain[row] for row in weighted}


def test_block_shuffle_keeps_blocks_of_chosen_rows_together(tmp_path):
    rows = 40_000
    columns = {"third": [row % 3 == 0 for row in range(rows)], "text": [""] * rows, "captions": [[""]] * rows}
    dataset = write_dataset(tmp_path, [rows], (), columns=columns)
    seen = epoch_of(loader_of(dataset, where=field("third"), shuffle="block", batch_size=4096))
    runs = np.array(seen)[: len(seen) // BLOCK * BLOCK].reshape(-1, 64)
    together = (np.diff(runs, axis=1) == 3).all(axis=1)  # but for the run in which the ring of rows closes
    assert (~together).sum() <= 1
    assert sorted(seen) == list(range(0, rows, 3))


def test_what_is_held_is_four_bytes_for_each_chosen_row(dataset):
    held = Sampling(dataset, where=field("source") == "a", weights="weight").chosen(0, 0).index
    assert held.dtype == np.int32 and held.shape == (sum(row % 3 == 0 for row in range(ROWS)),)


def test_a_column_that_differs_only_by_case_is_another_column(dataset):
    seen = epoch_of(loader_of(dataset, where=field("Score") == 3.0))
    assert sorted(seen) == [row for row in range(ROWS) if WEIGHTS[row] == 3]


def test_a_split_is_filtered_and_weighted_alone(tmp_path):
    good = [row % 2 == 0 for row in range(12)]
    whole = write_dataset(
        tmp_path, [5, 4, 3], splits=["train", "validation", "train"], columns={"good": good, "number": range(12)}
    )
    train = whole.split("train")
    assert sorted(epoch_of(loader_of(train, where=field("good")))) == [0, 2, 4, 5 + 1]
    only = np.zeros(8)
    only[6] = 1
    loader = Loader(train, ["image/enc"], columns=["number"], weights=only)
    (batch,) = loader
    assert batch["number"] == [10] * 8


def test_without_rows_there_is_nothing_to_choose_from(tmp_path):
    empty = write_dataset(tmp_path, [0, 0])
    loader = loader_of(empty, where=field("uid") == "x", weights=np.zeros(0))
    assert len(loader) == 0 and epoch_of(loader) == []


NONE = field("score") > 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"where": NONE}, r"where, from epoch 0 on: expected rows that meet it, found none of 307"),
        ({"where": {0: None, 4: NONE}}, r"where, from epoch 4 on: expected rows that meet it"),
        ({"where": field("nothing") > 2}, r"expected a condition over .*'score'.*found No match for .*nothing"),
        ({"where": field("source") > 2}, r"where: expected a condition"),
        ({"where": field("score") + 1}, r"where: expected a condition .*found float"),
        ({"where": "score > 2"}, r"where: expected a condition .*found str"),
        ({"where": {1: None}}, r"where by epoch: expected first epochs, 0 among them, found \[1\] without 0"),
        ({"where": {}}, r"found \[\] without 0"),
        ({"where": {0: None, -1: NONE}}, r"found -1"),
        ({"where": {0: None, True: NONE}}, r"found True"),
        ({"where": {0: None, "5": NONE}}, r"found '5'"),
        ({"weights": "nothing"}, r"weights 'nothing': expected a column of numbers: .*'weight'.*found no such column"),
        ({"weights": "source"}, r"weights 'source': expected a column of numbers: .*found one of string"),
        ({"weights": np.ones(306)}, r"weights: expected a column, or 307 numbers, found float64 of shape \(306,\)"),
        ({"weights": np.ones((307, 1))}, r"of shape \(307, 1\)"),
        ({"weights": np.array(["a"] * 307)}, r"expected a column, or 307 numbers, found <U1"),
        ({"weights": {0: None, 3: np.ones(5)}}, r"of shape \(5,\)"),
        ({"weights": np.zeros(307)}, r"weights, from epoch 0 on: expected a weight above 0, found only zeros"),
        ({"weights": "weight", "where": field("weight") == 0}, r"weights 'weight', .*found only zeros"),
        ({"weights": [1.0] * 200 + [-1.0] * 107}, r"weights, from epoch 0 on, row 200: .*found -1.0"),
        ({"weights": [1.0] * 200 + [math.nan] * 107, "where": field("source") == "a"}, r"row 201: .*found nan"),
        ({"weights": [math.inf] * 307}, r"row 0: expected a finite number from 0 up, found inf"),
        ({"weights": {0: None, 2: "holes"}}, r"weights 'holes', from epoch 2 on, row 40: .*found null"),
        ({"weights": "score", "where": field("source") == "c"}, r"weights 'score', from epoch 0 on, row 5: .*null"),
        ({"weights": "score"}, r"row 5: expected a number, found null"),
    ],
    ids=range(25),
)  # fmt: skip
def test_what_cannot_be_is_refused_at_once_and_says_where(dataset, wrong, message):
    with pytest.raises(UsageError, match=message):
        loader_of(dataset, **wrong)


def test_weights_that_are_null_are_fine_where_the_condition_leaves_them_out(dataset):
    seen = epoch_of(loader_of(dataset, weights="score", where=field("score").is_valid()))
    assert len(seen) == sum(score is not None for score in SCORES)
    assert all(SCORES[row] for row in seen)


def test_an_altered_file_of_rows_is_refused_before_it_chooses(tmp_path):
    written = write_dataset(tmp_path, [5, 3], columns={"good": [True] * 8})
    path = tmp_path / written.shards[1].files["rows"].path
    data = bytearray(path.read_bytes())
    data[8] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match="sha256"):
        loader_of(open_dataset(tmp_path), where=field("good"))
