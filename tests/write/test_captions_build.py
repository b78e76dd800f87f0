"""Builds with captioners: one beside another, what is recorded and counted, and what is said of recipes that misfit."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from dfndr_builders.build import build
from dfndr_builders.card import card
from dfndr_builders.plan import plan
from dfndr_builders.publish.gate import uses
from dfndr_builders.recipe_file import parse_recipe
from support.builds import Told
from support.coca import babbling_coca
from support.faults import RECIPE, write_recipe
from support.image_to_text import encoder_decoder
from transformers import ViTModel

from dfndr import open_dataset
from dfndr.describe import describe
from dfndr.errors import FormatError, ModelError, RecipeError
from dfndr.format.manifest import Manifest
from dfndr.verify import verify

BANK = '[[caption]]\nkind = "retrieval"\nbank = "bank.txt"\n'
COCA = """
[[caption]]
kind = "coca"
name = "writer"
pretrained = "{coca}"
license = "MIT"
per_image = 2
best_of = 3
max_tokens = 10
"""
HF = """
[[caption]]
kind = "transformers"
name = "reader"
model = "{folder}"
license = "Apache-2.0"
per_image = 1
tries = 20
max_tokens = 12
"""
LIKELY = {word: 1.0 for word in ("dog", "cat", "man", "tree", "boat", "red", "old")} | {".": 2.0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A build with a CoCa alone, and one with a model of Transformers and a bank beside it."""
    base = tmp_path_factory.mktemp("captions")
    coca = COCA.format(coca=babbling_coca(base / "model", LIKELY))
    with torch.random.fork_rng(devices=[]):
        reader = HF.format(folder=encoder_decoder(base / "reader"))
    found = []
    for name, sections in (("alone", coca), ("both", reader + coca + BANK)):
        found.append(_built(base / name, sections))
    return found[0], found[1]


def _built(folder: Path, sections: str) -> Path:
    build(write_recipe(folder, (BANK, sections), ("count = 40", "count = 12")), folder / "out", device="cpu")
    return folder / "out"


def _json(manifest: Manifest) -> dict[str, Any]:
    given: dict[str, Any] = json.loads(json.dumps(manifest.to_json()))
    return given


def _captions(root: Path) -> dict[tuple[str, str], list[tuple[str, int, float]]]:
    """Return the captions of each row and captioner, with their seeds and scores."""
    found: dict[tuple[str, str], list[tuple[str, int, float]]] = {}
    names = ["captions", "caption_seeds", "caption_scores", "caption_models"]
    for row in open_dataset(root).rows(["uid", *names]).to_pylist():
        for *caption, model in zip(*(row[name] for name in names), strict=True):
            found.setdefault((row["uid"], model), []).append(tuple(caption))
    return found


def _of(found: dict[tuple[str, str], Any], captioner: str) -> dict[tuple[str, str], Any]:
    return {key: captions for key, captions in found.items() if key[1] == captioner}


def test_adding_captioners_changes_no_caption_of_another(folders: tuple[Path, Path]) -> None:
    alone, both = map(_captions, folders)
    assert _of(both, "writer") == alone != {}
    assert {model for _, model in both} == {"reader", "writer", "retrieval"}
    models = open_dataset(folders[1]).rows(["caption_models"])["caption_models"].to_pylist()
    order = ["reader", "writer", "retrieval"]
    assert all(row == sorted(row, key=order.index) for row in models), "in the order of the recipe"


