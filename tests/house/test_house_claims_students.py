"""The page of claims says of students what was measured: its tables are those that the recorded results make."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.claims.reinforced import RESULTS  # noqa: E402
from benchmarks.claims.reinforced_tables import PARTS, filled_students, read_students  # noqa: E402


def test_tables_on_students_are_those_of_the_recorded_results():
    page = (ROOT / "docs" / "claims.md").read_text()
    assert all(f"<!-- students-{name} -->" in page for name in PARTS)
    assert filled_students(page, read_students(RESULTS)) == page


def test_the_plot_of_students_stands_on_the_page():
    assert "images/claims-students.png" in (ROOT / "docs" / "claims.md").read_text()
    assert (ROOT / "docs" / "images" / "claims-students.png").is_file()
