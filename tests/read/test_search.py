from __future__ import annotations

import json

import numpy as np
import pytest
from support.tiny import CAPTION, IMAGE, TEXT, write_dataset

from dfndr import Index
from dfndr.dataset import Dataset
from dfndr.errors import FormatError, StorageError, UsageError
from dfndr.format.schema import Space

KINDS = ["numpy", "faiss"]


@pytest.fixture(params=KINDS)
def kind(request):
    if request.param == "faiss":
        pytest.importorskip("faiss")
    return request.param


def brute_force(dataset: Dataset, space: str, query: np.ndarray, k: int) -> list[tuple[str, np.float32]]:
    """The k best rows by the definition: cosine in float64, rounded; the best place of a row; ties by row order."""
    vectors = dataset.vectors(space).astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=2)
    unit = (vectors / np.where(lengths == 0, 1, lengths)[..., None]).astype(np.float32).astype(np.float64)
    query = (query / np.linalg.norm(query.astype(np.float64))).astype(np.float32)
    scores = np.where(lengths == 0, -np.inf, unit @ query).max(axis=1).astype(np.float32)
    order = [row for row in np.argsort(-scores, kind="stable") if np.isfinite(scores[row])][:k]
    uids = dataset.rows(["uid"])["uid"].to_pylist()
    return [(uids[row], scores[row]) for row in order]


