"""The law of taking out: every reader finds a dataset that rows were removed from as one that never had them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.tiny import CAPTION, IMAGE, TEXT
from support.twins import Twins, write_twins

from dfndr.columns import Columns
from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr.loader import Loader
from dfndr.places import Places
from dfndr.search import Index, graph
from dfndr.verify import verify

SHARDS = [60, 0, 7, 130, 5]
GONE = [0, 3, 59, *range(60, 67), 70, 133, 196, 201]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    return write_twins(tmp_path_factory.mktemp("twins"), SHARDS, GONE, times=2)


def same(one: Dataset, other: Dataset) -> None:
    """Compare what two datasets give by every way of reading."""
    assert len(one) == len(other)
    assert one.rows().equals(other.rows())
    assert [table.to_pylist() for table in one.tables(["uid"])] == [
        table.to_pylist() for table in other.tables(["uid"])
    ]
    where = pc.field("score") > 0.3
    assert one.rows(["uid", "score"], where=where).equals(other.rows(["uid", "score"], where=where))
    rows = np.random.default_rng(0).integers(-len(one), len(one), 50) if len(one) else []
    for space in (IMAGE, TEXT, CAPTION):
        for wanted in (None, slice(None, None, 3), slice(len(one), 0, -2), rows):
            assert (one.vectors(space.name, wanted) == other.vectors(space.name, wanted)).all()
        for block, wanted in zip(one.mapped(space.name), other.mapped(space.name), strict=True):
            assert (np.asarray(block) == np.asarray(wanted)).all()


@settings(max_examples=20, deadline=None)
@given(data=st.data(), shards=st.lists(st.integers(0, 6), max_size=5).filter(any), times=st.integers(1, 3))
@example(data=None, shards=[4, 0, 3], times=1)
def test_any_rows_taken_out_of_any_dataset_are_as_if_they_had_never_been(data, shards, times):
    total = sum(shards)
    if data is None:
        gone = list(range(total))
    else:
        gone = data.draw(st.lists(st.integers(0, total - 1), unique=True)) if total else []
    with tempfile.TemporaryDirectory() as folder:
        twins = write_twins(Path(folder), shards, gone, times=times)
        same(twins.left, twins.never)
        for split in ("train", "validation"):
            same(twins.left.split(split), twins.never.split(split))
        assert verify(twins.left.root).ok, str(verify(twins.left.root))
        batches = [list(batch["uid"]) for batch in Loader(twins.left, [IMAGE.name], batch_size=3, seed=1)]
        assert batches == [list(batch["uid"]) for batch in Loader(twins.never, [IMAGE.name], batch_size=3, seed=1)]


@given(st.lists(st.tuples(st.integers(0, 5), st.sets(st.integers(0, 4)))))
def test_a_place_is_the_nth_row_that_is_still_there(shards):
    removed = [np.array(sorted(row for row in rows if row < stored), dtype=np.int64) for stored, rows in shards]
    places = Places.of([(stored, rows) for (stored, _), rows in zip(shards, removed, strict=True)])
    brute = [
        (number, row)
        for number, (stored, _) in enumerate(shards)
        for row in range(stored)
        if row not in removed[number].tolist()
    ]
    assert len(places) == len(brute)
    numbers, rows = places.within(np.arange(len(brute)))
    assert list(zip(numbers.tolist(), rows.tolist(), strict=True)) == brute
    assert all((places.removed_of(number) == rows).all() for number, rows in enumerate(removed))


@pytest.mark.parametrize("shuffle", ["exact", "block", "window", None])
@pytest.mark.parametrize("pick", ["random", "all"])
@pytest.mark.parametrize("world_size", [1, 3])
def test_the_loader_gives_the_batches_of_the_dataset_that_never_had_them(twins, shuffle, pick, world_size):
    for rank in range(world_size):
        given = {"shuffle": shuffle, "pick": pick, "world_size": world_size, "rank": rank, "seed": 5, "batch_size": 64}
        one, other = (
            Loader(dataset, [IMAGE.name, CAPTION.name], columns=["uid", "text"], **given)
            for dataset in (twins.left, twins.never)
        )
        for _ in range(2):
            for batch, wanted in zip(one, other, strict=True):
                assert batch.rows.tolist() == wanted.rows.tolist()
                assert batch["uid"] == wanted["uid"] and batch["text"] == wanted["text"]
                for name in (IMAGE.name, CAPTION.name):
                    assert (np.asarray(batch[name]) == np.asarray(wanted[name])).all()


def test_the_loader_goes_on_from_a_state_and_keeps_to_conditions_and_weights(twins):
    given = {"where": pc.field("score") > 0.2, "weights": "score", "batch_size": 32, "seed": 2}
    one, other = (Loader(dataset, [CAPTION.name], **given) for dataset in (twins.left, twins.never))
    next(iter(one))
    fresh = Loader(twins.left, [CAPTION.name], **given)
    fresh.load_state_dict(one.state_dict())
    next(iter(other))
    found, wanted = list(fresh), list(other)
    assert [batch["uid"] for batch in found] == [batch["uid"] for batch in wanted]
    assert all(
        (np.asarray(batch[CAPTION.name]) == np.asarray(right[CAPTION.name])).all()
        for batch, right in zip(found, wanted, strict=True)
    )


@pytest.mark.parametrize("space", [IMAGE.name, CAPTION.name])
@pytest.mark.parametrize("kind", ["numpy", "faiss"])
def test_an_index_new_or_saved_before_never_gives_a_removed_row(twins, space, kind, tmp_path):
    if kind == "faiss":
        pytest.importorskip("faiss", reason="needs FAISS")
    Index.build(twins.whole, space, kind="numpy").save(str(tmp_path / "old"))
    old = Index.load(str(tmp_path / "old"), dataset=twins.left, kind=kind)
    queries = twins.whole.vectors(space)[:, 0].astype(np.float32)
    wanted = Index.build(twins.never, space, kind="numpy").search(queries, k=20)
    for index in (old, Index.build(twins.left, space, kind=kind)):
        found = index.search(queries, k=20)
        assert (found.uids == wanted.uids).all() and (found.scores == wanted.scores).all()
        assert not set(twins.gone) & set(found.uids.ravel().tolist())
        index.check(twins.left)


@pytest.mark.parametrize("kind", ["ivf", "ivfpq", "hnsw"])
def test_an_approximate_index_of_before_is_opened_without_the_rows(twins, tmp_path, kind, monkeypatch):
    pytest.importorskip("faiss", reason="needs FAISS")
    monkeypatch.setattr(graph, "_LOOKS", 0)  # few as they are, the vectors are not all looked at
    space = next(iter(twins.whole.spaces))
    Index.build(twins.whole, space, kind=kind).save(str(tmp_path / "old"))
    old = Index.load(str(tmp_path / "old"), dataset=twins.left)
    queries = twins.whole.vectors(space)[:, 0].astype(np.float32)
    exact = Index.build(twins.never, space, kind="numpy")
    found, wanted = old.search(queries, k=len(exact)), exact.search(queries, k=len(exact))
    assert (found.uids == wanted.uids).all() and (found.scores == wanted.scores).all()
    some = np.arange(len(exact)) % 3 == 0
    found, wanted = (index.search(queries, k=2, mask=some) for index in (old, exact))
    assert set(found.uids.ravel()) <= set(exact.search(queries, k=len(exact), mask=some).uids.ravel())
    assert np.mean(found.uids == wanted.uids) > 0.8 and not set(twins.gone) & set(old.search(queries).uids.ravel())
    if kind == "hnsw":
        with pytest.raises(UsageError, match="a graph of the rows that are there"):
            old.save(str(tmp_path / "again"))


def test_rows_for_other_libraries_are_those_that_are_left(twins):
    pytest.importorskip("datasets", reason="needs datasets")
    pytest.importorskip("torch", reason="needs torch")
    names = ["uid", "score"]
    assert twins.left.to_pandas(names).equals(twins.never.to_pandas(names))
    columns = ["uid", "text", "captions"]
    one, other = (dataset.to_hf(columns, spaces=[IMAGE.name]) for dataset in (twins.left, twins.never))
    assert one.to_list() == other.to_list()
    one, other = (dataset.to_torch(columns=["uid"]) for dataset in (twins.left, twins.never))
    assert len(one) == len(other)
    for row in range(-len(one), len(one)):
        assert one[row]["uid"] == other[row]["uid"]
        assert all((one[row][name] == other[row][name]).all() for name in (IMAGE.name, CAPTION.name))
    rows = np.random.default_rng(1).permutation(len(one))
    assert Columns(twins.left, ["uid"]).take("uid", rows) == Columns(twins.never, ["uid"]).take("uid", rows)
    assert twins.left.show().uids == twins.never.show().uids
