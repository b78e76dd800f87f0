"""The report page: its numbers are those of the dataset, nothing in it can act, and it is there in every odd case."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dfndr_builders.pools.glyphs import GlyphsPool
from dfndr_builders.report.charts import falls, histogram
from dfndr_builders.report.histograms import column_values, histograms
from dfndr_builders.report.inputs import Timing, open_inputs
from dfndr_builders.report.samples import choose, collect
from dfndr_builders.report.tallies import by_source, by_value, extremes, rows_at
from dfndr_builders.report.words import condition, share, value
from dfndr_builders.report.write import report
from dfndr_builders.rules import DropRule
from dfndr_builders.select import Rule, select
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.tiny import encoder_record, write_dataset

from dfndr import storage
from dfndr.dataset import Dataset, open_dataset
from dfndr.errors import FormatError
from dfndr.format.manifest import Counts, Step, write_manifest
from dfndr.format.shard import write_rows
from dfndr.images import decode, thumbnail
from dfndr.seeds import rng_for

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


class Read(HTMLParser):
    """What a browser would make of the page: its tags, attributes and words."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, found or "") for name, found in attrs]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "elements must nest"

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def _picture(tone: int, size: int = 24) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (size, size), (tone, 255 - tone, 90)).save(file, "PNG")
    return file.getvalue()


def _rows(count: int, *, first: int = 0, texts: Sequence[str] = ()) -> dict[str, list[Any]]:
    """Return the columns of scored rows: the score of row i is i / 100."""
    numbers = range(first, first + count)
    return {
        "uid": [f"{number:032x}" for number in numbers],
        "key": [f"key {number}" for number in numbers],
        "text": [texts[number % len(texts)] if texts else f"a text of row {number}" for number in numbers],
        "source": [("web", "photos", None)[number % 3] for number in numbers],
        "language": [("en", "vi")[number % 2] for number in numbers],
        "width": [100 + number for number in numbers],
        "height": [200] * count,
        "sha256": [f"{number:064x}" for number in numbers],
        "dfn": pa.array([number / 100 for number in numbers], pa.float32()),
    }


