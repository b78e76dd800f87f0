"""Recipes, lists and folders made to break curation: each is refused in words that help, or counted, never lost."""

import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dfndr_builders.build import build
from dfndr_builders.derived import read_derived
from dfndr_builders.recipe import Recipe
from dfndr_builders.recipe_file import parse_recipe
from dfndr_builders.report.write import report
from dfndr_builders.rules import DropRule
from dfndr_builders.select import Fusion, Quota, Rule, read_selection, select
from dfndr_builders.trial import Changes, try_selection
from support.builds import RECIPE, write_recipe
from support.pools import picture
from support.tiny import write_dataset

from dfndr.dataset import Dataset, open_dataset
from dfndr.errors import DataError, PoolError, RecipeError, UsageError
from dfndr.format.schema import DROPPED, FAILED
from dfndr.progress import Silent

BASE = """
name = "attacked"
license = "mit"
select = { by = "dfn", top_fraction = 0.5 }
pool = [{ kind = "glyphs", keep = ["face"] }]

[[score]]
name = "dfn"
model = "ViT-B-32"
pretrained = "random:0"
vectors = ["image"]
"""
MADE = ["contaminated", "contaminated_by", "near_duplicate_group", "same_image_group", "semantic_duplicate_group"]


def recipe(more: str, base: str = BASE) -> Recipe:
    return parse_recipe(base + more, "recipe.toml")


def fusion(how: str, of: str, name: str = "mix") -> str:
    return f'[[score]]\nname = "{name}"\nkind = "fusion"\nhow = "{how}"\nof = {{ {of} }}\n'


@pytest.mark.parametrize("reason", [*DROPPED, *FAILED])
def test_a_rule_may_not_be_called_what_the_funnel_counts_other_rows_under(reason: str):
    with pytest.raises(RecipeError, match=rf"rule\[0\].reason: expected a name of its own: '{reason}' is what"):
        recipe(f'[[rule]]\nreason = "{reason}"\ncolumn = "dfn"\nlowest = 0.1\n')


def test_two_rules_may_share_a_reason():
    rule = '[[rule]]\nreason = "odd"\ncolumn = "dfn"\n{} = 0.1\n'
    drops = recipe(rule.format("lowest") + rule.format("highest")).drop_rules
    assert [(drop.reason, drop.comparison) for drop in drops] == [("odd", "lowest"), ("odd", "highest")]


@pytest.mark.parametrize("name", MADE)
def test_no_score_and_no_kept_column_may_be_called_what_curation_makes_beside_them(name: str):
    says = re.escape(f"another name: '{name}' is a column of duplicates or of contamination")
    with pytest.raises(RecipeError, match=rf"score\[1\].*{says}"):
        recipe(f'[[score]]\nname = "{name}"\nkind = "random"\n')
    with pytest.raises(RecipeError, match=rf"pool\[0\].*{says}"):
        recipe("", BASE.replace("face", name))


def test_no_kept_column_may_be_called_what_a_space_is():
    with pytest.raises(RecipeError, match="'text/dfn' is what a space of vectors is called"):
        recipe("", BASE.replace("face", "text/dfn"))


@pytest.mark.parametrize(
    ("how", "of", "says"),
    [
        ("z", "dfn = 0.0", "none below 0 and one above is, and not [0.0]"),
        ("rank", "dfn = -1.0", "none below 0 and one above is, and not [-1.0]"),
        ("rank", "dfn = 2.0, luck = -1.0", "none below 0 and one above is, and not [2.0, -1.0]"),
        ("weighted", "dfn = 0.0", "one other than 0 is, and not [0.0]"),
        ("weighted", "dfn = 1e300", "less than 1000000000"),
        ("weighted", "dfn = nan", "finite number"),
    ],
)
def test_weights_that_make_no_score_are_refused_before_anything_is_scored(how: str, of: str, says: str):
    luck = '[[score]]\nname = "luck"\nkind = "random"\n'
    with pytest.raises(RecipeError, match=re.escape(says)):
        recipe(luck + fusion(how, of))


def test_a_weighted_fusion_may_take_a_score_off():
    assert recipe(fusion("weighted", "dfn = -1.0")).selection().fusions[0].of == (("dfn", -1.0),)


@pytest.mark.parametrize("name", ["row", "score", "shard"])
def test_a_fusion_may_not_be_called_what_a_selection_calls_its_own_columns(name: str):
    with pytest.raises(RecipeError, match=re.escape(f"a selection has a column {name!r} of its own")):
        recipe(fusion("z", "dfn = 1.0", name))


