"""Search by codes and by a graph, beside exact search; what is saved of it, and what is refused of what was altered."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.compute as pc
import pytest
from support import searched
from support.searched import ROWS, SPACE, clustered, lie, recall
from support.tiny import CAPTION, write_dataset

from dfndr import Index
from dfndr.errors import FormatError, UsageError
from dfndr.format.schema import Space
from dfndr.search.building import _is_enough
from dfndr.search.links import Links, new_index

faiss = pytest.importorskip("faiss", reason="the codes and the graph are made by FAISS")
dataset, exact = searched.dataset, searched.exact
KINDS = ("ivfpq", "hnsw")


@pytest.fixture(scope="module")
def made(dataset):
    return {kind: Index.build(dataset, SPACE.name, kind=kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def index(request, made):
    return made[request.param]


def test_an_index_finds_the_share_that_was_asked_for_and_says_how_much(dataset, exact, index):
    queries = dataset.vectors(SPACE.name)[:, 0]
    assert 0.9 < index.recall_at_10 <= 1 and index.measured.queries == 128
    assert recall(index, exact, queries) == pytest.approx(index.recall_at_10, abs=0.03)
    assert f"kind='{index.kind}', recall@10={index.recall_at_10:.3f}, " in repr(index)


@pytest.mark.parametrize("kind", KINDS)
def test_less_recall_is_less_work(dataset, made, kind):
    little = Index.build(dataset, SPACE.name, kind=kind, recall=0.3)
    assert little.measured.probes < made[kind].measured.probes or kind == "hnsw"
    assert little.recall_at_10 + 0.05 >= 0.3


def test_the_scores_of_what_is_found_are_those_of_exact_search_bit_for_bit(exact, index):
    queries = np.random.default_rng(1).standard_normal((300, 16)).astype(np.float32)
    found, right = index.search(queries, k=20), exact.search(queries, k=ROWS)
    for uids, scores, all_uids, all_scores in zip(found.uids, found.scores, right.uids, right.scores, strict=True):
        by_uid = dict(zip(all_uids, all_scores, strict=True))
        assert [by_uid[uid] for uid in uids] == list(scores) and len(set(uids)) == 20
        assert (np.diff(scores) <= 0).all()


def test_all_rows_can_be_asked_for_and_come_as_from_exact_search(exact, index):
    queries = np.random.default_rng(2).standard_normal((3, 16)).astype(np.float32)
    found, right = index.search(queries, k=ROWS + 5), exact.search(queries, k=ROWS)
    assert (found.uids == right.uids).all() and found.scores.tobytes() == right.scores.tobytes()


@pytest.mark.parametrize("source", ["odd", "rare"])
def test_a_filter_makes_a_search_wider_not_poorer(dataset, exact, index, source):
    mask = index.mask(pc.field("source") == source)
    queries = dataset.vectors(SPACE.name, np.flatnonzero(mask))[:, 0]
    assert recall(index, exact, queries, mask=mask) >= index.recall_at_10 - 0.03
    assert index.search(queries[:2], k=ROWS, mask=mask).uids.shape == (2, mask.sum())
    assert index.search(queries[:2], mask=np.zeros(ROWS, dtype=bool)).uids.shape == (2, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_found_once_by_its_best_caption(tmp_path, kind):
    captions = [["one", "two", "three"][: row % 4] for row in range(400)]
    dataset = write_dataset(tmp_path, (250, 150), spaces=(CAPTION,), columns={"captions": captions})
    made, exact = (Index.build(dataset, CAPTION.name, kind=each) for each in (kind, "numpy"))
    assert made.rows == exact.rows == 300 and (made.packed_uids == exact.packed_uids).all()
    queries = np.random.default_rng(3).standard_normal((9, 8)).astype(np.float32)
    found, right = made.search(queries, k=300), exact.search(queries, k=300)
    assert (found.uids == right.uids).all() and found.scores.tobytes() == right.scores.tobytes()
    few, best = made.search(queries, k=5), exact.search(queries, k=5)
    assert np.mean([len(set(a) & set(b)) for a, b in zip(few.uids, best.uids, strict=True)]) > 4
    assert all(len(set(uids)) == 5 for uids in few.uids)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [0, 1, 2, 12])
def test_few_rows_make_an_index_too(tmp_path, kind, rows):
    dataset = write_dataset(tmp_path, (rows,), spaces=(SPACE,))
    made, exact = (Index.build(dataset, SPACE.name, kind=each) for each in (kind, "numpy"))
    queries = np.random.default_rng(3).standard_normal((4, 16)).astype(np.float32)
    assert (made.search(queries, k=12).uids == exact.search(queries, k=12).uids).all()
    made.save(str(tmp_path / "index"))
    assert Index.load(str(tmp_path / "index"), dataset=dataset).search(queries, k=12).uids.shape == (4, rows)


@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "float32"])
@pytest.mark.parametrize("kind", KINDS)
def test_vectors_of_every_storage_type_are_saved_as_they_are_stored(tmp_path, kind, dtype):
    space = Space("image", "enc", dim=16, dtype=dtype)
    dataset = write_dataset(tmp_path, (200, 100), spaces=(space,), vectors={space.name: clustered(300)})
    made = Index.build(dataset, space.name, kind=kind)
    made.save(str(tmp_path / "index"))
    loaded = Index.load(str(tmp_path / "index"), dataset=dataset)
    queries = np.random.default_rng(4).standard_normal((20, 16)).astype(np.float32)
    first, second = made.search(queries, k=9), loaded.search(queries, k=9)
    assert (first.uids == second.uids).all() and first.scores.tobytes() == second.scores.tobytes()


def test_a_saved_index_is_plain_npy_and_gives_the_same_answers(dataset, index, tmp_path):
    index.save(str(tmp_path))
    names = {"ivfpq": ["assigned", "centroids", "codebooks", "codes"], "hnsw": ["levels", "neighbors"]}[index.kind]
    wanted = sorted([*(f"{name}.npy" for name in [*names, "uids", "vectors"]), "index.json"])
    assert sorted(path.name for path in tmp_path.iterdir()) == wanted
    for name in names:
        np.load(tmp_path / f"{name}.npy", allow_pickle=False)
    loaded = Index.load(str(tmp_path), dataset=dataset)
    assert (loaded.kind, loaded.measured, loaded.rows) == (index.kind, index.measured, ROWS)
    queries = np.random.default_rng(4).standard_normal((50, 16)).astype(np.float32)
    for asked in ({}, {"mask": index.mask(pc.field("source") == "odd")}):
        first, second = index.search(queries, k=9, **asked), loaded.search(queries, k=9, **asked)
        assert (first.uids == second.uids).all() and first.scores.tobytes() == second.scores.tobytes()
    loaded.save(str(tmp_path))
    assert Index.load(str(tmp_path), kind=index.kind).vectors_of(first.uids[0, 0]).shape == (1, 16)
    with pytest.raises(UsageError, match="Build it"):
        Index.load(str(tmp_path), kind="ivf")


def saved(index: Index, path) -> dict:
    index.save(str(path))
    return json.loads((path / "index.json").read_text())


@pytest.mark.parametrize(
    ("kind", "part", "change"),
    [
        ("ivfpq", "codes", {"bytes": 3}),
        ("ivfpq", "codes", {"bytes": 0}),
        ("ivfpq", "codes", {"bytes": 8}),
        ("ivfpq", "codes", {"fetched": 0}),
        ("ivfpq", "codes", {"fetched": 2**20}),
        ("ivfpq", "codes", {"more": 1}),
        ("ivfpq", "lists", {"count": 2**30}),
        ("hnsw", "graph", {"entry": ROWS}),
        ("hnsw", "graph", {"entry": -1}),
        ("hnsw", "graph", {"links": 1}),
        ("hnsw", "graph", {"links": 64}),
        ("hnsw", "graph", {"probes": 0}),
        ("hnsw", "graph", {"recall_at_10": 2.0}),
    ],
    ids=str,
)
def test_a_record_that_lies_is_refused(made, tmp_path, kind, part, change):
    record = saved(made[kind], tmp_path)
    (tmp_path / "index.json").write_text(json.dumps(record | {part: record[part] | change}))
    with pytest.raises(FormatError):
        Index.load(str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "name", "place", "value", "expected"),
    [
        ("hnsw", "neighbors", 100, ROWS, "links to vectors that are there"),
        ("hnsw", "neighbors", 100, -2, "links to vectors that are there"),
        ("hnsw", "neighbors", 100, 2**31 - 1, "links to vectors that are there"),
        ("hnsw", "levels", 7, 0, "levels from 1"),
        ("hnsw", "levels", 7, -1, "levels from 1"),
        ("hnsw", "levels", 7, 100, "levels from 1"),
        ("ivfpq", "codebooks", (0, 0, 0), np.nan, "finite numbers"),
    ],
)
def test_links_levels_and_codebooks_that_cannot_be_are_refused(made, tmp_path, kind, name, place, value, expected):
    saved(made[kind], tmp_path)
    array = np.load(tmp_path / f"{name}.npy")
    array[place] = value
    lie(tmp_path, f"{name}.npy", array)
    with pytest.raises(FormatError, match=rf"{name}\.npy: expected {expected}"):
        Index.load(str(tmp_path))


def test_a_link_on_a_level_that_its_vector_is_not_on_is_refused(made, tmp_path):
    record = saved(made["hnsw"], tmp_path)
    levels, neighbors = np.load(tmp_path / "levels.npy"), np.load(tmp_path / "neighbors.npy")
    reach = np.concatenate([[0], 64 + 32 * np.arange(10)])
    above = int(reach[levels][: record["graph"]["entry"]].sum()) + 64
    assert levels.max() > 1 and levels[0] == 1
    neighbors[above] = 0
    lie(tmp_path, "neighbors.npy", neighbors)
    with pytest.raises(FormatError, match="links to vectors that are there"):
        Index.load(str(tmp_path))


def test_a_share_that_is_reached_by_luck_is_not_enough():
    shares = np.repeat([1.0, 0.9], 64)  # 0.95 in the mean, with a standard error of 0.0044
    assert not _is_enough(shares, 0.95) and _is_enough(shares, 0.945)
    assert _is_enough(np.ones(128), 1.0) and _is_enough(np.empty(0), 1.0)


def test_a_graph_of_clusters_keeps_its_links_and_leads_to_the_nearest():
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((40, 32), dtype=np.float32)
    vectors = np.repeat(centers, 150, axis=0) + 0.3 * rng.standard_normal((6000, 32), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = new_index(32)
    index.add(rng.permutation(vectors))
    links = Links.of(index).neighbors
    assert (links >= 0).mean() > 0.95
    exact = faiss.IndexFlatIP(32)
    exact.add(index.storage.reconstruct_n(0, 6000))
    near = faiss.SearchParametersHNSW(efSearch=256)
    pairs = zip(index.search(vectors[::60], 10, params=near)[1], exact.search(vectors[::60], 10)[1], strict=True)
    assert np.mean([len({*found} & {*right}) / 10 for found, right in pairs]) > 0.95


@pytest.mark.parametrize("name", ["codes", "codebooks", "assigned", "levels", "neighbors", "uids"])
def test_an_array_of_another_shape_is_refused(made, tmp_path, name):
    saved(made["hnsw" if name in ("levels", "neighbors") else "ivfpq"], tmp_path)
    name += ".npy"
    lie(tmp_path, name, np.load(tmp_path / name)[:-1])
    with pytest.raises(FormatError, match=f"{name}: expected an array of shape"):
        Index.load(str(tmp_path))
