"""The model that a selection induces: what it learns from, for how long, and what of it is not there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from dfndr_builders.build import build
from dfndr_builders.clip.train import training_digest
from dfndr_builders.induced import kept_uids, open_induced
from dfndr_builders.plan import plan
from dfndr_builders.pools.kept import ABSENT
from dfndr_builders.recipe_file import parse_recipe, read_recipe
from dfndr_builders.uid_lists import write_uids
from support.pools import rows_of
from support.training import MODEL
from support.verbs import run

from dfndr.dataset import open_dataset
from dfndr.errors import DataError, RecipeError, UsageError
from dfndr.format.uid import pack_uids

RECIPE = f"""
name = "small"
license = "mit"
pool = [{{ kind = "glyphs", count = 300 }}]
score = [{{ name = "luck", kind = "random" }}]
select = {{ by = "luck", top_fraction = 0.4 }}
output = {{ validation = 0.2, thumbnail = 0 }}
compute = {{ threads = 1 }}

[clip]
samples_seen = 150
batch_size = 40
learning_rate = 1e-3
warmup_steps = 1
workers = 0
model = {json.dumps(MODEL).replace(":", " =")}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe, and the dataset that it builds."""
    folder = tmp_path_factory.mktemp("induced")
    (folder / "recipe.toml").write_text(RECIPE)
    build(folder / "recipe.toml", folder / "set", device="cpu")
    return folder


def _uids(folder: Path) -> list[str]:
    found: list[str] = open_dataset(folder / "set").rows(["uid"])["uid"].to_pylist()
    return sorted(found)


def test_a_dataset_its_selection_and_a_list_name_the_same_uids(folder):
    packed = pack_uids(_uids(folder), "test")
    assert len(packed) == 120
    (selection,) = (folder / "set" / "phases").glob("select-*")
    for ending in ("txt", "parquet", "npy"):
        write_uids(str(folder / f"list.{ending}"), packed)
    for place in (folder / "set", selection, *folder.glob("list.*")):
        found = kept_uids(str(place))
        np.testing.assert_array_equal(found[np.lexsort(found.T[::-1])], packed)
    assert len(kept_uids(str(next((folder / "set" / "phases").glob("score-*"))))) == 300, "a table of scores holds all"


def test_what_is_no_selection_is_refused(folder):
    with pytest.raises(UsageError, match="a dataset or a selection, found a folder without either"):
        kept_uids(str(folder))
    (folder / "wrong.txt").write_text("no uid\n")
    with pytest.raises(DataError, match=r"wrong\.txt, line 1"):
        kept_uids(str(folder / "wrong.txt"))


def test_the_rows_trained_on_are_those_kept_and_name_the_training(folder):
    recipe = read_recipe(folder / "recipe.toml")[0]
    spec, everything = open_induced(recipe, folder, "cpu")
    again, pool = open_induced(recipe, folder, "cpu", kept=str(folder / "set"))
    assert sorted(row["uid"] for row in rows_of(pool)) == _uids(folder)
    assert spec == again and spec.samples_seen == 150
    assert len({training_digest(spec, given) for given in (everything, pool)}) == 2


def test_train_clip_sees_as_many_samples_whatever_was_kept_and_counts_uids_that_are_absent(folder):
    (folder / "list.txt").write_text("\n".join([*_uids(folder)[:50], "0" * 32, "f" * 32]))
    words = ["train-clip", str(folder / "recipe.toml"), "--device", "cpu", "--json"]
    whole = json.loads(run([*words, "--out", str(folder / "whole")]).stdout)
    part = json.loads(run([*words, "--out", str(folder / "part"), "--kept", str(folder / "list.txt")]).stdout)
    assert (whole["samples"], whole["problems"]) == (300, {})
    assert (part["samples"], part["problems"]) == (50, {ABSENT: 2})
    assert whole["samples_seen"] == part["samples_seen"] == 160, "150, in whole batches"
    assert whole["weights_sha256"] != part["weights_sha256"]
    assert json.loads((folder / "part" / "training.json").read_bytes())["data"]["problems"] == {ABSENT: 2}
    said = run([*words[:-1], "--out", str(folder / "part"), "--kept", str(folder / "list.txt")])
    assert f"trained on 50 pairs, 160 seen; left out: 2 {ABSENT}" in said.stdout, "a finished training is read back"
    said = run([*words[:-1], "--out", str(folder / "part"), "--kept", str(folder / "set")])
    assert isinstance(said.exception, UsageError) and "another training's model" in str(said.exception)


def test_clip_is_no_part_of_the_recipes_digest_and_is_planned_apart_from_the_build(folder):
    recipe, without = (parse_recipe(text, "recipe.toml") for text in (RECIPE, RECIPE.partition("[clip]")[0]))
    assert recipe.digest == without.digest
    assert any(phase.startswith("by `dfndr train-clip` alone") for phase in plan(folder / "recipe.toml").phases)
    with pytest.raises(RecipeError, match=r"a \[clip\] section, found none"):
        open_induced(without, folder, "cpu")
