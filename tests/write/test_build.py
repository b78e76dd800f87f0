"""A build as its user meets it: the same dataset every time, resumed, reused, and honest about every row."""

import json
import shutil
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from dfndr_builders.build import build
from dfndr_builders.engines.array import SlurmArray
from dfndr_builders.engines.base import Engine
from dfndr_builders.engines.inline import Inline
from dfndr_builders.engines.on_ray import OnRay
from dfndr_builders.engines.processes import Processes
from dfndr_builders.output import LOCK
from dfndr_builders.pools.glyphs import GlyphsPool
from dfndr_builders.pools.swapped import Swapped
from dfndr_builders.select import is_validation
from support.builds import write_recipe

from dfndr.dataset import open_dataset
from dfndr.errors import RecipeError, UsageError
from dfndr.format.manifest import read_manifest
from dfndr.locks import locked
from dfndr.nearest import encoder_of, nearest
from dfndr.search import Index
from dfndr.verify import verify


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("built")
    recipe = write_recipe(folder)
    build(recipe, folder / "out", device="cpu")
    return recipe, folder / "out"


def test_the_funnel_adds_up_from_the_pool_to_the_last_shard(built: tuple[Path, Path]) -> None:
    manifest = read_manifest(str(built[1]))
    score, select, last = manifest.funnel
    assert (score.name, score.rows_in, score.rows_out) == ("score", 2500, 2500)
    assert select.rows_out == 500 - sum(last.failed.values()) == len(manifest)
    assert select.dropped["not_selected"] + select.dropped["duplicate"] == 2000
    assert sum(shard.rows for shard in manifest.shards) == 500


def test_what_was_built_verifies(built: tuple[Path, Path]) -> None:
    report = verify(str(built[1]))
    assert report.ok, str(report)


def test_the_rows_with_the_highest_scores_are_kept(built: tuple[Path, Path]) -> None:
    dataset = open_dataset(built[1])
    scores = open_dataset(built[1] / str(dataset.manifest.provenance["scores"])).rows(["uid", "dfn"])
    ranked = sorted(
        zip(scores["uid"].to_pylist(), scores["dfn"].to_pylist(), strict=True), key=lambda row: (-row[1], row[0])
    )
    first = list(dict.fromkeys(uid for uid, _ in ranked))[:500]
    assert set(dataset.rows(["uid"])["uid"].to_pylist()) == set(first)


def test_vectors_are_those_of_the_rows_own_picture_text_and_captions(built: tuple[Path, Path]) -> None:
    dataset = open_dataset(built[1])
    encoder = encoder_of(dataset, dataset.space("image/tiny"), device="cpu")
    rows = dataset.rows(["uid", "text", "captions"]).to_pylist()[::37]
    texts = encoder.encode_texts([row["text"] for row in rows]).vectors
    np.testing.assert_allclose(dataset.vectors("text/tiny")[::37, 0], texts, atol=2e-3)
    for place in range(2):
        captions = encoder.encode_texts([row["captions"][place] for row in rows]).vectors
        np.testing.assert_allclose(dataset.vectors("caption/tiny")[::37, place], captions, atol=2e-3)
    pool = Swapped(GlyphsPool(count=2_500, seed=7), 0.3, 7)
    tables = [table for shard in pool.shards() for table in pool.read(shard)]
    whole = pa.concat_tables(tables)
    pictures = dict(zip(whole["uid"].to_pylist(), whole["image"].to_pylist(), strict=True))
    images = encoder.encode_images([pictures[row["uid"]] for row in rows]).vectors
    np.testing.assert_allclose(dataset.vectors("image/tiny")[::37, 0], images, atol=2e-3)


