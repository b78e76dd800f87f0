"""Encoders: every way of naming weights gives the same model, and vectors that are open_clip's own."""

from __future__ import annotations

import json
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from support.models import TINY_CONFIG, tiny_config, tiny_spec
from support.pairs import jpeg

from dfndr.encoder import Encoder, EncoderSpec, open_encoder, pick_device
from dfndr.errors import ModelError, UsageError
from dfndr.images import decode
from dfndr.models import load_model, weights_sha256

PICTURES = [jpeg((40, 30), colour=(place * 9, 200 - place * 7, 40)) for place in range(21)]
TEXTS = [f"a picture of {place} things" for place in range(20)] + ["word " * 400]
SHAPE = {
    "mean": [0.1, 0.2, 0.3],
    "std": [0.4, 0.5, 0.6],
    "interpolation": "bilinear",
    "resize_mode": "squash",
    "size": [32, 32],
    "mode": "RGB",
}


@dataclass(frozen=True)
class Weights:
    """A tiny model in every form that `pretrained` and `model` can name, and as open_clip itself loads it."""

    folder: Path
    own: Any
    preprocess: Any
    tokenizer: Any


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    folder = tmp_path_factory.mktemp("weights")
    config = tiny_config(folder)
    model, _, _ = load_model(EncoderSpec("tiny", str(config), "random:0"))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "tiny.safetensors")
    torch.save(state, folder / "tiny.pt")
    local = folder / "local"
    local.mkdir()
    save_file(state, local / "open_clip_model.safetensors")
    (local / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY_CONFIG, "preprocess_cfg": SHAPE}))
    own, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{local}", precision="fp32", device="cpu")
    return Weights(folder, own.eval(), preprocess, open_clip.get_tokenizer(f"local-dir:{local}"))


def opened(weights: Weights, pretrained: str, *, model: str = "tiny.json", **more: object) -> Encoder:
    options: dict[str, Any] = {"batch_size": 8, "threads": 1, "device": "cpu", **more}
    return open_encoder(EncoderSpec("tiny", str(weights.folder / model), pretrained, **options))


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


def test_vectors_are_those_of_open_clip_itself(weights: Weights) -> None:
    encoder = opened(weights, f"local-dir:{weights.folder}/local")
    with torch.inference_mode():
        images = weights.own.encode_image(torch.stack([weights.preprocess(decode(data)) for data in PICTURES]))
        texts = weights.own.encode_text(weights.tokenizer(TEXTS))
    for mine, own in ((encoder.encode_images(PICTURES), images), (encoder.encode_texts(TEXTS), texts)):
        assert not mine.problems
        assert mine.vectors.dtype == np.float32
        unit = own / own.norm(dim=-1, keepdim=True)
        np.testing.assert_allclose(mine.vectors, unit.numpy(), atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(mine.vectors.astype(np.float64), axis=1), 1, atol=1e-6)


def test_neither_the_batch_nor_its_padding_nor_the_company_changes_a_vector(weights: Weights) -> None:
    one = opened(weights, "random:0", batch_size=1)
    images, texts = one.encode_images(PICTURES).vectors, one.encode_texts(TEXTS).vectors
    for batch_size in (5, 8, 21, 64):
        encoder = opened(weights, "random:0", batch_size=batch_size)
        np.testing.assert_allclose(encoder.encode_images(PICTURES).vectors, images, atol=1e-5)
        np.testing.assert_allclose(encoder.encode_texts(TEXTS).vectors, texts, atol=1e-5)
        np.testing.assert_allclose(encoder.encode_images(PICTURES[3:4]).vectors, images[3:4], atol=1e-5)


def test_bad_pictures_among_good_ones_are_named_and_move_nothing(weights: Weights) -> None:
    encoder = opened(weights, "random:0")
    mixed = [b"no picture", *PICTURES[:9], b"", *PICTURES[9:12]]
    encoded = encoder.encode_images(mixed)
    assert {place: reason for place, (reason, _) in encoded.problems.items()} == {
        0: "image_unreadable",
        10: "image_empty",
    }
    good = encoder.encode_images(PICTURES[:12]).vectors
    np.testing.assert_allclose(np.delete(encoded.vectors, [0, 10], axis=0), good, atol=1e-5)
    assert not encoded.vectors[[0, 10]].any()
    assert encoder.encode_images([b"", b"x"]).problems.keys() == {0, 1}
    assert encoder.encode_images([]).vectors.shape == encoder.encode_texts([]).vectors.shape == (0, 16)


