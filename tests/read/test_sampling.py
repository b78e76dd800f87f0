"""Systematic resampling, against a comb over exact sums."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sampled import comb

from dfndr.sampling import systematic


@given(
    weights=st.lists(st.integers(0, 9), min_size=1, max_size=60).filter(any),
    tooth=st.integers(0, 2**19 - 1),
    kind=st.sampled_from([np.float64, np.float32, np.float16, np.int64, np.uint8]),
    scale=st.sampled_from([1, 8]),
)
def test_systematic_draws_what_a_comb_over_exact_sums_points_at(weights, tooth, kind, scale):
    offset = (2 * tooth + 1) / 2**20  # a tooth never stands just where two items meet
    given = np.array(weights, dtype=kind) * kind(scale)
    assert systematic(given, offset).tolist() == comb(weights, offset)


@given(
    weights=st.lists(st.floats(0, 1e308), min_size=1, max_size=40).filter(any), offset=st.floats(0, 1, exclude_max=True)
)
def test_an_item_comes_floor_or_ceil_of_its_expected_count_for_weights_of_any_size(weights, offset):
    drawn = systematic(np.array(weights), offset).tolist()
    assert len(drawn) == len(weights) and drawn == sorted(drawn)
    total = sum(map(Fraction, weights))
    for item, weight in enumerate(weights):
        expected = float(Fraction(weight) * len(weights) / total)
        assert math.floor(expected - 1e-9) <= drawn.count(item) <= math.ceil(expected + 1e-9)
        assert weight or not drawn.count(item)


@pytest.mark.parametrize("offset", [0.0, 0.3, 1 - 2**-53])
def test_systematic_is_the_same_over_many_chunks_as_in_one_and_never_runs_over_the_end(monkeypatch, offset):
    weights = (np.arange(100_000) * 7919 % 1000) / 999
    whole = systematic(weights, offset)
    monkeypatch.setattr("dfndr.sampling._CHUNK", 777)
    assert np.array_equal(systematic(weights, offset), whole)
    assert len(whole) == 100_000 and weights[whole].all() and whole.dtype == np.int32