def _built(
    root: Path | str,
    *,
    scored: int = 40,
    kept: int = 10,
    texts: Sequence[str] = (),
    thumbnails: bool = True,
    captions: bool = True,
    phases: bool = True,
    rule: Mapping[str, object] | None = None,
) -> Dataset:
    """Write what a build leaves: the best `kept` of the scored rows, and the phases, where they are wanted."""
    root = str(root)
    columns: dict[str, Any] = _rows(kept, first=scored - kept, texts=texts)
    if thumbnails:
        columns["thumbnail"] = [{"bytes": _picture(number % 256), "path": None} for number in range(kept)]
    if captions:
        columns["caption_scores"] = pa.array([[0.25, 0.5]] * kept, pa.list_(pa.float32()))
    made = write_dataset(root, [kept] if kept else [], (), columns=columns)
    phase, selection = "phases/score-0123", "phases/select-4567"
    if phases:
        write_dataset(storage.join(root, phase), [scored - scored // 2, scored // 2], (), columns=_rows(scored))
        _write(root, f"{selection}/selection.json", json.dumps({"rule": {"by": "dfn", **(rule or {})}}).encode())
    lost = {"not_selected": scored - kept} if scored > kept else {}
    funnel = (Step("score", scored + 2, scored, failed={"text_empty": 2}), Step("select", scored, kept, dropped=lost))
    chosen = {"rule": {"by": "dfn", "count": kept}, "cut": (scored - kept) / 100 if kept else None, "samples": scored}
    provenance = {"scores": phase, "selection": {**chosen, "phase": selection}, "made_with": {"dfndr": "0.1.0"}}
    scorers = {"dfn": encoder_record("dfn")}
    write_manifest(root, replace(made.manifest, funnel=funnel, provenance=provenance, scorers=scorers))
    return open_dataset(root)


def _write(root: str, path: str, data: bytes) -> None:
    storage.put(root, path, data)


def _samples(root: Path | str, rows: Sequence[Mapping[str, object]]) -> None:
    kinds = {"thumbnail": pa.binary(), "selected_by": pa.float32(), "kept_uid": pa.string(), "reason": pa.string()}
    table = pa.table({
        name: pa.array([row.get(name) for row in rows], kinds.get(name, pa.string()))
        for name in ("uid", "key", "text", "reason", "kept_uid", "selected_by", "thumbnail")
    })  # fmt: skip
    write_rows(str(root), "phases/select-4567/samples.parquet", table)


def _page(dataset: str | Path, folder: Path) -> Read:
    path = report(str(dataset), out=str(folder / "page.html"))
    return Read(Path(path).read_text(encoding="utf-8"))


def test_the_page_says_what_the_funnel_says(tmp_path: Path):
    _built(tmp_path / "built")
    words = " ".join(_page(tmp_path / "built", tmp_path).words)
    for told in ("10 of 42 rows of the pool are kept", "23.8 %", "not_selected", "its score lies below the cut",
                 "text_empty", "the text is empty or blank", "the lowest score kept is 0.3000"):  # fmt: skip
        assert told.replace("10 of 42", "10  of 42") in words or told in re.sub(r"\s+", " ", words), told


def test_what_is_lost_in_the_waterfall_hangs_on_what_was_left():
    funnel = (
        Step("score", 100, 90, {}, {"text_empty": 7, "image_empty": 3}),
        Step("select", 90, 20, {"few_words": 10, "duplicate": 0, "not_selected": 60}),
        Step("build", 20, 19, {}, {"caption_failed": 1}),
    )
    lines = list(falls(funnel))
    assert [(kind, name, before - after) for kind, _, name, before, after in lines if kind != "total"] == [
        ("failed", "image_empty", 3),
        ("failed", "text_empty", 7),
        ("dropped", "few_words", 10),
        ("dropped", "not_selected", 60),
        ("failed", "caption_failed", 1),
    ]
    assert all(line[4] == after[3] for line, after in pairwise(lines))
    totals = [(line[2], line[4]) for line in lines if line[0] == "total"]
    assert totals == [("the pool", 100), ("after score", 90), ("after select", 20), ("the dataset", 19)]


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


@given(
    st.lists(st.floats(allow_nan=True, width=32), min_size=1, max_size=80),
    st.sampled_from([None, -1.0, 0.0, 0.1, 3.0, 1e9]),
    st.integers(0, 80),
)
def test_every_finite_value_is_in_one_bar_and_no_bar_holds_both_sides_of_the_mark(
    values: list[float], mark: float | None, kept: int
):
    everything = column_values(pa.chunked_array([pa.array(values, pa.float32())]))
    some = everything[:kept]
    marks = {} if mark is None else {"score": [mark]}
    found = histograms(lambda: [{"score": everything}], lambda: [{"score": some}], ["score"], marks=marks)
    if not len(everything):
        assert found == []
        return
    (one,) = found
    assert one.before is not None
    assert (one.before.sum(), one.after.sum()) == (len(everything), len(some))
    assert np.all(np.diff(one.edges) > 0)
    if one.marks:
        (place,) = np.flatnonzero(one.edges == mark)
        assert one.before[place:].sum() == (everything >= mark).sum()


def test_a_histogram_counts_what_numpy_counts_over_all_tables():
    drawn = rng_for(3, "scores").normal(0.2, 0.1, 5_000)
    kept = drawn[drawn >= 0.31]
    tables = [{"dfn": part} for part in np.array_split(drawn, 7)]
    (found,) = histograms(lambda: tables, lambda: [{"dfn": kept}], ["dfn"], marks={"dfn": [0.31]})
    cut = int(np.flatnonzero(found.edges == 0.31)[0])
    assert found.after[:cut].sum() == 0
    assert found.before is not None
    assert found.before[cut:].tolist() == found.after[cut:].tolist()
    assert len(found.edges) > 60
    inside = np.histogram(drawn, found.edges)[0]
    assert found.before[1:-1].tolist() == inside[1:-1].tolist()


def test_a_far_outlier_is_counted_at_the_end_and_does_not_flatten_the_rest():
    values = np.concatenate([rng_for(1, "x").normal(5, 1, 10_000), [1e6]])
    (found,) = histograms(None, lambda: [{"length": values}], ["length"])
    assert found.is_cut_off
    assert found.edges[-1] < 100
    assert found.after.sum() == len(values)
    assert (found.lowest, found.highest) == (values.min(), 1e6)


def test_a_limit_far_from_every_value_does_not_stretch_the_axis():
    values = np.arange(50.0)
    (found,) = histograms(None, lambda: [{"words": values}], ["words"], marks={"words": [1_000.0, 3.0]})
    assert (found.marks, found.edges[0], found.edges[-1]) == ((3.0,), -1.0, 51.0)


def test_kept_rows_that_are_too_few_to_see_are_drawn_higher_and_the_page_says_so(tmp_path: Path):
    everything, few = np.repeat(np.arange(10.0), 1_000), np.arange(10.0)
    (found,) = histograms(lambda: [{"dfn": everything}], lambda: [{"dfn": few}], ["dfn"])
    assert "kept 10, drawn 1,000 times as high" in histogram(found, title="dfn", limit="")


def test_a_value_that_every_row_has_is_said_and_not_drawn(tmp_path: Path):
    _built(tmp_path / "built")
    assert "5 in every row" in " ".join(_page(tmp_path / "built", tmp_path).words)  # words per text


def test_rows_are_counted_by_value_before_and_after(tmp_path: Path):
    made = _built(tmp_path / "built")
    scores = open_dataset(tmp_path / "built/phases/score-0123")
    for column in ("source", "language"):
        found = {group.name: (group.rows_in, group.rows_out) for group in by_value(scores, made, column)}
        before, after = (dataset.rows([column])[column].to_pylist() for dataset in (scores, made))
        assert found == {name: (before.count(name), after.count(name)) for name in set(before)}
        alone = {group.name: (group.rows_in, group.rows_out) for group in by_value(None, made, column)}
        assert alone == {name: (None, after.count(name)) for name in set(after)}


def test_what_a_source_lost_is_added_up_over_the_steps():
    funnel = (
        Step("score", 10, 8, {}, {"text_empty": 2}, {"a": Counts(6, 4, {}, {"text_empty": 2}), "": Counts(4, 4)}),
        Step("select", 8, 3, {"not_selected": 5}, {},
             {"a": Counts(4, 1, {"not_selected": 3}), "": Counts(4, 2, {"not_selected": 2})}),
    )  # fmt: skip
    found = [(group.name, group.rows_in, group.rows_out, dict(group.lost)) for group in by_source(funnel)]
    assert found == [("a", 6, 1, {"not_selected": 3, "text_empty": 2}), ("", 4, 2, {"not_selected": 2})]
    assert by_source((Step("score", 3, 3),)) == []


def test_the_best_and_the_lowest_kept_rows_are_those_of_a_full_sort(tmp_path: Path):
    drawn = rng_for(9, "scores").permutation(60).astype(np.float32)
    made = write_dataset(tmp_path, [7, 30, 23], (), columns={"dfn": drawn})
    found = extremes(made, "dfn", count=5, seed="x")
    scores = {place: row["dfn"] for place, row in rows_at(made, [*found.best, *found.lowest, *found.others]).items()}
    assert [scores[place] for place in found.best] == [59, 58, 57, 56, 55]
    assert [scores[place] for place in found.lowest] == [4, 3, 2, 1, 0]
    assert len(scores) == 15
    assert extremes(made, "dfn", count=5, seed="x") == found


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


def _dropped(folder: Path, rows: Sequence[tuple[int, int, str, float | None, str]]) -> None:
    schema = pa.schema(
        [
            ("shard", pa.int32()),
            ("row", pa.int32()),
            ("uid", pa.string()),
            ("score", pa.float32()),
            ("reason", pa.string()),
        ]
    )
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema),
                   folder / "dropped_samples.parquet")  # fmt: skip


