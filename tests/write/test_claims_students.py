"""The experiments with students: sets that share no picture, runs and their names, tables that add up."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.claims import reinforced_sets  # noqa: E402
from benchmarks.claims.reinforced_runs import plain_runs, reinforced_runs, varied_runs, whole_runs  # noqa: E402
from benchmarks.claims.reinforced_scales import STUDENT_SCALES  # noqa: E402
from benchmarks.claims.reinforced_tables import PARTS, StudentResults, equal_samples, filled_students  # noqa: E402
from benchmarks.claims.results import Measured  # noqa: E402

SCALE = STUDENT_SCALES["smoke"]
CURVE = [(100, Measured((0.1, 0.3))), (400, Measured((0.4,))), (1600, Measured((0.5,)))]


def results():
    accuracies = {(128, 0, 0, samples): Measured((0.1, 0.2)) for samples in SCALE.plain_lengths}
    accuracies |= {(128, 3, 2, samples): Measured((samples / 2000,)) for samples in SCALE.reinforced_lengths}
    accuracies |= {(128, 1, 2, 512): Measured((0.2,)), (128, 3, 0, 512): Measured((0.25,))}
    milliseconds = {
        "plain": [1.0, 1.2, 0.9],
        "teachers and captioner online": [16.0, 15.0, 18.0],
        "captions cached, teachers online": [4.0, 3.0, 5.0],
        "all cached": [1.1, 1.5, 1.0],
    }
    costs = {"milliseconds": milliseconds, "generation_s": 298.0, "rows": 1000, "views": 3, "captions": 2}
    return StudentResults(SCALE, accuracies, costs)


def test_samples_at_equal_accuracy_lie_between_two_lengths_on_a_logarithmic_scale():
    assert equal_samples(CURVE, 0.3) == pytest.approx(200)
    assert equal_samples(CURVE, 0.4) == pytest.approx(400) and equal_samples(CURVE, 0.5) == pytest.approx(1600)
    assert equal_samples(CURVE, 0.1) == 0 and equal_samples(CURVE, 0.2) == 100
    assert equal_samples(CURVE, 0.51) is None and equal_samples([], 0.1) is None


def test_tables_tell_what_was_measured_and_are_the_same_made_twice():
    page = "".join(f"a\n<!-- students-{name} -->\nold\n<!-- /students-{name} -->\nb\n" for name in PARTS)
    made = filled_students(page, results())
    assert filled_students(made, results()) == made and "old" not in made
    # 15 % lies between 256 samples (12.8 %) and 512 (25.6 %): at 256 * 2 ** (2.2 / 12.8)
    assert "| 512 | 15.0% ± 7.1% | 25.6% ± 0.0% | 288 | 1.8 |" in made
    assert "| 256 |  | 12.8% ± 0.0% |  |  |" in made
    assert "| teachers and captioner online | 16.00 | 15.00 to 18.00 | 16.0 | 16.2 |" in made
    assert "paid back after 20.0 epochs, against teachers online alone after 102.8" in made
    assert "- within a standard deviation of 3 views from 3 views on" in made


def test_runs_of_a_scale_have_names_of_their_own():
    for scale in STUDENT_SCALES.values():
        runs = {*plain_runs(scale), *reinforced_runs(scale), *varied_runs(scale), *whole_runs(scale)}
        assert len({run.name for run in runs}) == len(runs)
        assert all(run.views <= scale.views and run.captions <= scale.captions for run in runs)


def test_teachers_never_see_the_pictures_that_students_learn_from(tmp_path, monkeypatch):
    samples = tuple((f"picture {number}".encode(), number % 10) for number in range(500))
    monkeypatch.setattr(reinforced_sets, "train_samples", lambda: samples)
    sets = reinforced_sets.write_student_sets(tmp_path, 100)
    rows, taught = (pq.read_table(path)["image"].to_pylist() for path in (sets.rows, sets.taught))
    assert len(rows) == 100 and sorted([*rows, *taught]) == sorted(image for image, _ in samples)