def test_a_dataset_moved_elsewhere_still_finds_the_config_of_its_model(
    built: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copytree(built[1], tmp_path / "moved")
    dataset = open_dataset(tmp_path / "moved")
    assert dataset.manifest.encoders["tiny"].model.startswith("models/tiny-")
    found = nearest(dataset, Index.build(dataset, "image/tiny"), text="latin small letter a", k=3, device="cpu")
    assert len(found) == 3 and found[0]["score"] >= found[1]["score"]


def test_captions_are_the_nearest_of_the_bank_best_first(built: tuple[Path, Path]) -> None:
    rows = open_dataset(built[1]).rows(["captions", "caption_scores", "caption_models", "caption_seeds"]).to_pylist()
    for row in rows:
        assert len(set(row["captions"])) == len(row["caption_seeds"]) == 2
        assert row["caption_scores"][0] >= row["caption_scores"][1]
        assert row["caption_models"] == ["retrieval"] * 2


def test_splits_follow_the_hash_of_the_uid(built: tuple[Path, Path]) -> None:
    dataset = open_dataset(built[1])
    assert len(dataset.split("train")) + len(dataset.split("validation")) == len(dataset)
    for split in ("train", "validation"):
        uids = dataset.split(split).rows(["uid"])["uid"].to_pylist()
        assert uids and all(is_validation(uid, 0.1) == (split == "validation") for uid in uids)


def test_building_again_changes_nothing_and_another_folder_gives_the_same_digest(
    built: tuple[Path, Path], tmp_path: Path
) -> None:
    recipe, out = built
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")}
    again = build(recipe, out, device="cpu")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")} == before
    assert build(recipe, tmp_path / "elsewhere", device="cpu").digest == again.digest == read_manifest(str(out)).digest


def test_a_file_that_is_gone_is_made_again(built: tuple[Path, Path]) -> None:
    recipe, out = built
    digest = read_manifest(str(out)).digest
    gone = sorted(out.glob("image/tiny/*.npy"))[1]
    content = gone.read_bytes()
    gone.unlink()
    assert not verify(str(out)).ok
    assert build(recipe, out, device="cpu").digest == digest
    assert gone.read_bytes() == content


def test_another_threshold_uses_the_scores_again_and_leaves_no_stale_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(write_recipe(tmp_path), out, device="cpu")
    scores = {path: path.stat().st_mtime_ns for path in out.glob("phases/score-*/rows/*")}
    narrower = write_recipe(tmp_path, top_fraction="0.1")
    with pytest.raises(UsageError, match="--replace"):
        build(narrower, out, device="cpu")
    manifest = build(narrower, out, device="cpu", replace=True)
    assert len(manifest) == 250
    assert {path: path.stat().st_mtime_ns for path in out.glob("phases/score-*/rows/*")} == scores
    named = {stored.path for shard in manifest.shards for stored in shard.files.values()}
    assert {path.relative_to(out).as_posix() for path in (out / "rows").iterdir()} <= named
    assert verify(str(out)).ok


def test_a_dataset_that_took_anothers_place_is_the_one_built_afresh(tmp_path: Path) -> None:
    build(write_recipe(tmp_path), tmp_path / "out", device="cpu")
    narrower = write_recipe(tmp_path, top_fraction="0.1")
    replaced = build(narrower, tmp_path / "out", device="cpu", replace=True)
    assert replaced.digest == build(narrower, tmp_path / "afresh", device="cpu").digest


def test_a_comment_in_the_recipe_changes_the_manifest_alone(tmp_path: Path) -> None:
    recipe, out = write_recipe(tmp_path), tmp_path / "out"
    build(recipe, out, device="cpu")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")}
    recipe.write_text(recipe.read_text() + "# a word more\n")
    manifest = build(recipe, out, device="cpu")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")} == before
    assert manifest.recipe.endswith("# a word more\n")


def test_a_folder_that_holds_something_else_is_refused_untouched(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match=r"'thesis\.tex' in it"):
        build(write_recipe(tmp_path), out, device="cpu")
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]
    with pytest.raises(UsageError, match="found a file"):
        build(write_recipe(tmp_path), out / "thesis.tex", device="cpu")


@pytest.mark.parametrize(
    "engine", [Inline(), Processes(1), OnRay(1), SlurmArray(0, 2)], ids=lambda one: type(one).__name__
)
def test_two_builds_into_one_folder_do_not_mix_whatever_their_engine(tmp_path: Path, engine: Engine) -> None:
    out = tmp_path / "out"
    with locked(str(out), LOCK), pytest.raises(UsageError, match="one that is running"):
        build(write_recipe(tmp_path), out, device="cpu", engine=engine)
    assert not (out / "phases").exists()


def test_a_recipe_that_keeps_nothing_says_so_and_builds_an_empty_dataset(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, top_fraction="0.0001")
    manifest = build(recipe, tmp_path / "out", device="cpu")
    assert len(manifest) == 0
    assert manifest.funnel[-1].rows_out == 0
    assert verify(str(tmp_path / "out")).ok


def test_a_pool_that_is_not_there_is_said_before_anything_is_written(tmp_path: Path) -> None:
    text = (
        write_recipe(tmp_path)
        .read_text()
        .replace('kind = "glyphs"\ncount = 2_500', 'kind = "webdataset"\npath = "no/{0..3}.tar"')
    )
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(Exception, match="no/") as caught:
        build(tmp_path / "recipe.toml", tmp_path / "out", device="cpu")
    assert caught.value.exit_code in (1, 2)


def test_records_are_json_that_says_what_the_manifest_says(built: tuple[Path, Path]) -> None:
    manifest = read_manifest(str(built[1]))
    folder = built[1] / "shards" / str(manifest.provenance["phase"])[:12]
    for shard in manifest.shards:
        assert json.loads((folder / f"{shard.index:05d}.json").read_text()) == shard.to_json()


def test_the_truth_about_swapped_texts_is_a_column(built: tuple[Path, Path]) -> None:
    dataset = open_dataset(built[1])
    scores = open_dataset(built[1] / str(dataset.manifest.provenance["scores"])).rows(["swapped"])
    share = pc.mean(pc.cast(scores["swapped"], "float64")).as_py()
    assert 0.25 < share < 0.35
    assert "swapped" in dataset.schema().names


def test_a_recipe_without_its_model_is_refused(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, pretrained='"recipe:dfn"')
    with pytest.raises(RecipeError, match=r"\[dfn\] section"):
        build(recipe, tmp_path / "out", device="cpu")


def test_the_folder_is_one_that_load_dataset_reads_with_pictures(built: tuple[Path, Path], tmp_path: Path) -> None:
    loaded = datasets.load_dataset(str(built[1]), cache_dir=str(tmp_path / "cache"))
    dataset = open_dataset(built[1])
    assert {split: len(rows) for split, rows in loaded.items()} == {
        split: len(dataset.split(split)) for split in ("train", "validation")
    }
    first = loaded["train"][0]
    assert first["uid"] == dataset.split("train").rows(["uid"])["uid"][0].as_py()
    assert first["thumbnail"].size == (16, 16)