def test_rows_to_show_are_the_nearest_to_the_cut_the_lowest_and_a_few_of_each_reason(tmp_path: Path):
    rows = [(0, number, f"{number:032x}", number / 100, "not_selected") for number in range(60)]
    rows += [(1, number, f"{number + 60:032x}", None, "few_words") for number in range(16)]
    for name, given_rows in (("one", rows), ("other", rows[::-1])):
        _dropped(tmp_path / name, given_rows)
    chosen = choose(str(tmp_path / "one"))
    assert chosen.equals(choose(str(tmp_path / "other")))
    below = [row["row"] for row in chosen.to_pylist() if row["reason"] == "not_selected"]
    assert below == [*range(8), *range(44, 60)]
    assert chosen["reason"].to_pylist().count("few_words") == 8
    assert choose(str(tmp_path / "nothing")).num_rows == 0


def test_rows_to_show_are_from_few_shards_and_every_reason_has_some(tmp_path: Path):
    rows = [(number, 0, f"{number:032x}", 0.1, "not_selected") for number in range(500)]
    rows += [(number, 1, f"{number + 500:032x}", None, f"rule_{number % 4}") for number in range(0, 500, 25)]
    _dropped(tmp_path, rows)
    chosen = choose(str(tmp_path), shards=10)
    assert len(set(chosen["shard"].to_pylist())) <= 10
    assert set(chosen["reason"].to_pylist()) == {"not_selected", "rule_0", "rule_1", "rule_2", "rule_3"}


