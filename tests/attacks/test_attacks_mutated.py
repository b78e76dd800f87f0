"""Damaged files of every kind that is read: refused, counted or read, never a crash, and never much memory.

`benchmarks/faults/fuzz.py` gives each reader ten thousand; docs/faults.md says what came of it.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.faults.fuzz import READERS, damaged, fault_of

INPUTS = 60


@pytest.mark.parametrize("name", sorted(READERS))
def test_damaged_files_are_refused_or_read(tmp_path: Path, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a library says of a damaged file is its own business
        whole, read = READERS[name].open(tmp_path)
        for data in whole:
            read(data)
        for number in range(INPUTS):
            data = damaged(name, whole, 1, number)
            found, said = fault_of(READERS[name], read, data)
            assert not said, f"input {number} {found}: {said}"


def test_input_number_n_is_a_function_of_the_seed_the_reader_and_n(tmp_path: Path) -> None:
    whole, _ = READERS["manifest"].open(tmp_path)
    first = [damaged("manifest", whole, 1, number) for number in range(20)]
    assert first == [damaged("manifest", whole, 1, number) for number in range(20)]
    assert len(set(first)) > 15
