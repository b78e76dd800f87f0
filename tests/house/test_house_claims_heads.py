"""What the page of claims says of heads is what was measured."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.claims.heads_tables import filled_heads, heads_file, read_heads  # noqa: E402


def test_the_table_of_heads_is_that_of_the_recorded_results():
    page = (ROOT / "docs" / "claims.md").read_text()
    results = read_heads(heads_file())
    assert {record["seed"] for record in results.records} == {0, 1, 2}
    assert filled_heads(page, results) == page


def test_the_plot_of_heads_is_on_the_page():
    assert "images/claims-heads.png" in (ROOT / "docs" / "claims.md").read_text()
    assert (ROOT / "docs" / "images" / "claims-heads.png").is_file()