def test_what_a_selection_leaves_is_what_the_page_shows(tmp_path: Path):
    table = _rows(100)
    table["same"] = pa.array([7 if row in (90, 95) else None for row in range(100)], pa.int64())
    scores = write_dataset(tmp_path / "scores", [60, 40], (), columns=table)
    rule = DropRule("narrow_image", "width", "below", 110)
    told = Rule("dfn", count=30, drop=(rule,), groups=(("same_image", "same"),))
    selection = select(scores, told, str(tmp_path / "select"))
    chosen = choose(str(tmp_path / "select")).to_pylist()
    by_reason: dict[str | None, list[int]] = {}
    for row in chosen:
        by_reason.setdefault(row["reason"], []).append(60 * row["shard"] + row["row"])
    assert by_reason.keys() - {None} == {reason for reason, count in selection.step.dropped.items() if count}
    assert by_reason["same_image"] == [90]
    assert by_reason[None] == [95]
    assert set(by_reason["narrow_image"]) <= set(range(10))
    assert by_reason["not_selected"] == [*range(10, 18), *range(53, 69)]


def test_a_removed_duplicate_brings_the_row_that_it_gave_way_to(tmp_path: Path):
    _dropped(tmp_path, [(2, 5, "a" * 32, 0.1, "same_image")])
    audit = {"uid": ["b" * 32, "a" * 32], "reason": ["same_image"] * 2, "kept_uid": ["c" * 32, "d" * 32]}
    pq.write_table(pa.table({**audit, "kept_shard": [0, 4], "kept_row": [1, 6]}), tmp_path / "audit.parquet")
    found = [
        (row["shard"], row["row"], row["uid"], row["reason"], row["kept_uid"])
        for row in choose(str(tmp_path)).to_pylist()
    ]
    assert found == [(2, 5, "a" * 32, "same_image", "d" * 32), (4, 6, "d" * 32, None, None)]


def test_collected_rows_have_the_pictures_that_the_pool_has(tmp_path: Path):
    import hashlib

    pool = GlyphsPool(size=48, seed=0, count=60)
    table = pa.concat_tables(pool.read(pool.shards()[0]))
    hashes = [hashlib.sha256(image).hexdigest() for image in table["image"].to_pylist()]
    hashes[3] = "0" * 64  # the pool holds another picture now
    columns = {"uid": table["uid"], "key": table["key"], "text": table["text"], "sha256": hashes}
    scores = write_dataset(tmp_path / "scores", [len(table)], (), columns=columns)
    uids = table["uid"].to_pylist()
    _dropped(tmp_path / "select", [(0, row, uids[row], None, "few_words") for row in (3, 7, 50)])
    collect(pool, scores, choose(str(tmp_path / "select")), str(tmp_path / "select"))
    found = pq.read_table(tmp_path / "select" / "samples.parquet").to_pylist()
    assert [(row["uid"], row["reason"]) for row in found] == [(uids[row], "few_words") for row in (3, 7, 50)]
    small = [thumbnail(decode(table["image"][row].as_py()), 128) for row in (7, 50)]
    assert [row["thumbnail"] for row in found] == [None, *small]
    before = (tmp_path / "select" / "samples.parquet").stat().st_mtime_ns
    collect(pool, scores, choose(str(tmp_path / "select")), str(tmp_path / "select"))
    assert (tmp_path / "select" / "samples.parquet").stat().st_mtime_ns == before


def test_a_share_never_looks_like_none_or_all_where_it_is_not():
    given = [(0, 5), (1, 10_000), (1, 3), (9_999, 10_000), (5, 5), (0, 0)]
    assert [share(*one) for one in given] == ["0 %", "<0.1 %", "33.3 %", ">99.9 %", "100 %", "–"]  # noqa: RUF001


def test_values_and_conditions_are_said_in_few_digits():
    assert [value(one) for one in (0.123456, 3.0, 1234567, 0.00001234, True, None, "x")] == [
        "0.1235", "3", "1,234,567", "1.234e-05", "yes", "none", "x"
    ]  # fmt: skip
    rules = [("below", 3), ("one_of", ["gif", "bmp"]), ("lowest", 0.1), ("is", True), ("like", 1)]
    assert [condition({"column": "c", "comparison": how, "value": given}) for how, given in rules] == [
        "c is below 3", "c is one of gif, bmp", "among the lowest 10 % by c", "c is yes", None
    ]  # fmt: skip


def test_equal_inputs_give_equal_pages(tmp_path: Path):
    _built(tmp_path / "built")
    pages = [
        Path(report(str(tmp_path / "built"), out=str(tmp_path / name))).read_bytes() for name in ("1.html", "2.html")
    ]
    assert pages[0] == pages[1]
