"""Weights from the Hub: which commit they were of is recorded, in a stand-in for huggingface_hub's cache."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from dfndr_builders.build import build
from dfndr_builders.card import card
from huggingface_hub import constants
from safetensors.torch import save_file
from support.builds import write_recipe
from support.models import TINY_CONFIG, tiny_spec

from dfndr.encoder import EncoderSpec, open_encoder
from dfndr.format.manifest import Manifest, read_manifest
from dfndr.models import hub_revision, load_model

OLD, NEW = "0" * 39 + "a", "9" * 39 + "b"


def _cached(cache: Path, repo: str, commit: str, *, seed: int, is_newest: bool = True) -> None:
    """Lay a tiny model into a cache as huggingface_hub does: snapshots by commit, and which of them is `main`."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    model, _, _ = load_model(tiny_spec(cache, seed=seed))
    save_file(
        {name: tensor.clone() for name, tensor in model.state_dict().items()}, snapshot / "open_clip_model.safetensors"
    )
    (snapshot / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY_CONFIG, "preprocess_cfg": {}}))
    if is_newest:
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / "main").write_text(commit)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


def test_an_encoder_from_the_hub_knows_the_commit_whose_weights_it_has(cache: Path, tmp_path: Path) -> None:
    _cached(cache, "org/two", OLD, seed=31, is_newest=False)
    _cached(cache, "org/two", NEW, seed=32)
    encoder = open_encoder(EncoderSpec("tiny", "", "hf-hub:org/two", batch_size=8, device="cpu"))
    newest = open_encoder(tiny_spec(tmp_path, seed=32))
    assert (encoder.revision, newest.revision) == (NEW, "")
    assert encoder.record.weights_sha256 == newest.record.weights_sha256


@pytest.mark.parametrize("pretrained", ["hf-hub:org/none", "local-dir:org/two", "random:0", "openai"])
def test_what_the_cache_does_not_tell_has_no_revision(cache: Path, pretrained: str) -> None:
    assert hub_revision(pretrained) == ""


def test_a_snapshot_that_is_named_by_no_commit_is_no_revision(cache: Path) -> None:
    _cached(cache, "org/odd", "main", seed=33)
    assert hub_revision("hf-hub:org/odd") == ""


def _row(manifest: Manifest, made: str) -> str:
    (row,) = [line for line in card(manifest).splitlines() if line.startswith(f"| {made} | ")]
    return row


def test_a_build_records_the_revision_and_the_card_shows_it_beside_the_hash(cache: Path, tmp_path: Path) -> None:
    _cached(cache, "org/own", NEW, seed=34)
    recipe = write_recipe(tmp_path, count="120", top_fraction="0.5")
    lines = recipe.read_text().replace('pretrained = "random:1"', 'pretrained = "hf-hub:org/own"')
    recipe.write_text(lines.replace('encoder = "tiny"\nmodel = "tiny.json"', 'encoder = "tiny"'))
    manifest = build(recipe, tmp_path / "out", device="cpu")
    assert manifest == read_manifest(str(tmp_path / "out"))
    assert manifest.provenance["revisions"] == {"hf-hub:org/own": NEW}
    digest = manifest.encoders["tiny"].weights_sha256
    assert f"| hf-hub:org/own | {NEW} | {digest} |" in _row(manifest, "vectors")
    assert "| random:0 |  | " in _row(manifest, "scores")


@pytest.mark.parametrize("told", [None, {}, "abc", {"hf-hub:org/own": 3}, {"hf-hub:org/other": NEW}])
def test_a_revision_that_was_not_recorded_is_said_to_be_so(told: object) -> None:
    golden = read_manifest(str(Path(__file__).parents[1] / "golden" / "dfndr-1"))
    encoders = {name: replace(record, pretrained="hf-hub:org/own") for name, record in golden.encoders.items()}
    given = replace(golden, encoders=encoders, scorers={}, provenance={"revisions": told})
    assert "| hf-hub:org/own | not recorded | " in _row(given, "vectors")
