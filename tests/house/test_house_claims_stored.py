"""What the pages say of storage types is what was measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.claims.stored_tables import filled_stored, read_stored, stored_file  # noqa: E402


@pytest.mark.parametrize("name", ["claims.md", "storage-types.md"])
def test_the_table_of_storage_types_is_that_of_the_recorded_results(name: str) -> None:
    page = (ROOT / "docs" / name).read_text()
    records = read_stored(stored_file())
    assert {record["seed"] for record in records} == {None, 0, 1, 2}
    assert filled_stored(page, records) == page
