"""Semantic duplicates, clusters and contamination by vector, against brute force over small spaces."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from dfndr_builders.duplicates.clusters import Clusters
from dfndr_builders.duplicates.contaminated import SemanticContaminated
from dfndr_builders.duplicates.cosine import candidates, on_grid
from dfndr_builders.duplicates.kmeans import nearest
from dfndr_builders.duplicates.semantic import SemanticDuplicates
from support.duplicates import column_of, partition, scores_of

from dfndr.errors import UsageError

LIMIT = 0.9


def _vectors(seed: int, rows: int, dim: int = 48) -> np.ndarray:
    """Vectors of which a third are others, turned a little or not at all; not of unit length."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((rows, dim))
    for row in range(2 * rows // 3, rows):
        turn = rng.choice([0.0, 0.2, 0.45, 0.6])
        vectors[row] = vectors[rng.integers(0, row)] + turn * rng.standard_normal(dim)
    return vectors.astype(np.float16)


def _cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    one, other = (part.astype(np.float64) for part in (left, right))
    return (one @ other.T) / np.linalg.norm(one, axis=1)[:, None] / np.linalg.norm(other, axis=1)


def _linked(links: np.ndarray) -> list[set[int]]:
    """Brute force: the connected components with more than one member of a symmetric matrix."""
    reach = links | np.eye(len(links), dtype=bool)
    while True:
        further = (reach.astype(np.float32) @ reach.astype(np.float32)) > 0
        if (further == reach).all():
            break
        reach = further
    groups = {frozenset(np.flatnonzero(row).tolist()) for row in reach}
    return sorted((set(group) for group in groups if len(group) > 1), key=min)


def _scores(folder, vectors, shards=3):
    return scores_of(folder, {"row": pa.array(range(len(vectors)))}, shards, vectors)


@pytest.mark.parametrize(("clusters", "probes"), [(None, 4), (8, 8)])
@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_where_all_clusters_are_compared_the_groups_are_those_of_all_pairs(tmp_path, clusters, probes, kind):
    vectors = _vectors(0, 400).astype(kind)
    scores = _scores(tmp_path, vectors)
    found = column_of(SemanticDuplicates("image/given", LIMIT, clusters, probes=probes), scores)
    wanted = _linked(_cosines(vectors, vectors) >= LIMIT)
    assert len(wanted) > 50
    assert partition(found) == wanted
    assert all(group is None or group == min(np.flatnonzero(np.array(found) == group)) for group in found)


def test_with_a_few_of_many_clusters_no_wrong_pair_is_joined_and_few_are_missed(tmp_path):
    vectors = _vectors(1, 900)
    found = column_of(SemanticDuplicates("image/given", LIMIT, 30), _scores(tmp_path, vectors))
    together = np.array([[group is not None and group == other for other in found] for group in found])
    linked = np.zeros_like(together)
    for group in _linked(_cosines(vectors, vectors) >= LIMIT):
        linked[np.ix_(list(group), list(group))] = True
    assert not (together & ~linked).any()
    assert (together & linked).sum() >= 0.97 * linked.sum()


def test_the_partition_and_the_clusters_are_the_same_for_any_order_of_rows_and_shards(tmp_path):
    vectors = _vectors(2, 900)
    order = np.random.default_rng(3).permutation(len(vectors))
    one = _scores(tmp_path / "one", vectors, shards=2)
    other = _scores(tmp_path / "other", vectors[order], shards=7)
    derived = SemanticDuplicates("image/given", LIMIT, 30, seed=4, probes=2)
    moved = [{int(order[row]) for row in group} for group in partition(column_of(derived, other))]
    assert sorted(moved, key=min) == partition(column_of(derived, one))
    clusters = Clusters("image/given", 20, seed=4)
    found = column_of(clusters, one)
    assert [found[row] for row in order] == column_of(clusters, other)
    assert column_of(Clusters("image/given", 20, seed=5), one) != found


def test_vectors_that_are_the_same_are_one_group_and_compared_once(tmp_path, monkeypatch):
    vectors = np.tile(_vectors(5, 2), (5000, 1))
    compared = []
    monkeypatch.setattr(
        "dfndr_builders.duplicates.semantic.candidates",
        lambda left, right, cosine: compared.append(len(left) * len(right)) or candidates(left, right, cosine),
    )
    found = column_of(SemanticDuplicates("image/given", 0.99), _scores(tmp_path, vectors))
    assert found == [0, 1] * 5000
    assert sum(compared) <= 16


def test_one_tight_clump_in_one_cluster_is_compared_in_blocks(tmp_path, monkeypatch):
    rng = np.random.default_rng(6)
    vectors = (rng.standard_normal(16) + 0.01 * rng.standard_normal((300, 16))).astype(np.float32)
    monkeypatch.setattr("dfndr_builders.duplicates.semantic._LEFT", 32)
    monkeypatch.setattr("dfndr_builders.duplicates.semantic._RIGHT", 48)
    monkeypatch.setattr("dfndr_builders.duplicates.semantic._PAIRS", 100)
    assert column_of(SemanticDuplicates("image/given", 0.99, 3), _scores(tmp_path, vectors)) == [0] * 300


def test_a_row_without_a_vector_is_alone_and_in_no_cluster(tmp_path):
    vectors = _vectors(7, 40)
    vectors[[3, 9, 30]] = 0
    vectors[20] = vectors[21]
    scores = _scores(tmp_path, vectors)
    found = column_of(SemanticDuplicates("image/given", 0.01), scores)
    assert [found[row] for row in (3, 9, 30)] == [None] * 3
    assert found[20] == found[21] is not None
    clusters = column_of(Clusters("image/given", 4), scores)
    assert [row for row, cluster in enumerate(clusters) if cluster is None] == [3, 9, 30]
    assert np.isnan(SemanticDuplicates("image/given", 0.9).distance(scores, np.array([3]), np.array([4]))).all()


def test_the_distance_of_a_pair_is_one_less_its_cosine(tmp_path):
    vectors = _vectors(8, 50)
    ones, others = np.arange(0, 20), np.arange(30, 50)
    found = SemanticDuplicates("image/given", 0.9).distance(_scores(tmp_path, vectors), ones, others)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 1 - _cosines(vectors[ones], vectors[others]).diagonal(), atol=1e-6)


