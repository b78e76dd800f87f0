"""Figures of agreement and their intervals, against brute force; and the files that labels and ratings come in."""

from __future__ import annotations

import math
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
from dfndr_builders.agreement.bootstrap import measured
from dfndr_builders.agreement.figures import average_precision, kendall, of_labels, precision_at
from dfndr_builders.agreement.pairs import read_pairs

from dfndr.errors import DataError
from dfndr.seeds import rng_for


def _tied(seed: int, rows: int = 60, values: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Scores and ratings with ties in both."""
    drawn = np.random.default_rng(seed)
    return drawn.integers(0, values, rows) / 8, drawn.integers(1, 5, rows).astype(float)


@pytest.mark.parametrize("seed", range(4))
def test_taus_are_those_of_all_pairs_of_rows_and_of_scipy(seed):
    from scipy.stats import kendalltau

    scores, ratings = _tied(seed)
    signs = [
        (np.sign(scores[one] - scores[other]), np.sign(ratings[one] - ratings[other]))
        for one, other in combinations(range(len(scores)), 2)
    ]
    concordant = sum(one * other for one, other in signs)
    untied = sum(one != 0 for one, _ in signs), sum(other != 0 for _, other in signs)
    found = kendall(scores, ratings)
    assert found["kendall_tau_b"] == pytest.approx(concordant / math.sqrt(untied[0] * untied[1]))
    assert found["kendall_tau_c"] == pytest.approx(2 * concordant / (60**2 * 3 / 4))
    for variant in "bc":
        assert found[f"kendall_tau_{variant}"] == pytest.approx(kendalltau(scores, ratings, variant=variant).statistic)


def test_taus_of_values_that_are_all_the_same_are_none():
    for scores, ratings in (([1.0, 1.0], [1.0, 2.0]), ([1.0, 2.0], [3.0, 3.0])):
        assert set(kendall(np.array(scores), np.array(ratings)).values()) == {None}


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_that_of_a_loop_over_thresholds_and_of_scikit_learn(seed):
    from sklearn.metrics import average_precision_score

    scores, ratings = _tied(seed)
    labels = (ratings > 2).astype(float)
    expected = recall = 0.0
    for threshold in sorted(set(scores), reverse=True):
        kept = labels[scores >= threshold]
        expected += (kept.sum() / labels.sum() - recall) * kept.mean()
        recall = kept.sum() / labels.sum()
    assert average_precision(scores, labels) == pytest.approx(expected)
    assert average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores))
    assert average_precision(scores, np.zeros(60)) is None


def test_precision_is_the_mean_over_all_orders_of_rows_that_tie():
    scores, labels = np.array([3.0, 1, 2, 2, 2, 0]), np.array([1.0, 0, 1, 0, 0, 1])
    for fraction in (0.2, 0.34, 0.5, 0.67, 1.0):
        count = math.floor(fraction * 6)
        orders = [sorted(order, key=lambda row: -scores[row])[:count] for order in permutations(range(6))]
        expected = np.mean([labels[order].mean() for order in orders])
        assert precision_at(scores, labels, fraction) == pytest.approx(expected)
    assert precision_at(scores, labels, 0.1) is None, "a tenth of six rows is none"
    assert precision_at(np.arange(100.0), np.arange(100.0), 0.29) == pytest.approx(np.arange(71, 100).mean())


def test_labels_of_one_kind_leave_the_area_undefined_and_are_said_not_nan():
    scores, groups = np.arange(6.0), np.arange(6)
    how = {"resamples": 5, "seed": 0, "why": "labels all of one kind"}
    found = measured(of_labels(0.5), scores, np.zeros(6), groups, **how)
    assert (found["roc_auc"].value, found["roc_auc"].why) == (None, "labels all of one kind")
    assert found["average_precision"].value is None
    assert found["precision_at_0.5"].value == 0.0
    assert measured(of_labels(0.5), scores, np.ones(6), groups, **how)["average_precision"].value == pytest.approx(1)


def test_an_interval_is_that_of_a_loop_that_draws_pictures_and_takes_all_their_rows():
    scores, ratings = _tied(1)
    groups = np.random.default_rng(5).integers(0, 12, 60)
    groups[:12] = np.arange(12)
    found = measured(kendall, scores, ratings, groups, resamples=50, seed=7, why="")
    generator, values = rng_for(7, "bootstrap of pictures"), []
    for _ in range(50):
        rows = [row for picture in generator.integers(0, 12, 12) for row in range(60) if groups[row] == picture]
        values.append(kendall(scores[rows], ratings[rows])["kendall_tau_b"])
    figure = found["kendall_tau_b"]
    assert (figure.low, figure.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))
    assert figure.value == kendall(scores, ratings)["kendall_tau_b"]
    again = measured(kendall, scores, ratings, groups, resamples=50, seed=7, why="")
    assert again == found and measured(kendall, scores, ratings, groups, resamples=50, seed=8, why="") != found


def _file(folder: Path, *lines: str) -> str:
    path = folder / "pairs.tsv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_pairs_are_read_with_quotes_as_they_are_and_other_columns_passed_over(tmp_path):
    path = _file(tmp_path, "split\timage\tcaption\tlabel", 'a\tone\tA "dog\tmatch', "", "b\ttwo\tA cat \tno-match")
    found = read_pairs(path)
    assert (found.keys, found.captions) == (("one", "two"), ('A "dog', "A cat"))
    assert found.labels is not None and found.labels.tolist() == [True, False]
    assert found.ratings is None


def test_ratings_may_be_left_out_and_stand_in_the_order_of_their_numbers(tmp_path):
    found = read_pairs(_file(tmp_path, "rating10\timage\trating2\tcaption", "1\tone\t4\ttext", "\ttwo\t2.5\ttext"))
    assert found.labels is None and found.ratings is not None
    np.testing.assert_array_equal(found.ratings, [[4, 1], [2.5, math.nan]])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([""], "a column image, found an empty file"),
        (["image\tcaption\tlabel"], "pairs below the header, found none"),
        (["image\ttext\tlabel", "a\tb\tmatch"], "a column caption, found the columns image, text, label"),
        (["image\tcaption\tscore", "a\tb\t1"], r"a column label \(or rating1, rating2, ...\)"),
        (["image\timage\tcaption\tlabel", "a\ta\tb\t1"], "other names"),
        (["image\tcaption\tlabel", "a\tb"], r"line 2: expected 3 columns, found 2"),
        (["image\tcaption\tlabel", "a\tb\tmatch", "a\tb\tmaybe"], "line 3: expected match or no-match, found 'maybe'"),
        (["image\tcaption\trating1", "a\tb\tgood"], "line 2, rating1: expected a number, found 'good'"),
        (["image\tcaption\trating1", "a\tb\tnan"], "line 2, rating1: expected a number, found 'nan'"),
        (["image\tcaption\trating1\trating2", "a\tb\t\t"], "line 2: expected a rating, found none"),
    ],
)
def test_a_file_that_is_wrong_is_said_with_its_line(tmp_path, lines, said):
    with pytest.raises(DataError, match=said):
        read_pairs(_file(tmp_path, *lines))