def queries_for(count: int, dim: int = 8, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


def assert_equal_to_brute_force(dataset, index, queries, k):
    found = index.search(queries, k=k)
    for query, uids, scores in zip(queries, found.uids, found.scores, strict=True):
        expected = brute_force(dataset, index.space.name, query, k)
        assert list(uids) == [uid for uid, _ in expected]
        np.testing.assert_allclose(scores, [score for _, score in expected], rtol=0, atol=1e-7)


@pytest.mark.parametrize("space", [IMAGE, TEXT, Space("image", "views", dim=8, per_row=4, dtype="float32")])
def test_the_neighbours_are_those_that_brute_force_finds(tmp_path, kind, space):
    dataset = write_dataset(tmp_path, (40, 25, 1), spaces=(space,))
    index = Index.build(dataset, space.name, kind=kind)
    assert (index.rows, index.kind, index.dataset_digest) == (66, kind, dataset.digest)
    for k in (1, 7, 66):
        assert_equal_to_brute_force(dataset, index, queries_for(5), k)


def test_a_row_is_found_once_by_its_best_caption_and_free_places_are_not_searched(tmp_path, kind):
    captions = [["one"], ["one", "two"], [], ["one", "two", "three"], ["one"]]
    dataset = write_dataset(tmp_path, (3, 2), spaces=(CAPTION,), columns={"captions": captions})
    index = Index.build(dataset, CAPTION.name, kind=kind)
    assert index.rows == 4, "the row without captions cannot be found"
    found = index.search(queries_for(6), k=10)
    assert found.uids.shape == found.scores.shape == (6, 4)
    assert_equal_to_brute_force(dataset, index, queries_for(6), 10)


def test_a_row_finds_itself_first_with_a_score_of_one(tmp_path, kind):
    dataset = write_dataset(tmp_path)
    index = Index.build(dataset, IMAGE.name, kind=kind)
    found = index.search(dataset.vectors(IMAGE.name)[:, 0], k=1)
    assert list(found.uids[:, 0]) == dataset.rows(["uid"])["uid"].to_pylist()
    np.testing.assert_allclose(found.scores, 1, atol=1e-6)
    assert found.uids.dtype == np.dtype("U32") and found.scores.dtype == np.float32


def test_ties_go_to_the_row_that_comes_first_however_many_there_are(tmp_path, kind):
    same = np.zeros((300, 8))
    same[:, 0] = 1
    same[250, :2] = 0.6, 0.8
    dataset = write_dataset(tmp_path, (200, 100), spaces=(IMAGE,), vectors={IMAGE.name: same})
    index = Index.build(dataset, IMAGE.name, kind=kind)
    uids = dataset.rows(["uid"])["uid"].to_pylist()
    query = np.eye(8, dtype=np.float32)[:1]
    assert list(index.search(query, k=5).uids[0]) == uids[:5]
    assert list(index.search(query, k=300).uids[0]) == [*uids[:250], *uids[251:], uids[250]]


def test_faiss_and_numpy_give_the_same_bits(tmp_path):
    pytest.importorskip("faiss")
    space = Space("image", "enc", dim=64, per_row=2)
    dataset = write_dataset(tmp_path, (300, 200), spaces=(space,))
    found = [Index.build(dataset, space.name, kind=kind).search(queries_for(300, 64), k=20) for kind in KINDS]
    assert (found[0].uids == found[1].uids).all()
    assert found[0].scores.tobytes() == found[1].scores.tobytes()


@pytest.mark.gpu
def test_a_gpu_gives_the_same_bits_also_beyond_the_most_it_can_find(tmp_path):
    faiss = pytest.importorskip("faiss")
    if faiss.get_num_gpus() == 0:
        pytest.skip("FAISS sees no GPU")
    space = Space("image", "enc", dim=64)
    dataset = write_dataset(tmp_path, (3000,), spaces=(space,))
    for k in (10, 2500):
        found = [Index.build(dataset, space.name, kind=kind).search(queries_for(50, 64), k=k) for kind in KINDS]
        assert (found[0].uids == found[1].uids).all()
        assert found[0].scores.tobytes() == found[1].scores.tobytes()


def test_auto_takes_faiss_where_it_is_installed_and_numpy_where_it_is_not(tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    dataset = write_dataset(tmp_path)
    assert Index.build(dataset, IMAGE.name).kind == "faiss"
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    assert Index.build(dataset, IMAGE.name).kind == "numpy"
    with pytest.raises(ImportError, match=r"pip install .dfndr\[search\]"):
        Index.build(dataset, IMAGE.name, kind="faiss")


def test_the_length_of_a_query_does_not_matter(tmp_path, kind):
    index = Index.build(write_dataset(tmp_path), IMAGE.name, kind=kind)
    one, hundred = index.search(queries_for(2)), index.search((queries_for(2) * 128).astype(np.float64))
    assert (one.uids == hundred.uids).all() and (one.scores == hundred.scores).all()


@pytest.mark.parametrize(
    "vectors",
    [np.ones((2, 7)), np.ones(8), np.zeros((1, 8)), np.full((1, 8), np.nan), np.ones((1, 8), dtype=int)],
    ids=["another dim", "one dimension", "zero", "NaN", "integers"],
)
def test_a_query_that_cannot_be_searched_is_refused(tmp_path, vectors):
    index = Index.build(write_dataset(tmp_path), IMAGE.name, kind="numpy")
    with pytest.raises(UsageError, match=r"queries for image/enc: expected"):
        index.search(vectors)


def test_k_below_one_is_refused_and_k_above_the_rows_gives_all(tmp_path, kind):
    index = Index.build(write_dataset(tmp_path), IMAGE.name, kind=kind)
    with pytest.raises(UsageError, match="at least 1"):
        index.search(queries_for(1), k=0)
    assert index.search(queries_for(1), k=1000).uids.shape == (1, 8)


def test_no_queries_give_no_answers_and_no_rows_give_empty_ones(tmp_path, kind):
    index = Index.build(write_dataset(tmp_path / "a"), IMAGE.name, kind=kind)
    assert index.search(np.empty((0, 8))).uids.shape == (0, 8)
    empty = Index.build(write_dataset(tmp_path / "b", (0,)), IMAGE.name, kind=kind)
    assert empty.search(queries_for(3)).uids.shape == (3, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_vector_that_has_no_direction_is_not_indexed_in_silence(tmp_path, value):
    vectors = np.tile(np.eye(8)[0], (8, 1))
    vectors[6] = value
    dataset = write_dataset(tmp_path, vectors={IMAGE.name: vectors})
    with pytest.raises(FormatError, match=r"image/enc/train-00001-\w+\.npy, row 1"):
        Index.build(dataset, IMAGE.name)


def test_a_saved_index_gives_the_same_answers(tmp_path, kind):
    dataset = write_dataset(tmp_path / "set", spaces=(CAPTION,), columns={"captions": [["a"], ["a", "b"]] * 4})
    built = Index.build(dataset, CAPTION.name, kind=kind)
    built.save(str(tmp_path / "index"))
    for other in KINDS:
        loaded = Index.load(str(tmp_path / "index"), dataset=dataset, kind=other)
        assert (loaded.space, loaded.rows, loaded.dataset_digest) == (CAPTION, 8, dataset.digest)
        first, second = built.search(queries_for(4), k=3), loaded.search(queries_for(4), k=3)
        assert (first.uids == second.uids).all() and (first.scores == second.scores).all()


def test_a_saved_index_is_plain_npy_that_numpy_reads_without_pickle(tmp_path):
    dataset = write_dataset(tmp_path / "set")
    Index.build(dataset, IMAGE.name).save(str(tmp_path / "index"))
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == ["index.json", "uids.npy", "vectors.npy"]
    uids = np.load(tmp_path / "index" / "uids.npy", allow_pickle=False)
    vectors = np.load(tmp_path / "index" / "vectors.npy", allow_pickle=False)
    assert [row.tobytes().hex() for row in uids] == dataset.rows(["uid"])["uid"].to_pylist()
    np.testing.assert_allclose(vectors, dataset.vectors(IMAGE.name), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=2), 1, atol=1e-6)


def test_an_index_is_refused_on_another_dataset(tmp_path):
    mine, other = write_dataset(tmp_path / "mine"), write_dataset(tmp_path / "other", seed=1)
    index = Index.build(mine, IMAGE.name)
    index.save(str(tmp_path / "index"))
    index.check(mine)
    with pytest.raises(UsageError, match="expected an index of this dataset"):
        index.check(other)
    with pytest.raises(UsageError, match="Build the index again"):
        Index.load(str(tmp_path / "index"), dataset=other)


def test_an_index_may_be_written_over_itself(tmp_path):
    dataset = write_dataset(tmp_path / "set")
    path = str(tmp_path / "index")
    Index.build(dataset, IMAGE.name).save(path)
    Index.load(path, kind="numpy").save(path)
    assert Index.load(path, dataset=dataset).rows == 8


def test_an_index_whose_writing_was_stopped_is_not_there(tmp_path):
    Index.build(write_dataset(tmp_path / "set"), IMAGE.name).save(str(tmp_path / "index"))
    (tmp_path / "index" / "index.json").unlink()
    with pytest.raises(StorageError, match=r"index\.json"):
        Index.load(str(tmp_path / "index"))


@pytest.mark.parametrize("name", ["uids.npy", "vectors.npy"])
def test_an_altered_file_of_an_index_is_refused(tmp_path, name):
    Index.build(write_dataset(tmp_path / "set"), IMAGE.name).save(str(tmp_path / "index"))
    file = tmp_path / "index" / name
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(FormatError, match=rf"{name}: expected sha256"):
        Index.load(str(tmp_path / "index"))


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"../../etc/passwd": {"size_bytes": 1, "sha256": "0" * 64}}},
        {"format": "dfndr-index/2"},
        {"vectors": -1},
        {"vectors": 2**62},
        {"vectors": True},
        {"vectors": 8.0},
        {"dataset": None},
        {"space": {"modality": "image"}},
        {"more": 1},
    ],
    ids=str,
)
def test_a_record_that_lies_is_refused(tmp_path, change):
    Index.build(write_dataset(tmp_path / "set"), IMAGE.name).save(str(tmp_path / "index"))
    record = tmp_path / "index" / "index.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | change))
    with pytest.raises(FormatError):
        Index.load(str(tmp_path / "index"))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"vectors": NaN}', "null"], ids=range(6))
def test_a_record_that_is_no_record_is_refused(tmp_path, text):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(FormatError, match=r"index\.json"):
        Index.load(str(tmp_path))


def test_the_vectors_of_a_uid_are_those_of_its_used_places(tmp_path):
    captions = [["one"], ["one", "two"], [], ["one", "two", "three"], ["one"]]
    dataset = write_dataset(tmp_path, (3, 2), spaces=(CAPTION,), columns={"captions": captions})
    index = Index.build(dataset, CAPTION.name)
    uids = dataset.rows(["uid"])["uid"].to_pylist()
    np.testing.assert_allclose(index.vectors_of(uids[1]), dataset.vectors(CAPTION.name, [1])[0, :2], atol=1e-3)
    for unknown in (uids[2], "f" * 32, "not a uid"):
        with pytest.raises(UsageError, match="no such row"):
            index.vectors_of(unknown)
