"""Copying rows out of shards, against plain indexing."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfndr.gather import Buffers, Lookup, Stack
from dfndr.order import Runs

TORCH = pytest.mark.parametrize("torch", [True, False], ids=["torch", "numpy"])


def stack_of(counts, *, per_row=1, dim=4, dtype="float16", torch=True):
    rng = np.random.default_rng(0)
    shards = [rng.standard_normal((count, per_row, dim)).astype(dtype) for count in counts]
    lookup = Lookup(counts)
    return Stack(shards, lookup, torch=torch), lookup, np.concatenate(shards)


@given(counts=st.lists(st.integers(1, 60), min_size=1, max_size=12), data=st.data())
def test_lookup_is_a_binary_search(counts, data):
    rows = data.draw(st.lists(st.integers(0, sum(counts) - 1), max_size=20))
    expected = np.repeat(np.arange(len(counts)), counts)[rows] if rows else []
    assert Lookup(counts).shard_of(np.array(rows, dtype=np.int64)).tolist() == list(expected)


def test_lookup_finds_rows_of_tiny_shards_between_large_ones():
    counts = [1_000_000, 1, 1, 1, 1, 1_000_000]
    rows = np.array([0, 999_999, 1_000_000, 1_000_001, 1_000_003, 1_000_004, 2_000_003])
    assert Lookup(counts).shard_of(rows).tolist() == [0, 0, 1, 2, 4, 5, 5]


@TORCH
@pytest.mark.parametrize(
    ("per_row", "dim", "dtype"), [(1, 4, "float16"), (1, 3, "float16"), (2, 5, "float32"), (3, 8, "float16")]
)
@given(
    counts=st.lists(st.integers(1, 50), min_size=1, max_size=6),
    length=st.sampled_from([1, 2, 8, 32]),
    data=st.data(),
)
def test_copied_rows_are_the_rows_also_where_a_run_goes_over_a_shard_or_the_end(
    torch, per_row, dim, dtype, counts, length, data
):
    rows = sum(counts)
    length = min(length, rows)
    heads = data.draw(st.lists(st.integers(0, rows - 1), max_size=9))
    stack, lookup, everything = stack_of(counts, per_row=per_row, dim=dim, dtype=dtype, torch=torch)
    runs = Runs(np.array(heads, dtype=np.int64), length, rows)
    out = np.zeros((len(runs), stack.row_bytes), dtype=np.uint8)
    shard = lookup.shard_of(runs.heads)
    stack.copy_rows(runs, shard, out, lookup.torn(runs, shard))
    expected = [(head + step) % rows for head in heads for step in range(length)]
    assert np.array_equal(out.view(dtype).reshape(-1, per_row, dim), everything[expected])


@TORCH
def test_a_place_counts_as_used_unless_all_of_its_vector_is_zero(torch):
    vectors = np.zeros((3, 4, 16), dtype=np.float16)
    vectors[0, 0, 0] = vectors[0, 2, 15] = vectors[2, 3, 7] = 1
    lookup = Lookup([3])
    stack = Stack([vectors], lookup, torch=torch)
    rows = np.array([2, 0, 1, 0])
    used = stack.used(stack.words_of(rows, lookup.shard_of(rows)))
    assert np.array_equal(used, vectors.any(axis=2)[rows])


def test_a_buffer_is_not_used_again_while_anything_refers_to_it():
    torch = pytest.importorskip("torch")
    buffers = Buffers()
    first = buffers.take(64)
    address = first.ctypes.data
    tensor = torch.from_numpy(first.view(np.float16).reshape(4, 8))[2]
    array = first[8:16].view(np.int64)
    del first
    gc.collect()
    assert buffers.take(64).ctypes.data != address
    del tensor
    gc.collect()
    assert buffers.take(64).ctypes.data != address
    del array
    gc.collect()
    assert address in {buffers.take(64).ctypes.data, buffers.take(64).ctypes.data}


def test_buffers_of_no_bytes_are_fine():
    assert Buffers().take(0).shape == (0,)
