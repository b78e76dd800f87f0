"""Copying rows out of shards, against plain indexing."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfndr.format.schema import Space
from dfndr.format.storage_types import decode, encode, read_type
from dfndr.gather import Buffers, Lookup, Stacks
from dfndr.mapped import MappedRows
from dfndr.order import Runs

TORCH = pytest.mark.parametrize("torch", [True, False], ids=["torch", "numpy"])


def source_of(shards, counts, *, torch):
    """Return what a Mapped is to its rows, over arrays of this process, by space."""
    lookup, framed = Lookup(counts), (lambda array: array)
    stacks = Stacks(shards, lookup, torch=torch)
    return SimpleNamespace(lookup=lookup, stacks=lambda here: stacks, buffers=Buffers(), framed=framed)


@given(counts=st.lists(st.integers(1, 60), min_size=1, max_size=12), data=st.data())
def test_lookup_is_a_binary_search(counts, data):
    rows = data.draw(st.lists(st.integers(0, sum(counts) - 1), max_size=20))
    expected = np.repeat(np.arange(len(counts)), counts)[rows] if rows else []
    assert Lookup(counts).shard_of(np.array(rows, dtype=np.int64)).tolist() == list(expected)


def test_lookup_finds_rows_of_tiny_shards_between_large_ones():
    counts = [1_000_000, 1, 1, 1, 1, 1_000_000]
    rows = np.array([0, 999_999, 1_000_000, 1_000_001, 1_000_003, 1_000_004, 2_000_003])
    assert Lookup(counts).shard_of(rows).tolist() == [0, 0, 1, 2, 4, 5, 5]


SPACES = [
    Space("image", "a", 4, dtype="float16"),
    Space("text", "a", 4, dtype="float16"),
    Space("image", "odd", 3, dtype="float16"),
    Space("image", "views", 5, per_row=2, dtype="float32"),
    Space("caption", "a", 4, per_row=3, dtype="float16"),
    Space("caption", "eights", 7, per_row=3, dtype="int8"),
]


@TORCH
@given(
    counts=st.lists(st.integers(1, 50), min_size=1, max_size=6),
    length=st.sampled_from([1, 2, 8, 32]),
    spaces=st.lists(st.sampled_from(SPACES), min_size=1, max_size=4, unique=True),
    data=st.data(),
)
def test_copied_rows_are_the_rows_also_where_a_run_goes_over_a_shard_or_the_end(torch, counts, length, spaces, data):
    rows, rng = sum(counts), np.random.default_rng(0)
    length = min(length, rows)
    heads = np.array(data.draw(st.lists(st.integers(0, rows - 1), max_size=9)), dtype=np.int64)
    shards = {
        space.name: [
            encode(rng.standard_normal((count, space.per_row, space.dim)).astype(np.float32), space.dtype)
            for count in counts
        ]
        for space in spaces
    }
    runs = Runs(heads, length, rows)
    expected = np.array([(head + step) % rows for head in heads for step in range(length)], dtype=np.int64)
    source = source_of(shards, counts, torch=torch)
    here = MappedRows(source, runs.rows(), runs, source.lookup.shard_of(heads))
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(runs))] * 2)))
    if data.draw(st.booleans()):
        start, stop = start // length * length, stop // length * length
    here, expected = here.part(start, stop), expected[start:stop]
    places = {space.name: expected % space.per_row for space in spaces if space.modality == "caption"}
    places = data.draw(st.sampled_from([{}, places]))
    found = {}
    for flat in (True, False):
        some = [space for space in spaces if (space.per_row == 1 or space.name in places) == flat]
        found |= here.vectors(some, places, flat=flat)
    for space in spaces:
        everything = decode(np.concatenate(shards[space.name]), space.dtype)[expected]
        if space.name in places:
            everything = everything[np.arange(len(expected)), places[space.name]]
        assert np.array_equal(found[space.name], everything.reshape(found[space.name].shape))
        assert found[space.name].dtype == read_type(space.dtype)


def test_a_part_that_cuts_runs_writes_out_its_own_rows_and_no_others(monkeypatch):
    runs = Runs(np.arange(0, 800, 8), 8, 800)
    source = source_of({"a": [np.zeros((800, 1, 4), dtype=np.float16)]}, [800], torch=False)
    here = MappedRows(source, runs.rows(), runs, source.lookup.shard_of(runs.heads))
    written, rows_of = [], Runs.rows
    monkeypatch.setattr(Runs, "rows", lambda runs: written.append(len(runs)) or rows_of(runs))
    for start, stop in ((0, 12), (12, 24), (16, 32)):
        assert len(here.part(start, stop).shard) == stop - start
    assert sum(written) <= 40


@TORCH
def test_a_place_counts_as_used_unless_all_of_its_vector_is_zero(torch):
    vectors = np.zeros((3, 4, 16), dtype=np.float16)
    vectors[0, 0, 0] = vectors[0, 2, 15] = vectors[2, 3, 7] = 1
    source, rows = source_of({"a": [vectors]}, [3], torch=torch), np.array([2, 0, 1, 0])
    used = source.stacks(None).used("a", rows, source.lookup.shard_of(rows))
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