def scored(root: Path, **columns: pa.Array) -> Dataset:
    """Six rows of scores 0.0 to 0.5, with more columns."""
    uids, scores = [f"{number:032x}" for number in range(6)], pa.array([row / 10 for row in range(6)], pa.float32())
    return write_dataset(root, [4, 2], (), columns={"uid": uids, "dfn": scores, **columns})


def kept(root: Path) -> list[str]:
    return pq.read_table(root / "train.parquet")["uid"].to_pylist()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (pa.array([3, 3, 3, 7, 7, 7], pa.int32()), "7"),
        (pa.array([False, False, False, True, True, True]), "true"),
        (pa.array(["a", "a", None, "b", "b", "b"]), "b"),
    ],
)
def test_a_share_of_a_column_of_numbers_is_of_the_value_that_the_recipe_spells(
    tmp_path: Path, values: pa.Array, named: str
):
    rule = Rule("dfn", count=6, quota=Quota("z", shares=((named, 0.4),)))
    select(scored(tmp_path / "s", z=values), rule, str(tmp_path / "out"))
    assert kept(tmp_path / "out") == [f"{number:032x}" for number in (4, 5)]  # floor(0.4 * 6) best of the named


def test_a_null_is_no_value_that_a_share_can_name(tmp_path: Path):
    rule = Rule("dfn", count=6, quota=Quota("z", shares=(("None", 0.5), ("", 0.5))))
    assert select(scored(tmp_path / "s", z=pa.nulls(6, pa.string())), rule, str(tmp_path / "out")).step.rows_out == 0


def test_more_rules_than_can_be_told_apart_are_refused_and_as_many_as_can_are_not(tmp_path: Path):
    drops = tuple(DropRule(f"rule_{number}", "dfn", "below", number / 1000) for number in range(300))
    dataset = scored(tmp_path / "s")
    with pytest.raises(RecipeError, match="at most 240 rules and kinds of duplicates, found 300"):
        select(dataset, Rule("dfn", count=6, drop=drops), str(tmp_path / "out"))
    step = select(dataset, Rule("dfn", count=6, drop=drops[:240]), str(tmp_path / "out")).step
    lost = {reason: rows for reason, rows in step.dropped.items() if rows}
    assert (lost, step.rows_out) == ({"rule_1": 1, "rule_101": 1, "rule_201": 1}, 3)


def test_a_score_too_large_for_a_float_is_not_called_a_full_disk(tmp_path: Path):
    rule = Rule("mix", count=3, fusions=(Fusion("mix", "weighted", (("dfn", 1e300),)),))
    with pytest.raises(DataError, match=r"expected scores that can be read and compared, found .*out of range"):
        select(scored(tmp_path / "s"), rule, str(tmp_path / "out"))


class Told(Silent):
    """Remembers what a build says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_listed_uids_that_no_row_has_are_told_of(tmp_path: Path):
    text = RECIPE.split("[[caption]]")[0].replace("count = 2_500", "count = 40") + 'include = "wanted.txt"\n'
    (tmp_path / "wanted.txt").write_text("ab" * 16 + "\n" + "cd" * 16 + "\n")
    told = Told()
    manifest = build(write_recipe(tmp_path, text=text), tmp_path / "out", device="cpu", progress=told)
    assert "include: 2 uids of the list are not among the scored rows" in told.lines
    assert manifest.funnel[-1].rows_out == 8


def test_an_evaluation_set_of_blank_pictures_keeps_nothing_out_and_is_refused(tmp_path: Path):
    (tmp_path / "blank").mkdir()
    (tmp_path / "blank" / "a.png").write_bytes(picture("white", size=(32, 32)))
    (tmp_path / "blank" / "a.txt").write_text("a white square")
    more = '\n[[measure]]\nkind = "image"\n\n[[decontaminate]]\nkind = "near"\n'
    more += '\n[[decontaminate.pool]]\nkind = "folder"\npath = "blank"\n'
    text = RECIPE.split("[[caption]]")[0].replace("count = 2_500", "count = 40") + more
    with pytest.raises(PoolError, match="decontaminate: expected evaluation images, found none that can be used"):
        build(write_recipe(tmp_path, text=text), tmp_path / "out", device="cpu")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    more = '\n[[measure]]\nkind = "image"\n\n[[duplicates]]\nkind = "near"\nradius = 8\n'
    text = RECIPE.split("[[caption]]")[0].replace("count = 2_500", "count = 60") + more
    build(write_recipe(folder, text=text), folder / "out", device="cpu")
    return folder


def garbled(built: Path, folder: Path, pattern: str) -> Path:
    """Copy the build, and put as many other bytes in the place of a file's own."""
    shutil.copytree(built / "out", folder / "out")
    (path,) = (folder / "out" / "phases").glob(pattern)
    path.write_bytes(b"x" * path.stat().st_size)
    return path


