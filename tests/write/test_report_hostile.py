"""The report page of what somebody else wrote or damaged: nothing in it can act, and nothing stops it."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from dfndr_builders.report.inputs import open_inputs
from dfndr_builders.report.write import report
from support.reported import Read
from support.reported import built as _built
from support.reported import page as _page
from support.reported import rows as _rows
from support.reported import samples as _samples
from support.reported import write as _write
from support.tiny import write_dataset

from dfndr.errors import FormatError
from dfndr.format.manifest import write_manifest

HOSTILE = [
    '<script>alert("1")</script>',
    "' onerror='alert(1)' x=\"",
    "</style></title></bdi><img src=x onerror=alert(1)>",
    "\u202eright to left\u202c and \u2066back\u2069",
    "a NUL \0 and an escape \x1b[31m",
    "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301\u0302\u0303 مرحبا שלום",
    "&lt;b&gt; &amp; {{7*7}} ${x} javascript:alert(1)",
    "long " * 2_000,
]

TAGS = """html head meta title style body main header nav section article div span p a b i em small code pre bdi h1 h2
h3 dl dt dd ul li table thead tbody tr th td img svg path figure figcaption details summary"""
ATTRIBUTES = """charset http-equiv content name lang class style title dir id href aria-label aria-hidden role d viewbox
preserveaspectratio src alt loading decoding scope"""


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_somebody_wrote_can_act_in_the_page(tmp_path: Path, text: str):
    _built(tmp_path / "built", texts=[text])
    _samples(tmp_path / "built", [
        {"uid": text, "key": text, "text": text, "reason": "few_words", "thumbnail": b"<svg onload=x>"}
    ])  # fmt: skip
    raw = Path(report(str(tmp_path / "built"), out=str(tmp_path / "page.html"))).read_text(encoding="utf-8")
    read = Read(raw)
    assert not read.open
    assert read.tags <= set(TAGS.split())
    assert {name for name, _ in read.attributes} <= set(ATTRIBUTES.split())
    assert all(
        found.startswith(("data:image/png;base64,", "#")) for name, found in read.attributes if name in ("src", "href")
    )
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", raw)
    assert all(len(found) <= 1_000 for name, found in read.attributes if name == "title")


def test_a_text_is_shown_as_it_was_written_and_what_cannot_be_seen_by_its_code_point(tmp_path: Path):
    _built(tmp_path / "built", texts=['a <b> & "c"', "turn \u202e round \0"])
    words = _page(tmp_path / "built", tmp_path).words
    assert 'a <b> & "c"' in words
    assert "turn ⟨U+202E⟩ round ⟨U+0000⟩" in words


def test_a_long_text_is_shortened_and_more_of_it_is_a_tooltip(tmp_path: Path):
    text = " ".join(map(str, range(3_000)))
    _built(tmp_path / "built", texts=[text])
    read = _page(tmp_path / "built", tmp_path)
    assert text[:120] in " ".join(read.words)
    assert text not in " ".join(read.words)
    assert any(name == "title" and found == text[:999].rstrip() + "…" for name, found in read.attributes)


def test_the_page_asks_for_nothing_and_forbids_scripts(tmp_path: Path):
    _built(tmp_path / "built")
    path = report(str(tmp_path / "built"), out=str(tmp_path / "page.html"))
    raw = Path(path).read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', raw)
    assert policy is not None
    assert unescape(policy[1]).startswith("default-src 'none'; img-src data:;")
    assert not re.search(r"(?i)https?://|url\(|@import|<script|<link|<iframe|<object", raw)


ODD: list[dict[str, Any]] = [
    {"by": "text", "top_fraction": 10**400},
    {"by": "uid", "threshold": "high", "also": [{"by": 3}, 4], "quota": [1]},
    {"by": None, "drop": [{"reason": "x", "column": "width", "comparison": "below", "value": 10**400}]},
    {"drop": [{"reason": "x", "column": ["width"], "comparison": "above", "value": 3}, 3, None, {"reason": 4}]},
]


@pytest.mark.parametrize("rule", ODD)
def test_a_manifest_may_remember_anything_and_has_a_page(tmp_path: Path, rule: dict[str, Any]):
    made = _built(tmp_path / "built", kept=30)
    chosen = {"rule": rule, "cut": 10**400, "samples": "many", "phase": "phases/select-4567"}
    told = {**made.manifest.provenance, "selection": chosen, "made_with": 3}
    write_manifest(made.root, replace(made.manifest, provenance=told))
    assert "rows of the pool are kept" in " ".join(_page(made.root, tmp_path).words)


def test_what_is_no_dataset_is_refused(tmp_path: Path):
    with pytest.raises(FormatError):
        report(str(tmp_path))


def test_a_manifest_that_points_outside_of_the_dataset_is_not_followed(tmp_path: Path):
    made = _built(tmp_path / "built")
    write_dataset(tmp_path / "phases" / "elsewhere", [4], (), columns=_rows(4))
    for place in ("../phases/elsewhere", str(tmp_path / "phases" / "elsewhere"), "phases/../../phases/elsewhere"):
        told = {**made.manifest.provenance, "scores": place, "selection": {"phase": place}}
        write_manifest(made.root, replace(made.manifest, provenance=told))
        assert open_inputs(made.root).scores is None


def test_damaged_leftovers_are_left_out_and_the_page_says_so(tmp_path: Path):
    _built(tmp_path / "built")
    for name in ("samples.parquet", "audit.parquet", "selection.json"):
        _write(str(tmp_path / "built"), f"phases/select-4567/{name}", b"PAR1 and no more")
    next((tmp_path / "built/phases/score-0123/rows").glob("*.parquet")).write_bytes(b"no Parquet")
    words = " ".join(_page(tmp_path / "built", tmp_path).words)
    assert "which cannot be read" in words
    assert "No sample of the dropped rows was left by the build." in words


def test_a_damaged_dataset_is_an_error(tmp_path: Path):
    made = _built(tmp_path / "built")
    stored = made.shards[0].files["rows"]
    Path(made.root, stored.path).write_bytes(b"\0" * stored.size_bytes)
    with pytest.raises(FormatError):
        report(made.root, out=str(tmp_path / "page.html"))
