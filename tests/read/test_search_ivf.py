"""Search by lists: what it finds is compared with exact search, and what is saved of it with what was built."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.compute as pc
import pytest
from support import searched
from support.searched import ROWS, SPACE, lie, recall
from support.tiny import CAPTION, write_dataset

from dfndr import Index
from dfndr.errors import FormatError, UsageError
from dfndr.search import choice

faiss = pytest.importorskip("faiss", reason="the lists are made by FAISS")
dataset, exact = searched.dataset, searched.exact


@pytest.fixture(scope="module")
def ivf(dataset):
    return Index.build(dataset, SPACE.name, kind="ivf")


def test_an_ivf_index_finds_the_share_that_was_asked_for_and_says_how_much(dataset, exact, ivf):
    queries = dataset.vectors(SPACE.name)[:, 0]
    assert 0.9 < ivf.recall_at_10 <= 1
    assert recall(ivf, exact, queries) == pytest.approx(ivf.recall_at_10, abs=0.03)
    assert f"kind='ivf', recall@10={ivf.recall_at_10:.3f}" in repr(ivf)
    assert ivf.measured.probes < 55 and ivf.measured.queries == 128, "of about 55 lists only some are looked into"
    assert exact.recall_at_10 == 1 and exact.measured is None and "recall" not in repr(exact)


def test_more_recall_looks_into_more_lists(dataset, ivf):
    probes = [Index.build(dataset, SPACE.name, kind="ivf", recall=share).measured.probes for share in (0.5, 0.95, 1)]
    assert probes == sorted(set(probes)) and probes[1] == ivf.measured.probes
    for share in (0, 1.1):
        with pytest.raises(UsageError, match="recall"):
            Index.build(dataset, SPACE.name, kind="ivf", recall=share)


def test_the_scores_of_what_is_found_are_those_of_exact_search_bit_for_bit(dataset, exact, ivf):
    queries = np.random.default_rng(1).standard_normal((300, 16)).astype(np.float32)
    found, right = ivf.search(queries, k=20), exact.search(queries, k=ROWS)
    for uids, scores, all_uids, all_scores in zip(found.uids, found.scores, right.uids, right.scores, strict=True):
        by_uid = dict(zip(all_uids, all_scores, strict=True))
        assert [by_uid[uid] for uid in uids] == list(scores)
        assert (np.diff(scores) <= 0).all()


def test_all_rows_can_be_asked_for_and_come_as_from_exact_search(exact, ivf):
    queries = np.random.default_rng(2).standard_normal((3, 16)).astype(np.float32)
    found, right = ivf.search(queries, k=ROWS + 5), exact.search(queries, k=ROWS)
    assert (found.uids == right.uids).all() and found.scores.tobytes() == right.scores.tobytes()


@pytest.mark.parametrize("kind", ["numpy", "faiss"])
@pytest.mark.parametrize("source", ["odd", "rare"])
def test_a_mask_leaves_the_nearest_of_the_rows_that_pass(dataset, kind, source):
    index = Index.build(dataset, SPACE.name, kind=kind)
    mask = index.mask(pc.field("source") == source)
    names = dataset.rows(["source"])["source"].to_pylist()
    assert mask.tolist() == [name == source for name in names]
    queries = dataset.vectors(SPACE.name, range(20))[:, 0]
    found = index.search(queries, k=7, mask=mask)
    every = index.search(queries, k=ROWS)
    passing = set(dataset.rows(["uid"], pc.field("source") == source)["uid"].to_pylist())
    for uids, all_uids in zip(found.uids, every.uids, strict=True):
        assert list(uids) == [uid for uid in all_uids if uid in passing][:7]


@pytest.mark.parametrize("source", ["odd", "rare"])
def test_a_mask_makes_search_by_lists_wider_not_poorer(dataset, exact, ivf, source):
    mask = ivf.mask(pc.field("source") == source)
    queries = dataset.vectors(SPACE.name, np.flatnonzero(mask))[:, 0]
    assert recall(ivf, exact, queries, mask=mask) >= ivf.recall_at_10 - 0.03
    assert ivf.search(queries[:2], k=ROWS, mask=mask).uids.shape == (2, mask.sum())


def test_a_mask_that_does_not_fit_is_refused_and_one_of_nothing_finds_nothing(ivf, exact):
    query = np.ones((1, 16), dtype=np.float32)
    for index in (ivf, exact):
        assert index.search(query, mask=np.zeros(ROWS, dtype=bool)).uids.shape == (1, 0)
        for wrong in (np.ones(5, dtype=bool), np.ones(ROWS), [True] * ROWS):
            with pytest.raises(UsageError, match="mask: expected 3,000 booleans"):
                index.search(query, mask=wrong)


def test_a_row_is_found_once_by_its_best_caption_in_lists_too(tmp_path):
    captions = [["one", "two", "three"][: row % 4] for row in range(400)]
    dataset = write_dataset(tmp_path, (250, 150), spaces=(CAPTION,), columns={"captions": captions})
    ivf, exact = (Index.build(dataset, CAPTION.name, kind=kind) for kind in ("ivf", "numpy"))
    assert ivf.rows == exact.rows == 300 and (ivf.packed_uids == exact.packed_uids).all()
    queries = np.random.default_rng(3).standard_normal((9, 8)).astype(np.float32)
    found, right = ivf.search(queries, k=300), exact.search(queries, k=300)
    assert (found.uids == right.uids).all() and found.scores.tobytes() == right.scores.tobytes()


def test_auto_is_exact_up_to_a_number_of_vectors_and_says_what_it_is_above(dataset, monkeypatch):
    assert Index.build(dataset, SPACE.name).kind == "faiss"
    monkeypatch.setattr(choice, "_EXACT_MOST", ROWS - 1)
    assert Index.build(dataset, SPACE.name).kind == "ivf"
    assert Index.build(dataset, SPACE.name, kind="exact").kind == "faiss"
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    assert Index.build(dataset, SPACE.name).kind == "numpy"
    with pytest.raises(ImportError, match=r"pip install .dfndr\[search\]"):
        Index.build(dataset, SPACE.name, kind="ivf")
    with pytest.raises(UsageError, match="kind"):
        Index.build(dataset, SPACE.name, kind="annoy")


@pytest.mark.parametrize("rows", [0, 1, 2, 12])
def test_few_rows_make_an_index_too(tmp_path, rows):
    dataset = write_dataset(tmp_path, (rows,), spaces=(SPACE,))
    ivf, exact = (Index.build(dataset, SPACE.name, kind=kind) for kind in ("ivf", "numpy"))
    queries = np.random.default_rng(3).standard_normal((4, 16)).astype(np.float32)
    assert (ivf.search(queries, k=12).uids == exact.search(queries, k=12).uids).all()
    ivf.save(str(tmp_path / "index"))
    assert Index.load(str(tmp_path / "index"), dataset=dataset).search(queries, k=12).uids.shape == (4, rows)


def test_a_saved_ivf_index_is_plain_npy_in_the_storage_type_and_gives_the_same_answers(dataset, ivf, tmp_path):
    ivf.save(str(tmp_path))
    names = ["assigned.npy", "centroids.npy", "index.json", "uids.npy", "vectors.npy"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assigned, vectors = (np.load(tmp_path / f"{name}.npy", allow_pickle=False) for name in ("assigned", "vectors"))
    assert vectors.dtype == np.float16
    order = np.argsort(assigned, kind="stable")
    assert (vectors[:, 0] == dataset.vectors(SPACE.name, order)[:, 0]).all()
    loaded = Index.load(str(tmp_path), dataset=dataset)
    assert (loaded.kind, loaded.measured, loaded.rows) == ("ivf", ivf.measured, ROWS)
    queries = np.random.default_rng(4).standard_normal((50, 16)).astype(np.float32)
    mask = ivf.mask(pc.field("source") == "odd")
    for asked in ({}, {"mask": mask}):
        first, second = ivf.search(queries, k=9, **asked), loaded.search(queries, k=9, **asked)
        assert (first.uids == second.uids).all() and first.scores.tobytes() == second.scores.tobytes()
    loaded.save(str(tmp_path))
    assert Index.load(str(tmp_path)).vectors_of(first.uids[0, 0]).shape == (1, 16)


def test_a_saved_index_is_opened_as_what_it_is(dataset, ivf, exact, tmp_path):
    ivf.save(str(tmp_path / "lists"))
    exact.save(str(tmp_path / "exact"))
    for path, kind in (("lists", "numpy"), ("lists", "exact"), ("exact", "ivf")):
        with pytest.raises(UsageError, match="Build it"):
            Index.load(str(tmp_path / path), kind=kind)
    with pytest.raises(UsageError, match="its dataset"):
        Index.load(str(tmp_path / "exact")).mask(pc.field("source") == "odd")


@pytest.mark.parametrize(
    "change",
    [
        {"lists": None},
        {"lists": 3},
        {"lists": {}},
        {"count": 54},
        {"count": 2**40},
        {"probes": 0},
        {"probes": 56},
        {"probes": True},
        {"recall_at_10": 1.5},
        {"recall_at_10": 1},
        {"queries": -1},
        {"more": 1},
    ],
    ids=str,
)
def test_a_record_of_lists_that_lies_is_refused(ivf, tmp_path, change):
    ivf.save(str(tmp_path))
    record = json.loads((tmp_path / "index.json").read_text())
    assert record["lists"]["count"] == 55
    record = record | change if "lists" in change else record | {"lists": record["lists"] | change}
    (tmp_path / "index.json").write_text(json.dumps(record))
    with pytest.raises(FormatError):
        Index.load(str(tmp_path))


@pytest.mark.parametrize("name", ["assigned.npy", "centroids.npy", "uids.npy", "vectors.npy"])
def test_an_altered_or_missing_file_of_lists_is_refused(ivf, tmp_path, name):
    ivf.save(str(tmp_path))
    data = bytearray((tmp_path / name).read_bytes())
    data[-1] ^= 1
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FormatError, match=rf"{name}: expected sha256"):
        Index.load(str(tmp_path))


@pytest.mark.parametrize(("name", "value"), [("assigned", 55), ("assigned", -1), ("centroids", np.nan)])
def test_lists_that_were_never_there_are_refused_though_their_sha256_is_right(ivf, tmp_path, name, value):
    ivf.save(str(tmp_path))
    array = np.load(tmp_path / f"{name}.npy")
    array.reshape(-1)[7] = value
    lie(tmp_path, f"{name}.npy", array)
    with pytest.raises(FormatError, match=r"assigned\.npy"):
        Index.load(str(tmp_path))


def test_an_index_of_some_of_its_vectors_alone_finds_those_and_no_other(dataset, ivf, exact):
    there = np.arange(ROWS) % 3 > 0
    queries = np.random.default_rng(6).standard_normal((5, 16)).astype(np.float32)
    right = exact.search(queries, k=ROWS, mask=there)
    for index in (ivf, exact, Index.build(dataset, SPACE.name, kind="faiss")):
        some = Index(index._parts.only(there), dataset=dataset)
        found = some.search(queries, k=ROWS)
        assert (some.kind, some.rows) == (index.kind, 2000)
        assert (found.uids == right.uids).all() and found.scores.tobytes() == right.scores.tobytes()
