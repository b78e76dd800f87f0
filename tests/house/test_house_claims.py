"""The page of claims says what was measured: its tables are those that the recorded results make."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.claims.experiments import EXPERIMENTS  # noqa: E402
from benchmarks.claims.results import read_results, results_file  # noqa: E402
from benchmarks.claims.tables import filled  # noqa: E402


def test_tables_and_verdicts_of_the_page_are_those_of_the_recorded_results():
    page = (ROOT / "docs" / "claims.md").read_text()
    assert all(f"<!-- {name} -->" in page for name in EXPERIMENTS)
    assert filled(page, read_results(results_file("cpu"))) == page


def test_every_experiment_has_its_plot_on_the_page():
    page = (ROOT / "docs" / "claims.md").read_text()
    for name in EXPERIMENTS:
        assert f"images/claims-{name}.png" in page
        assert (ROOT / "docs" / "images" / f"claims-{name}.png").is_file()
