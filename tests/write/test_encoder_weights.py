"""Weights of encoders: every way of naming them gives the same model, and what does not load is said in a line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from support import weights as tiny_weights
from support.models import TINY_CONFIG, tiny_spec
from support.weights import PICTURES, TEXTS, Weights, opened

from dfndr.encoder import EncoderSpec, open_encoder, pick_device
from dfndr.errors import ModelError, UsageError
from dfndr.models import weights_sha256

weights = tiny_weights.weights


def test_every_way_of_naming_the_weights_gives_the_same_model(weights: Weights) -> None:
    forms = {
        "seed": opened(weights, "random:0"),
        "safetensors": opened(weights, f"{weights.folder}/tiny.safetensors"),
        "checkpoint": opened(weights, f"{weights.folder}/tiny.pt"),
    }
    plain = forms["seed"]
    for name, encoder in forms.items():
        assert encoder.record.weights_sha256 == plain.record.weights_sha256, name
        np.testing.assert_array_equal(encoder.encode_images(PICTURES).vectors, plain.encode_images(PICTURES).vectors)
        np.testing.assert_array_equal(encoder.encode_texts(TEXTS).vectors, plain.encode_texts(TEXTS).vectors)
    local = opened(weights, f"local-dir:{weights.folder}/local")
    assert local.record.weights_sha256 == plain.record.weights_sha256
    np.testing.assert_array_equal(local.encode_texts(TEXTS).vectors, plain.encode_texts(TEXTS).vectors)
    assert np.abs(local.encode_images(PICTURES).vectors - plain.encode_images(PICTURES).vectors).max() > 1e-3, (
        "a folder brings its own preprocessing"
    )


def test_a_built_in_name_takes_a_checkpoint_too(tmp_path: Path, weights: Weights) -> None:
    # The config is registered with open_clip here, by its own way, so that "built-in" need not mean hundreds of MB.
    (tmp_path / "tiny-built-in.json").write_text(json.dumps(TINY_CONFIG))
    open_clip.add_model_config(tmp_path / "tiny-built-in.json")
    spec = EncoderSpec("tiny", "tiny-built-in", f"{weights.folder}/tiny.safetensors", batch_size=8, device="cpu")
    assert open_encoder(spec).record.weights_sha256 == opened(weights, "random:0").record.weights_sha256


def test_another_seed_is_another_model_and_loading_leaves_the_random_state_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    first, second = (open_encoder(tiny_spec(tmp_path, seed=seed)) for seed in (1001, 1002))
    assert torch.equal(torch.rand(3), wanted)
    assert first.record.weights_sha256 != second.record.weights_sha256


def test_the_hash_of_the_weights_tells_one_bit_and_not_the_order_of_the_tensors(weights: Weights) -> None:
    state = load_file(weights.folder / "tiny.safetensors")
    digest = weights_sha256(state)
    assert digest == weights_sha256(dict(reversed(state.items())))
    name = next(name for name, tensor in state.items() if tensor.ndim == 2)
    state[name] = state[name].clone()
    state[name].view(torch.int32)[0, 0] ^= 1
    assert digest != weights_sha256(state)


def wrong(folder: Path) -> dict[str, tuple[str, str, str]]:
    """By what is wrong: model, pretrained, and words that the error must hold."""
    state = {name: tensor + 0 for name, tensor in load_file(folder / "tiny.safetensors").items()}
    other = {**TINY_CONFIG, "embed_dim": 24}
    (folder / "other.json").write_text(json.dumps(other))
    (folder / "list.json").write_text("[1]")
    (folder / "cut.json").write_text("{")
    (folder / "few.json").write_text('{"embed_dim": 16}')
    (folder / "garbage.pt").write_bytes(b"garbage")
    (folder / "garbage.safetensors").write_bytes(b"garbage")
    (folder / "cut.safetensors").write_bytes((folder / "tiny.safetensors").read_bytes()[:5000])
    save_file(dict(list(state.items())[:3]), folder / "few.safetensors")
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "no-weights").mkdir(exist_ok=True)
    (folder / "no-weights" / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY_CONFIG}))
    tiny = str(folder / "tiny.json")
    return {
        "weights of another shape": (str(folder / "other.json"), f"{folder}/tiny.safetensors", "another model"),
        "tensors are missing": (tiny, f"{folder}/few.safetensors", "another model"),
        "no checkpoint": (tiny, f"{folder}/gone.pt", "no file there"),
        "a folder for a checkpoint": (tiny, f"{folder}/empty", "say local-dir:FOLDER"),
        "garbage for a checkpoint": (tiny, f"{folder}/garbage.pt", "no file of weights alone"),
        "garbage for safetensors": (tiny, f"{folder}/garbage.safetensors", "header"),
        "half a safetensors": (tiny, f"{folder}/cut.safetensors", "header"),
        "a folder that is not there": ("", f"local-dir:{folder}/gone", "not found"),
        "an empty folder": ("", f"local-dir:{folder}/empty", "config file missing"),
        "a folder without weights": ("", f"local-dir:{folder}/no-weights", "weights"),
        "an unknown model": ("ViT-B-33", "random:0", "the nearest is 'ViT-B-3"),
        "an unknown tag": ("ViT-B-32", "laion2b_s34b_b79", "the nearest is 'laion2b_s34b_b79k'"),
        "a tag of another model": ("ViT-B-32", "webli", "no tag of that name"),
        "no config": (str(folder / "gone.json"), "random:0", "No such file"),
        "a config that is no JSON": (str(folder / "cut.json"), "random:0", "line 1 column 2"),
        "a config that is a list": (str(folder / "list.json"), "random:0", "without embed_dim"),
        "a config without a tower": (str(folder / "few.json"), "random:0", "without embed_dim"),
        "a seed that is no number": (tiny, "random:x", "invalid literal"),
    }


def test_weights_that_do_not_load_are_one_line_that_helps(weights: Weights) -> None:
    for case, (model, pretrained, words) in wrong(weights.folder).items():
        with pytest.raises(ModelError) as caught:
            open_encoder(EncoderSpec("tiny", model, pretrained, device="cpu"))
        said = str(caught.value)
        assert words in said, f"{case}: {said}"
        assert "\n" not in said and len(said) < 900, case
        assert "network" not in said and "HF_" not in said, f"{case}: {said}"


def test_a_checkpoint_never_runs_code(weights: Weights) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (weights.folder / "harmed",))

    torch.save({"state_dict": Harm()}, weights.folder / "harm.pt")
    with pytest.raises(ModelError, match="no file of weights alone"):
        opened(weights, f"{weights.folder}/harm.pt")
    assert not (weights.folder / "harmed").exists()


@pytest.mark.parametrize("device", ["abacus", "cuda:999", ""])
def test_a_device_that_is_not_there_is_a_wrong_command(tmp_path: Path, device: str) -> None:
    with pytest.raises(UsageError, match="a device of this machine") as caught:
        open_encoder(tiny_spec(tmp_path, device=device))
    assert "\n" not in str(caught.value)
    assert pick_device("auto") in ("cpu", "cuda", "mps")


@pytest.mark.parametrize(
    ("pretrained", "needed"),
    [
        ("laion2b_s34b_b79k", True),
        ("openai", True),
        ("hf-hub:apple/DFN-public", True),
        ("random:0", False),
        ("local-dir:/data/model", False),
        ("local-dir:gone", False),
        ("weights/gone.pt", False),
        ("gone.safetensors", False),
    ],
)
def test_what_needs_the_network_is_known_beforehand(pretrained: str, needed: bool) -> None:
    assert EncoderSpec("x", "ViT-B-32", pretrained).needs_network is needed


def test_a_file_without_a_suffix_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert not EncoderSpec("x", "ViT-B-32", "weights").needs_network


@pytest.mark.parametrize(("model", "pretrained"), [("", "hf-hub:someone/no-such"), ("ViT-B-32", "laion2b_s34b_b79k")])
def test_the_hub_out_of_reach_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, pretrained: str
) -> None:
    # huggingface_hub reads its environment once, when it is imported, into these constants.
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    spec = EncoderSpec("tiny", model, pretrained, device="cpu")
    with pytest.raises(ModelError, match="check the connection and HF_ENDPOINT") as caught:
        open_encoder(spec)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        ModelError, match="HF_HUB_OFFLINE is set, and these weights are not in the local cache"
    ) as caught:
        open_encoder(spec)
    assert "\n" not in str(caught.value)