def test_clusters_are_the_nearest_of_well_parted_directions(tmp_path):
    rng = np.random.default_rng(9)
    kinds = rng.integers(0, 4, 300)
    vectors = (np.eye(4, 12)[kinds] + 0.05 * rng.standard_normal((300, 12))).astype(np.float16)
    found = np.array(column_of(Clusters("image/given", 4, seed=1), _scores(tmp_path, vectors)))
    assert {len(set(found[kinds == kind])) for kind in range(4)} == {1}
    assert set(found) == {0, 1, 2, 3}


def test_where_there_are_fewer_vectors_than_clusters_each_is_its_own(tmp_path):
    found = column_of(Clusters("image/given", 50), _scores(tmp_path, np.eye(6, dtype=np.float16)))
    assert sorted(found) == list(range(6))


def test_products_on_the_grid_are_whole_numbers_and_no_pair_at_the_limit_is_left_out():
    vectors = _vectors(10, 300)
    grid = on_grid(vectors)
    exact = grid.astype(np.int64) @ grid.astype(np.int64).T
    assert ((grid @ grid.T).astype(np.int64) == exact).all()
    ones, others = candidates(grid, grid, LIMIT)
    pairs = set(zip(ones.tolist(), others.tolist(), strict=True))
    wanted = set(map(tuple, np.argwhere(_cosines(vectors, vectors) >= LIMIT).tolist()))
    assert wanted <= pairs
    assert len(pairs) < 1.2 * len(wanted)


def test_the_nearest_centroids_come_best_first_and_the_smaller_number_among_equals():
    centroids = on_grid(np.eye(4)[[0, 1, 1, 2]])
    places, likeness = nearest(on_grid(np.array([[0.1, 1.0, 0.5, 0.0]])), centroids, 3)
    assert places.tolist() == [[1, 2, 3]]
    assert likeness[0, 0] == likeness[0, 1] > likeness[0, 2]


@pytest.mark.parametrize("shards", [1, 4])
def test_contaminated_rows_name_the_evaluation_image_of_the_largest_cosine(tmp_path, monkeypatch, shards):
    monkeypatch.setattr("dfndr_builders.duplicates.contaminated._RIGHT", 16)
    monkeypatch.setattr("dfndr_builders.duplicates.contaminated._LEFT", 32)
    every = _vectors(11, 300)
    order = np.random.default_rng(12).permutation(300)
    pool, tested = every[order[:200]], every[order[200:]].copy()
    tested[5] = tested[50] = pool[17]
    pool[4] = 0
    keys = tuple(f"image-{place:03}" for place in np.random.default_rng(13).permutation(100))
    scores = _scores(tmp_path, pool, shards)
    found = pa.concat_tables(SemanticContaminated(keys, tested, "image/given", LIMIT).tables(scores)).to_pylist()
    with np.errstate(invalid="ignore"):
        matrix = np.nan_to_num(_cosines(pool, tested))
    contaminated = 0
    for row, line in enumerate(found):
        best = matrix[row].max()
        near = best >= LIMIT
        contaminated += near
        key = min(keys[place] for place in np.flatnonzero(np.isclose(matrix[row], best, atol=1e-12))) if near else None
        assert (line["contaminated"], line["contaminated_by"]) == (near, key)
        if near:
            assert line["contaminated_distance"] == pytest.approx(1 - best, abs=1e-6)
        else:
            assert line["contaminated_distance"] is None
    assert contaminated > 20
    assert found[17]["contaminated_by"] == min(keys[5], keys[50])


@pytest.mark.parametrize(
    "derived",
    [
        SemanticDuplicates("image/given", 0.0),
        SemanticDuplicates("image/given", 1.5),
        SemanticDuplicates("image/given", 0.9, clusters=0),
        SemanticDuplicates("image/given", 0.9, probes=0),
        SemanticDuplicates("image/other", 0.9),
        Clusters("image/given", 0),
        SemanticContaminated(("one",), np.ones((1, 3)), "image/given", 0.9),
        SemanticContaminated(("one",), np.ones((1, 4)), "image/given", 2.0),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, derived):
    scores = _scores(tmp_path, np.eye(4, dtype=np.float16))
    with pytest.raises(UsageError):
        list(derived.tables(scores))


def test_a_dataset_without_rows_has_no_tables(tmp_path):
    empty = _scores(tmp_path, np.eye(4, dtype=np.float16)).split("validation")
    for derived in (
        SemanticDuplicates("image/given", 0.9),
        Clusters("image/given", 4),
        SemanticContaminated(("one",), np.ones((1, 4)), "image/given", 0.9),
    ):
        assert list(derived.tables(empty)) == []
