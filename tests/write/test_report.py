"""The report page: its numbers are those of the dataset, and it is there in every odd case."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from dfndr_builders.report.inputs import Timing, open_inputs
from dfndr_builders.report.write import report
from support.reported import built as _built
from support.reported import page as _page
from support.reported import picture as _picture
from support.reported import samples as _samples
from support.reported import write as _write
from support.tiny import write_dataset

from dfndr import storage
from dfndr.dataset import open_dataset
from dfndr.format.manifest import Step, write_manifest
from dfndr.format.shard import write_rows


def test_the_page_says_what_the_funnel_says(tmp_path: Path):
    _built(tmp_path / "built")
    words = " ".join(_page(tmp_path / "built", tmp_path).words)
    for told in ("10 of 42 rows of the pool are kept", "23.8 %", "not_selected", "its score lies below the cut",
                 "text_empty", "the text is empty or blank", "the lowest score kept is 0.3000"):  # fmt: skip
        assert told.replace("10 of 42", "10  of 42") in words or told in re.sub(r"\s+", " ", words), told


CASES: dict[str, dict[str, Any]] = {
    "nothing kept": {"kept": 0},
    "nothing dropped": {"scored": 12, "kept": 12},
    "one row": {"scored": 1, "kept": 1},
    "no phases": {"phases": False},
    "no thumbnails": {"thumbnails": False},
    "no captions": {"captions": False},
}


@pytest.mark.parametrize("case", CASES)
def test_there_is_a_page_in_every_odd_case(tmp_path: Path, case: str):
    made = _built(tmp_path / "built", **CASES[case])
    read = _page(tmp_path / "built", tmp_path)
    words = " ".join(read.words)
    assert f"{len(made)}" in words
    assert not read.open
    says = {
        "nothing kept": "No row was kept.",
        "no phases": "Not here: ",
        "no thumbnails": "no picture",
        "one row": "100 %",
    }
    assert says.get(case, "Funnel") in words
    assert ("caption score" in words) == (case not in ("nothing kept", "no captions"))


def test_a_dataset_without_a_funnel_or_provenance_has_a_page(tmp_path: Path):
    made = write_dataset(tmp_path / "built", [3], ())
    write_manifest(made.root, replace(made.manifest, funnel=(), provenance={"scores": 7, "selection": ["?"]}))
    words = " ".join(_page(tmp_path / "built", tmp_path).words)
    assert "The manifest names no steps." in words
    assert "There is no score to draw" in words


def test_some_rows_that_failed_are_shown_with_the_reason_in_words(tmp_path: Path):
    made = _built(tmp_path / "built")
    scores = open_dataset(tmp_path / "built/phases/score-0123")
    names = ("uid", "key", "reason", "detail")
    rows = [(f"{row:032x}", f"<key {row}>", "image_unreadable", f"cut at {row}") for row in range(5)]
    problems = pa.table({name: [row[place] for row in rows] for place, name in enumerate(names)})
    stored = write_rows(scores.root, "problems/train-00000-{hash8}.parquet", problems)
    first = scores.manifest.shards[0]
    failed = replace(
        first, rows_in=first.rows + 5, failed={"image_unreadable": 5}, files={**first.files, "problems": stored}
    )
    write_manifest(scores.root, replace(scores.manifest, shards=(failed, *scores.manifest.shards[1:])))
    words = _page(made.root, tmp_path).words
    assert [word for word in words if word.startswith("<key")] == ["<key 0>", "<key 1>", "<key 2>"]
    assert "cut at 2" in words


def test_a_remote_dataset_has_the_same_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DFNDR_CACHE", str(tmp_path / "cache"))
    _built(tmp_path / "built")
    for name in storage.list_files(str(tmp_path / "built")):
        _write("memory://report", name, (tmp_path / "built" / name).read_bytes())
    pages = [
        Path(report(root, out=str(tmp_path / f"{number}.html"))).read_bytes()
        for number, root in enumerate((str(tmp_path / "built"), "memory://report"))
    ]
    assert pages[0] == pages[1]


def test_the_page_goes_beside_nobody_else_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _built(tmp_path / "built")
    monkeypatch.chdir(tmp_path)
    assert report("built") == "tiny-report.html"
    assert (tmp_path / "tiny-report.html").read_bytes().startswith(b"<!doctype html>")


def test_seconds_of_a_phase_that_was_stopped_are_added_up_and_broken_lines_left_out(tmp_path: Path):
    _built(tmp_path / "built")
    lines = [
        {"phase": "score", "digest": "old", "rows": 9, "seconds": 100.0, "units": 1},
        {"phase": "score", "digest": "new", "rows": 10, "seconds": 2.5, "units": 1},
        {"phase": "score", "digest": "new", "rows": 30, "seconds": 1.5, "units": 3},
        {"phase": "select", "digest": "s", "rows": 40, "seconds": 0.25},
        {"phase": "odd", "seconds": "soon"},
    ]
    text = "\n".join([*map(json.dumps, lines), "[]", '{"phase": "build", "sec'])
    _write(str(tmp_path / "built"), "phases/timings.jsonl", text.encode())
    timings = open_inputs(str(tmp_path / "built")).timings
    assert timings == (Timing("score", 40, 4, 4.0), Timing("select", 40, 0, 0.25))
    assert "rows a second" in _page(tmp_path / "built", tmp_path).words


def test_a_rule_is_said_in_words_and_its_limit_drawn(tmp_path: Path):
    rule = {"reason": "narrow_image", "column": "width", "comparison": "below", "value": 120}
    made = _built(tmp_path / "built", rule={"drop": [rule]})
    steps = (Step("select", 40, 10, {"narrow_image": 20, "odd_rule": 10}),)
    write_manifest(made.root, replace(made.manifest, funnel=steps))
    words = " ".join(_page(tmp_path / "built", tmp_path).words)
    assert "width is below 120" in words
    assert "a rule of the recipe" in words
    assert "limit 120" in words


def test_duplicates_are_shown_as_pairs_with_their_distance(tmp_path: Path):
    made = _built(tmp_path / "built")
    first = made.rows(["uid"])["uid"][0].as_py()
    _samples(tmp_path / "built", [
        {"uid": "a" * 32, "text": "the removed one", "reason": "near_duplicate", "thumbnail": _picture(1)},
        {"uid": "b" * 32, "text": "the other removed", "reason": "near_duplicate", "thumbnail": _picture(2)},
        {"uid": "c" * 32, "text": "it stays, unselected", "thumbnail": _picture(3)},
    ])  # fmt: skip
    audit = pa.table({
        "uid": ["a" * 32, "b" * 32, "d" * 32],
        "reason": ["near_duplicate", "near_duplicate", "same_text"],
        "kept_uid": [first, "c" * 32, first],
        "distance": pa.array([3.0, 5.0, 0.0], pa.float32()),
    })  # fmt: skip
    stored = write_rows(made.root, "audit/duplicates-{hash8}.parquet", audit)
    write_manifest(made.root, replace(made.manifest, files={"audit/duplicates": stored}))
    words = re.sub(r"\s+", " ", " ".join(_page(tmp_path / "built", tmp_path).words))
    assert "the removed one" in words
    assert "it stays, unselected" in words
    assert "a text of row 30" in words
    assert words.index("distance 5") < words.index("distance 3")
    assert "near_duplicate 2 3 3 5 5" in words
    assert "same_text 1 0 0 0 0" in words


def test_equal_inputs_give_equal_pages(tmp_path: Path):
    _built(tmp_path / "built")
    pages = [
        Path(report(str(tmp_path / "built"), out=str(tmp_path / name))).read_bytes() for name in ("1.html", "2.html")
    ]
    assert pages[0] == pages[1]