def test_a_picture_too_long_and_thin_to_be_resized_is_refused_before_it_is(weights: Weights) -> None:
    encoder = opened(weights, "random:0")
    long, longer = (jpeg((width, 2), kind="PNG") for width in (20_000, 1_000_000))
    started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    encoded = encoder.encode_images([longer, PICTURES[0], long])
    assert encoded.problems == {0: ("image_too_large", "1000000 x 2 pixels, too long and thin to be resized to 32")}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - started < 300_000, "its 32 x 16,000,000 take 1.5 GB"
    squashed = opened(weights, f"local-dir:{weights.folder}/local").encode_images([longer])
    assert not squashed.problems, "which a model that takes the whole picture does not mind"


@pytest.mark.parametrize("text", ["", "\0", "x" * 9999, "\ud800 lone", "\u202e\U0001f9c0", "<start_of_text>", "&#0;"])
def test_any_string_has_a_vector(weights: Weights, text: str) -> None:
    encoded = opened(weights, "random:0").encode_texts([text])
    assert not encoded.problems
    assert abs(np.linalg.norm(encoded.vectors) - 1) < 1e-5


def test_the_record_says_what_the_model_really_is(weights: Weights) -> None:
    record = opened(weights, f"local-dir:{weights.folder}/local", license="mit").record
    assert (record.name, record.license, record.dim, record.context_length) == ("tiny", "mit", 16, 16)
    assert (record.batch_size, record.threads, record.precision) == (8, 1, "fp32")
    assert record.logit_scale == pytest.approx(float(weights.own.logit_scale.detach().exp()))
    shape = record.preprocess
    assert (shape.size, shape.mean, shape.std) == ((32, 32), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (shape.interpolation, shape.resize_mode) == ("bilinear", "squash")
    assert (record.activation, record.logit_bias, record.distillation_scale) == ("gelu", None, None)
    own = opened(weights, "random:0").record.preprocess
    assert own.mean == pytest.approx(open_clip.OPENAI_DATASET_MEAN)
    assert (own.interpolation, own.resize_mode) == ("bicubic", "shortest")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_lower_precision_is_recorded_and_close(weights: Weights, precision: str) -> None:
    encoder = opened(weights, "random:0", precision=precision)
    assert encoder.record.precision == precision
    wanted = opened(weights, "random:0").encode_images(PICTURES).vectors
    assert (encoder.encode_images(PICTURES).vectors * wanted).sum(axis=1).min() > 0.99


def test_a_vector_that_is_not_finite_is_a_problem_of_its_row_alone(weights: Weights) -> None:
    class Dark(torch.nn.Module):
        """The tiny model, but for a picture that is all black, of which it makes NaN, and all white, zeros."""

        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner, self.visual, self.logit_scale = inner, inner.visual, inner.logit_scale

        def encode_image(self, images: torch.Tensor) -> torch.Tensor:
            flat = images.flatten(1)
            scale = torch.where((flat < -1.4).all(1), torch.nan, torch.where((flat > 1.8).all(1), 0.0, 1.0))
            return self.inner.encode_image(images) * scale[:, None]

        def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.inner.encode_text(tokens)

    spec = EncoderSpec("tiny", str(weights.folder / "tiny.json"), "random:0", batch_size=8, device="cpu")
    inner, preprocess, tokenizer = load_model(spec)
    encoder = Encoder(spec, Dark(inner), preprocess, tokenizer)
    encoded = encoder.encode_images([PICTURES[0], jpeg(colour=(0, 0, 0)), jpeg(colour=(255, 255, 255)), PICTURES[1]])
    assert {place: reason for place, (reason, _) in encoded.problems.items()} == dict.fromkeys(
        (1, 2), "vector_not_finite"
    )
    np.testing.assert_allclose(encoded.vectors[[0, 3]], encoder.encode_images(PICTURES[:2]).vectors, atol=1e-5)


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
