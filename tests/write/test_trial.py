import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from dfndr_builders.build import build
from dfndr_builders.trial import Changes, try_selection
from support.builds import write_recipe
from support.verbs import run

from dfndr.dataset import open_dataset
from dfndr.errors import RecipeError, UsageError

RULES = """
[[measure]]
kind = "text"

[[rule]]
use = "few_words"
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trial")
    recipe = write_recipe(folder, count="400", rows_per_shard="60")
    recipe.write_text(recipe.read_text() + RULES)
    build(recipe, folder / "out", device="cpu")
    return folder


def _scored(folder: Path):
    dataset = open_dataset(folder / "out")
    return open_dataset(f"{dataset.root}/{dataset.manifest.provenance['scores']}").rows().to_pylist()


def test_nothing_changes_where_nothing_is_changed(built):
    tried = try_selection(built / "out", Changes())
    assert tried.before == tried.after and tried.cuts[0] == tried.cuts[1]
    assert tried.both == len(open_dataset(built / "out")) and not tried.added and not tried.removed
    assert set(tried.uids.to_pylist()) == set(open_dataset(built / "out").rows(["uid"])["uid"].to_pylist())


def test_another_fraction_keeps_just_those_that_a_sort_by_hand_keeps(built):
    rows = {row["uid"]: row for row in _scored(built) if row["words"] >= 3}
    best = sorted(rows.values(), key=lambda row: (-row["dfn"], row["uid"]))[: int(len(rows) * 0.4)]
    tried = try_selection(built / "out", Changes(top_fraction=0.4))
    assert set(tried.uids.to_pylist()) == {row["uid"] for row in best}
    assert tried.samples[1] == len(rows)
    assert tried.after.rows_out - tried.both == len(best) - len(open_dataset(built / "out")) > 0
    assert set(tried.added) <= {" ".join(row["text"].split()) for row in best} and len(tried.added) == 8


def test_a_rule_may_be_left_out_or_added_by_name_or_in_words(built):
    few = sum(row["words"] < 3 for row in _scored(built))
    assert dict(try_selection(built / "out", Changes()).after.dropped)["few_words"] == few
    assert "few_words" not in try_selection(built / "out", Changes(without=("few_words",))).after.dropped
    tried = try_selection(built / "out", Changes(rules=("words above 4", "digits")))
    assert dict(tried.after.dropped)["words_above"] == sum(row["words"] > 4 for row in _scored(built))
    assert "digits" in tried.after.dropped


def test_another_recipe_may_be_tried_on_the_scores_that_are_there(built):
    other = built / "other.toml"
    other.write_text((built / "recipe.toml").read_text().replace("top_fraction = 0.2", "count = 7"))
    assert try_selection(built / "out", Changes(), recipe=other).after.rows_out == 7


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (Changes(without=("tidy",)), "--without: expected one of the recipe's rules: few_words, found tidy"),
        (Changes(rules=("wordy",)), "--rule: expected a default rule, or a column"),
        (Changes(rules=("words below many",)), "expected a number after below, found 'many'"),
        (Changes(rules=("words under 3",)), "Compare by below, above, is,"),
        (Changes(top_fraction=0.1, count=3), "expected one of --top-fraction, --threshold and --count, found more"),
        (Changes(top_fraction=0.0), "--top-fraction: expected more than 0 and at most 1, found 0.0"),
        (Changes(by="words"), "--by: expected one of the recipe's scores: dfn, found words"),
    ],
)
def test_what_cannot_be_tried_is_refused(built, changes, says):
    with pytest.raises(UsageError) as caught:
        try_selection(built / "out", changes)
    assert says in str(caught.value)


def test_a_column_that_nothing_made_is_refused(built):
    with pytest.raises(RecipeError, match="beauty"):
        try_selection(built / "out", Changes(rules=("beauty below 3",)))


def test_a_condition_may_say_equals_as_a_recipe_does(built):
    said, meant = (try_selection(built / "out", Changes(rules=(f"source {one} glyphs",))) for one in ("equals", "is"))
    assert said.after == meant.after and "source_is" in said.after.dropped


def test_what_changes_stands_beside_what_is(built):
    tried = try_selection(built / "out", Changes(rules=("words above 4",), without=("few_words",)))
    rows = [re.split(r"\s{2,}", line.strip()) for line in str(tried).splitlines()]
    lines = {row[0]: row[1:] for row in rows}
    few = tried.before.dropped["few_words"]
    many = tried.after.dropped["words_above"]
    assert lines["dropped: few_words"] == [f"{few}", "0", f"-{few}"]
    assert lines["dropped: words_above"] == ["0", f"{many}", f"+{many}"]
    assert lines["rows in"] == ["400", "400"]
    kept = len(open_dataset(built / "out"))
    assert lines["kept"] == [f"{kept}", f"{tried.after.rows_out}", f"{tried.after.rows_out - kept:+}"]


def test_no_text_of_the_pool_reaches_the_terminal_as_a_command_to_it(built):
    tried = replace(try_selection(built / "out", Changes()), added=("red \x1b[31mshoes\x07 \u202eelas",))
    assert str(tried).splitlines()[-1] == "  red  [31mshoes   elas"


def test_a_dataset_without_its_phases_says_what_to_do(built, tmp_path):
    shutil.copytree(built / "out", tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "phases")
    with pytest.raises(UsageError, match="Run the build again"):
        try_selection(tmp_path / "out", Changes())


def test_the_verb_shows_what_would_change_and_writes_nothing(built):
    before = {path: path.stat().st_mtime_ns for path in built.rglob("*")}
    shown = run(["select", str(built / "out"), "--count", "5", "--dry-run"])
    assert shown.exit_code == 0 and "some that would go" in shown.output
    told = json.loads(run(["select", str(built / "out"), "--count", "5", "--dry-run", "--json"]).output)
    assert told["after"]["rows_out"] == 5 == told["kept_by_both"] + told["added"]
    assert {path: path.stat().st_mtime_ns for path in built.rglob("*")} == before


def test_the_verb_writes_the_uids_that_are_kept(built, tmp_path):
    out = tmp_path / "uids.txt"
    told = run(["select", str(built / "out"), "--count", "5", "--out", str(out)])
    assert told.exit_code == 0 and f"{out}: the uids of 5 rows" in told.stderr
    assert len(out.read_text().split()) == 5
    for words in ([], ["--dry-run", "--out", str(tmp_path / "other.txt")]):
        refused = run(["select", str(built / "out"), "--count", "5", *words])
        assert isinstance(refused.exception, UsageError)
    assert not (tmp_path / "other.txt").exists()
