"""Folders that hold something else, and files where folders belong: said before any work is done."""

from __future__ import annotations

from pathlib import Path

import pytest
from dfndr_builders.clip.train import train_clip
from dfndr_builders.recipe_file import parse_recipe
from dfndr_builders.removing import compact, remove
from dfndr_builders.site import train_section
from support.tiny import write_dataset
from support.training import POOL, SPEC

from dfndr.cache import Cache, shared_cache
from dfndr.dataset import open_dataset
from dfndr.errors import StorageError, UsageError
from dfndr.storage import Stored

RECIPE = """
name = "folders"
license = "mit"
pool = [{ kind = "glyphs" }]
m3ae = { pool = [{ kind = "glyphs", count = 80 }], samples_seen = 8, batch_size = 4 }
score = [{ name = "r", kind = "random" }]
select = { by = "r", count = 1 }
compute = { threads = 1 }
"""


@pytest.mark.parametrize("place", ["out", "work"])
def test_a_file_in_the_place_of_a_folder_stops_a_training_before_it_begins(tmp_path, place):
    (tmp_path / place).write_text("a file")
    with pytest.raises(UsageError, match=f"{place}: expected a folder to train into, found a file"):
        train_clip(SPEC, POOL, str(tmp_path / "out"), work=str(tmp_path / "work"))
    assert [path.name for path in tmp_path.iterdir()] == [place]


def test_a_training_into_no_name_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--out: expected a folder to train into, found no name"):
        train_clip(SPEC, POOL, "", work=str(tmp_path / "work"))


@pytest.mark.parametrize("record", ["", "{", "[1]", "[" * 100_000, '{"digest": 3}'])
def test_a_record_of_nothing_we_know_is_something_else(tmp_path, record):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "training.json").write_text(record)
    with pytest.raises(UsageError, match="expected an empty folder, or this recipe's own"):
        train_clip(SPEC, POOL, str(tmp_path / "out"), work=str(tmp_path / "work"))


def test_a_scorer_is_trained_into_a_new_folder_or_over_its_own_kind_alone(tmp_path):
    recipe, out = parse_recipe(RECIPE, "recipe.toml"), tmp_path / "out"
    out.write_text("a file")
    with pytest.raises(UsageError, match="found a file"):
        train_section(recipe, "m3ae", tmp_path, str(out), device="cpu")
    out.unlink()
    out.mkdir()
    (out / "manifest.json").write_text("{}")
    with pytest.raises(UsageError, match=r"found .manifest\.json. in it"):
        train_section(recipe, "m3ae", tmp_path, str(out), device="cpu")
    assert [path.name for path in out.iterdir()] == ["manifest.json"]
    (out / "manifest.json").unlink()
    first = train_section(recipe, "m3ae", tmp_path, str(out), device="cpu")
    assert train_section(recipe, "m3ae", tmp_path, str(out), device="cpu").record == first.record


def test_phases_behind_a_link_are_left_and_said_before_anything_is_compacted(tmp_path: Path):
    root, elsewhere = tmp_path / "set", tmp_path / "elsewhere"
    dataset = write_dataset(root)
    elsewhere.mkdir()
    (elsewhere / "texts").write_text("of the whole pool")
    (root / "phases").symlink_to(elsewhere)
    remove(root, dataset.rows(["uid"])["uid"].to_pylist()[:1])
    with pytest.raises(UsageError, match="phases: expected a folder of the dataset's own, found a link"):
        compact(root, phases=True)
    assert (elsewhere / "texts").exists() and open_dataset(root).manifest.removed == 1


def test_a_cache_that_is_a_file_or_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("a file")
    (tmp_path / "taken" / ".lock").mkdir(parents=True)
    for name, said in (("file", "expected to write it, found"), ("taken", "expected a cache to write into, found")):
        with pytest.raises(StorageError, match=said):
            Cache(tmp_path / name, 10**9).hold(Stored("rows/a.parquet", 1, "0" * 64))


@pytest.mark.parametrize("size", ["9" * 400 + "TB", "-1GB", "lots", "1e9"])
def test_a_size_of_the_cache_that_is_none_is_refused(monkeypatch, size):
    monkeypatch.setenv("DFNDR_CACHE_SIZE", size)
    with pytest.raises(UsageError, match="a size such as 50GB"):
        shared_cache()