@pytest.mark.parametrize("pattern", ["select-*/audit.parquet", "select-*/dropped_samples.parquet", "score-*/rows/*"])
def test_a_phase_that_was_garbled_in_place_is_named_and_nothing_is_made_of_it(
    built: Path, tmp_path: Path, pattern: str
):
    path = garbled(built, tmp_path, pattern)
    with pytest.raises(DataError, match=f"{path.name}: expected a whole Parquet file"):
        build(built / "recipe.toml", tmp_path / "out", device="cpu")


@pytest.mark.parametrize("pattern", ["duplicates-*/00000.parquet", "select-*/train.parquet", "score-*/rows/*"])
def test_nothing_is_tried_on_a_phase_that_was_garbled_in_place(built: Path, tmp_path: Path, pattern: str):
    path = garbled(built, tmp_path, pattern)
    with pytest.raises(DataError, match=f"{path.name}: expected a whole Parquet file"):
        try_selection(tmp_path / "out", Changes(count=5))


def test_pictures_for_the_report_that_were_cut_short_are_read_again(built: Path, tmp_path: Path):
    path = garbled(built, tmp_path, "select-*/samples.parquet")
    build(built / "recipe.toml", tmp_path / "out", device="cpu")
    (whole,) = (built / "out" / "phases").glob("select-*/samples.parquet")
    assert path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("before", "after"),
    [('"cut": ', '"cut": NaN, "was": '), ('"samples": ', '"samples": "a", "was": '), ('"train": ', '"test": ')],
)
def test_a_record_of_a_selection_that_says_nonsense_is_no_record(built: Path, tmp_path: Path, before: str, after: str):
    (record,) = (built / "out" / "phases").glob("select-*/selection.json")
    shutil.copytree(record.parent, tmp_path / "s")
    assert read_selection(str(tmp_path / "s")) is not None
    (tmp_path / "s" / "selection.json").write_text(record.read_text().replace(before, after))
    assert read_selection(str(tmp_path / "s")) is None


def test_a_record_of_columns_that_leads_out_of_its_folder_is_no_record(tmp_path: Path):
    (tmp_path / "columns").mkdir()
    (tmp_path / "00000.parquet").write_bytes(b"1234")
    (tmp_path / "columns" / "columns.json").write_text('{"../00000.parquet": 4}')
    assert read_derived(str(tmp_path / "columns")) is None


@pytest.mark.parametrize(
    "changes",
    [
        Changes(threshold=float("nan")),
        Changes(threshold=float("-inf")),
        Changes(by=""),
        Changes(rules=("dfn below nan",)),
        Changes(rules=("dfn below 1e400",)),
        Changes(rules=("dfn below 3; DROP TABLE scores",)),
        Changes(rules=('fa"ce is x',)),
    ],
)
def test_a_limit_that_is_no_number_and_a_rule_that_is_no_rule_are_not_tried(built: Path, changes: Changes):
    with pytest.raises(UsageError):
        try_selection(built / "out", changes)


def test_a_value_that_looks_like_sql_is_a_value(built: Path):
    tried = try_selection(built / "out", Changes(rules=("text is x'); DROP TABLE scores;--",)))
    assert tried.after.dropped["text_is"] == 0
    assert tried.after.rows_out == tried.before.rows_out


@pytest.mark.parametrize("out", ["", "manifest.json", "README.md", "folder/"])
def test_a_report_never_takes_the_place_of_what_is_no_page(built: Path, tmp_path: Path, out: str):
    shutil.copytree(built / "out", tmp_path / "out")
    with pytest.raises(UsageError, match=r"expected a file whose name ends in \.html"):
        report(str(tmp_path / "out"), out=out and f"{tmp_path}/out/{out}")
    assert open_dataset(tmp_path / "out").digest == open_dataset(built / "out").digest