def test_captioners_that_are_added_to_a_dataset_are_all_that_is_asked(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    alone, both = folders
    shutil.copytree(alone, tmp_path / "out", ignore=shutil.ignore_patterns("phases"))
    seen: Counter[str] = Counter()

    def note(module: torch.nn.Module, given: Any, _: Any) -> None:
        seen["writer"] += getattr(module, "attn_pool", None) is not None
        seen["reader"] += isinstance(module, ViTModel)

    handle = torch.nn.modules.module.register_module_forward_hook(note)
    told = Told()
    try:
        over = build(both.parent / "recipe.toml", tmp_path / "out", device="cpu", replace=True, progress=told)
    finally:
        handle.remove()
    assert seen["writer"] == 0 < seen["reader"]
    assert f"captions by writer of {len(over)} of {len(over)} rows taken over" in told.lines
    assert over.digest == open_dataset(both).digest
    assert verify(tmp_path / "out").ok


def test_a_space_of_captions_holds_those_of_all_captioners_and_zeros_where_some_are_missing(
    folders: tuple[Path, Path],
) -> None:
    dataset = open_dataset(folders[1])
    assert dataset.space("caption/tiny").per_row == 5
    counts = [len(row) for row in dataset.rows(["captions"])["captions"].to_pylist()]
    assert (dataset.vectors("caption/tiny") != 0).any(axis=2).sum(axis=1).tolist() == counts
    assert verify(folders[1]).ok


def test_captioners_are_recorded_and_told_of(folders: tuple[Path, Path]) -> None:
    dataset = open_dataset(folders[1])
    records = dataset.manifest.captioners
    assert set(records) == {"reader", "writer", "retrieval"}
    assert (records["reader"].kind, records["reader"].license) == ("transformers", "Apache-2.0")
    assert "VisionEncoderDecoderModel" in records["reader"].model
    writer = records["writer"]
    assert (writer.kind, writer.license, len(writer.weights_sha256)) == ("coca", "MIT", 64)
    assert (writer.asked["per_image"], writer.asked["best_of"], writer.asked["scorer"]) == (2, 3, "dfn")
    assert Manifest.from_json(_json(dataset.manifest), "here") == dataset.manifest
    told = describe(dataset.manifest)
    assert "top_p 0.9" in told and writer.weights_sha256 in told and "best_of 3" in told
    page = card(dataset.manifest)
    assert "written by writer" in page and f"| writer | coca | {writer.model} |" in page
    found = {(one.kind, one.name, one.license) for one in uses(dataset)}
    assert {("captions by", "writer", "MIT"), ("captions from", "caption bank", None)} <= found


def test_what_was_dropped_and_asked_for_again_is_in_the_notes_of_the_shards(folders: tuple[Path, Path]) -> None:
    manifest = open_dataset(folders[1]).manifest
    notes = {key: int(value) for shard in manifest.shards for key, value in shard.notes.items()}
    assert notes["captions by writer, asked again"] > 0
    assert set(notes) <= {
        *(f"captions by {name}, asked again" for name in ("reader", "writer")),
        *(
            f"captions by {name}, not kept: {reason}"
            for name in ("reader", "writer")
            for reason in ("unfinished", "repeating", "duplicate", "empty")
        ),
    }


def test_a_manifest_without_captioners_is_written_as_before_and_a_broken_record_is_refused(
    folders: tuple[Path, Path],
) -> None:
    manifest = open_dataset(folders[1]).manifest
    assert "captioners" not in replace(manifest, captioners={}).to_json()
    for key, value in (("kind", 3), ("sampling", []), ("asked", {"tries": [1]}), ("more", 1)):
        given = _json(manifest)
        given["captioners"]["writer"][key] = value
        with pytest.raises(FormatError, match="captioner 'writer'"):
            Manifest.from_json(given, "here")


def test_a_model_that_is_no_coca_is_refused_before_anything_is_scored(tmp_path: Path) -> None:
    section = '[[caption]]\nkind = "coca"\nmodel = "tiny.json"\npretrained = "random:0"\n'
    with pytest.raises(ModelError, match="a CoCa, found CLIP"):
        _built(tmp_path / "recipe", section)
    assert not (tmp_path / "recipe" / "out" / "phases").exists()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (BANK + BANK, "every captioner needs a name of its own"),
        (BANK + "per_image = 3\nbest_of = 2\n", "best_of = 2 is fewer than per_image = 3"),
        (BANK.replace('"retrieval"', '"blip"'), "'coca', 'endpoint', 'retrieval', 'transformers'"),
        (BANK + 'scorer = "other"\n', "the clip scores are"),
        (COCA.format(coca="recipe:dfn"), "is a filter, and no captioner"),
        (COCA.format(coca="local-dir:x") + "min_tokens = 10\n", "min_tokens = 10 is no less than max_tokens = 10"),
        (COCA.format(coca="local-dir:x") + "top_p = 0.0\n", "top_p"),
    ],
)
def test_a_section_that_cannot_be_is_said(section: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        parse_recipe(RECIPE.replace(BANK, section), "recipe.toml")


def test_a_plan_tells_what_captioners_fetch(folders: tuple[Path, Path], tmp_path: Path) -> None:
    fetched = HF.format(folder="someone/blip")
    assert plan(write_recipe(tmp_path, (BANK, fetched))).network == ("someone/blip",)
    assert plan(folders[1].parent / "recipe.toml").network == ()
