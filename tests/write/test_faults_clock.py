"""The clock on the wall may jump: nothing that is built, waited for or held depends on it."""

from __future__ import annotations

import ast
import itertools
import time
from pathlib import Path

import dfndr_builders
import pytest
from dfndr_builders.build import build
from support import faults

import dfndr
from dfndr.format.manifest import Manifest
from dfndr.verify import verify

built = faults.built

ALLOWED = {
    "dfndr/cache.py": "what was left half written in the cache, or was not used for long, goes first",
    "dfndr_builders/captions/patience.py": "a server may name the time at which it wants to be asked again",
    "dfndr_builders/removing/folder.py": "the log of removed rows has days",
}


def test_nothing_asks_for_the_time_of_day_but_for_a_reason_that_is_known() -> None:
    asking = set()
    for package in (dfndr, dfndr_builders):
        root = Path(str(package.__file__)).parent
        for path in root.rglob("*.py"):
            called = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if _is_call(node)}
            if called & {
                "time.time",
                "time.time_ns",
                "datetime.now",
                "datetime.today",
                "date.today",
                "datetime.utcnow",
            }:
                asking.add(f"{root.name}/{path.relative_to(root).as_posix()}")
    assert asking == set(ALLOWED)


def _is_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call)


def test_a_build_whose_clock_jumps_is_the_same_dataset(
    built: tuple[Path, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, undisturbed = built
    jumps = itertools.cycle([0.0, 4e7, -4e7, 1e9])
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    assert build(recipe, tmp_path / "out", device="cpu").digest == undisturbed.digest
    monkeypatch.undo()
    assert verify(str(tmp_path / "out")).ok
