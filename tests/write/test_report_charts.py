"""The charts, counts and words of the report: histograms, rows by value and source, extremes, shares."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from dfndr_builders.report.charts import falls, histogram
from dfndr_builders.report.histograms import column_values, histograms
from dfndr_builders.report.tallies import by_source, by_value, extremes, rows_at
from dfndr_builders.report.words import condition, share, value
from hypothesis import given
from hypothesis import strategies as st
from support.reported import built as _built
from support.reported import page as _page
from support.tiny import write_dataset

from dfndr.dataset import open_dataset
from dfndr.format.manifest import Counts, Step
from dfndr.seeds import rng_for


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


def test_bars_by_powers_reach_over_eight_of_ten_and_their_labels_do_not_run_into_each_other():
    values = 10.0 ** rng_for(0, "tiny chances").uniform(-27, 0, 3000)
    (found,) = histograms(None, lambda: [{"quality": values}], ["quality"])
    assert found.is_log and found.is_cut_off and found.edges[0] >= 0.9e-8
    assert found.after.sum() == 3000 and found.after[0] > 1900, "what is smaller is counted in the first bar"
    drawn = str(histogram(found, title="quality", limit="cut"))
    assert 3 <= len(re.findall('class="tick[ "]', drawn)) <= 6


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


def test_numbers_at_the_ends_of_an_axis_do_not_reach_beyond_it():
    (found,) = histograms(None, lambda: [{"words": np.arange(1_001.0)}], ["words"])
    drawn = str(histogram(found, title="words", limit="cut"))
    ticks = re.findall(r'style="left:([\d.]+)%" class="(tick[ a-z]*)">([\d,]+)<', drawn)
    assert [kind for place, kind, _ in ticks if 2 <= float(place) <= 95] == ["tick"] * (len(ticks) - 2)
    assert (ticks[0][1:], ticks[-1][1:]) == (("tick first", "0"), ("tick last", "1,000"))
