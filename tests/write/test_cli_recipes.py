"""What the command line says of a recipe: what it would do, or why it cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import command_line
from support.command_line import RECIPE

run, recipe = command_line.run, command_line.recipe


def test_plan_says_what_a_build_would_do_and_writes_nothing(run, recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "planned"
    folder.mkdir()
    text = RECIPE.replace('model = "tiny.json"\npretrained = "random:1"', 'pretrained = "hf-hub:someone/model"')
    text = text.replace('kind = "glyphs"\ncount = 60', 'kind = "webdataset"\npath = "later/*.tar"')
    (folder / "recipe.toml").write_text(text.replace("random:0", "weights/dfn.pt"))
    said, as_json = run("plan", folder / "recipe.toml"), run("plan", folder / "recipe.toml", "--json")
    assert (said.status, said.err, as_json.status, as_json.err) == (0, "", 0, "")
    given = json.loads(as_json.out)
    assert given["network"] == ["hf-hub:someone/model"], "a file of weights needs no network"
    assert "not there yet" in given["pools"][0]
    assert given["phases"][0].startswith("score by dfn")
    assert [path.name for path in folder.iterdir()] == ["recipe.toml"]
    assert all(line in said.out for line in given["phases"])


CURATED = """
[[measure]]
kind = "image"

[[measure]]
kind = "text"

[[rule]]
use = "text"
leave_out = ["few_words"]

[[rule]]
use = "few_words"
below = 5

[[rule]]
reason = "other_source"
column = "source"
not_one_of = ["glyphs", "web"]

[[duplicates]]
kind = "near"

[[duplicates]]
kind = "same_image"

[[score]]
name = "quality"
kind = "text-quality"
weights = "my-classifier"
"""


def test_plan_says_in_short_lines_what_drops_rows_and_in_which_order(run, recipe: Path) -> None:
    curated = recipe.parent / "curated.toml"
    curated.write_text(recipe.read_text() + CURATED)
    given = json.loads(run("plan", curated, "--json").out)
    phases = given["phases"]
    assert "quality: text quality, my-classifier" in given["models"]
    (rules,) = (phase for phase in phases if phase.startswith("drop by rule"))
    assert rules.startswith("drop by rule: file_name, boilerplate,")
    assert rules.endswith(", few_words (words below 5), other_source (source not one of glyphs, web)")
    assert phases[phases.index(rules) + 1 :][:2] == ["drop duplicates: same_image", "drop duplicates: near"]
    shown = run("plan", curated).out
    assert max(map(len, shown.splitlines())) <= 110
    assert " ".join(rules.split()) in " ".join(shown.split())


@pytest.mark.parametrize("verb", ["plan", "build"])
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("top_fraction", "top_fractoin", "Did you mean 'top_fraction'?"),
        ("top_fraction = 0.5", 'top_fraction = "half"', "expected a valid number, found 'half'"),
        ("top_fraction = 0.5", "top_fraction = 1.5", "less than or equal to 1, found 1.5"),
        ("[select]", "[select", "Mend that line"),
        ("count = 60", "count = -1", "greater than 0"),
    ],
)
def test_a_wrong_recipe_is_a_wrong_command(run, tmp_path: Path, verb: str, old: str, new: str, said: str) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE.replace(old, new))
    got = run(verb, tmp_path / "recipe.toml", *(["--out", tmp_path / "out"] if verb == "build" else []))
    assert got.status == 2 and said in got.err
    assert len(got.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
