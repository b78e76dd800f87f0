"""A head folded into its encoder: the same vectors, the same answers, in a folder that open_clip loads."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.tiny import write_dataset

torch = pytest.importorskip("torch", reason="heads need torch")
open_clip = pytest.importorskip("open_clip", reason="models are open_clip's")
pytest.importorskip("safetensors", reason="heads are kept as safetensors")

from support.models import TINY_CONFIG, tiny_spec  # noqa: E402
from support.pairs import jpeg  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from dfndr.cli import app  # noqa: E402
from dfndr.dataset import open_dataset  # noqa: E402
from dfndr.encoder import EncoderSpec, open_encoder  # noqa: E402
from dfndr.errors import ModelError, UsageError  # noqa: E402
from dfndr.format.manifest import write_manifest  # noqa: E402
from dfndr.format.schema import Space  # noqa: E402
from dfndr.heads.export import export_head  # noqa: E402
from dfndr.heads.folding import folded  # noqa: E402
from dfndr.heads.model import Head, Origin  # noqa: E402
from dfndr.heads.train import train_head  # noqa: E402

COLOURS = [(place * 37 % 256, place * 91 % 256, place * 53 % 256) for place in range(24)]
PICTURES = [jpeg((30 + place, 40), colour=colour) for place, colour in enumerate(COLOURS)]
TEXTS = [f"a picture of {place} things" for place in range(24)]
SPACES = (Space("image", "tiny", dim=16), Space("text", "tiny", dim=16))
QUICK = {"steps": 60, "batch_size": 16, "learning_rate": 1e-2, "device": "cpu"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return open_encoder(tiny_spec(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, encoder):
    """Pictures and texts by a real encoder, whose record says where it is."""
    root = tmp_path_factory.mktemp("dataset")
    given = {"image/tiny": encoder.encode_images(PICTURES).vectors, "text/tiny": encoder.encode_texts(TEXTS).vectors}
    made = write_dataset(root, (20, 4), SPACES, vectors=given, columns={"text": TEXTS}, splits=["train", "validation"])
    write_manifest(str(root), replace(made.manifest, encoders={"tiny": encoder.record}))
    return open_dataset(str(root))


@pytest.fixture(scope="module")
def exported(dataset, tmp_path_factory):
    """A head, and what became of it, in one folder each."""
    root = tmp_path_factory.mktemp("exported")
    head = train_head(dataset, root / "head", **QUICK).head
    return head, export_head(root / "head", dataset, root / "model"), root / "model"


def opened(folder):
    where = f"local-dir:{folder}"
    return open_encoder(EncoderSpec("exported", where, where, batch_size=8, threads=1, device="cpu"))


def test_the_models_vectors_are_those_that_the_head_makes_of_the_encoders(dataset, encoder, exported):
    head, told, folder = exported
    model = opened(folder)
    for ours, theirs in (
        (model.encode_images(PICTURES).vectors, head.encode_image(encoder.encode_images(PICTURES).vectors)),
        (model.encode_texts(TEXTS).vectors, head.encode_text(encoder.encode_texts(TEXTS).vectors)),
    ):
        assert np.abs(ours - theirs).max() < 1e-4
    cached = head.encode_text(dataset.vectors("text/tiny")[:, 0])
    assert np.abs(model.encode_texts(TEXTS).vectors - cached).max() < 5e-3, "but for what float16 takes"
    assert max(told.image_difference, told.text_difference) < 1e-5
    assert not np.allclose(model.encode_texts(TEXTS).vectors, encoder.encode_texts(TEXTS).vectors, atol=0.05)


def test_it_classifies_and_retrieves_as_encoder_and_head_do(encoder, exported):
    head, _, folder = exported
    model, classes = opened(folder), TEXTS[:7]
    images = model.encode_images(PICTURES).vectors, head.encode_image(encoder.encode_images(PICTURES).vectors)
    of_class = model.encode_texts(classes).vectors, head.encode_text(encoder.encode_texts(classes).vectors)
    answers = [(image @ text.T).argmax(axis=1).tolist() for image, text in zip(images, of_class, strict=True)]
    assert answers[0] == answers[1] and len(set(answers[0])) > 2
    texts = model.encode_texts(TEXTS).vectors, head.encode_text(encoder.encode_texts(TEXTS).vectors)
    orders = [np.argsort(-(text @ image.T), axis=1)[:, :3] for image, text in zip(images, texts, strict=True)]
    assert np.array_equal(*orders)


@pytest.mark.parametrize("loss", ["clip", "siglip"])
def test_scale_and_bias_are_the_heads_as_open_clip_loads_them(dataset, tmp_path, loss):
    head = train_head(dataset, loss=loss, **QUICK).head
    told = export_head(head, dataset, tmp_path)
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    assert (
        model.logit_scale.exp().item() == pytest.approx(head.log_scale.exp().item()) == pytest.approx(told.logit_scale)
    )
    bias = None if model.logit_bias is None else model.logit_bias.item()
    assert bias == told.logit_bias == (head.bias.item() if loss == "siglip" else None)


def test_the_record_says_what_went_into_it(dataset, encoder, exported):
    _, told, folder = exported
    record = json.loads((folder / "exported.json").read_text())
    assert record == told.to_json()
    assert (record["dataset"], record["encoder_sha256"]) == (dataset.digest, encoder.record.weights_sha256)
    assert record["weights_sha256"] == opened(folder).record.weights_sha256


ResNet = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16}
TEXT = TINY_CONFIG["text_cfg"]
TIMM = {"image_size": 32, "timm_model_name": "test_resnet", "timm_pool": "avg"}
CONFIGS = {
    "a vision transformer": TINY_CONFIG,
    "a resnet": TINY_CONFIG | {"vision_cfg": ResNet},
    "a text tower of its own": TINY_CONFIG | {"custom_text": True},
    "a text projection with a bias": TINY_CONFIG | {"custom_text": True, "text_cfg": TEXT | {"proj_bias": True}},
    "no text projection": TINY_CONFIG
    | {"custom_text": True, "text_cfg": TEXT | {"proj_type": "none", "width": 16}, "init_logit_bias": -10},
    "timm with a projection": TINY_CONFIG | {"vision_cfg": TIMM | {"timm_proj": "linear", "timm_proj_bias": True}},
    "timm with two layers": TINY_CONFIG | {"vision_cfg": TIMM | {"timm_proj": "mlp"}},
    "timm without a projection": TINY_CONFIG | {"embed_dim": 384, "vision_cfg": TIMM | {"timm_proj": "none"}},
}


def model_of(config):
    settings = {key: value for key, value in config.items() if key != "custom_text"}
    return (open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP)(**settings).eval()


def dims_of(model):
    with torch.inference_mode():
        return model.encode_image(torch.zeros(1, 3, 32, 32)).shape[1], model.encode_text(
            torch.zeros(1, 16).long()
        ).shape[1]


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_head_folds_into_every_kind_of_tower(kind):
    if "timm" in kind:
        pytest.importorskip("timm", reason="the towers of timm need it")
    torch.manual_seed(0)
    model = model_of(CONFIGS[kind])
    image_dim, text_dim = dims_of(model)
    head = Head(image_dim=image_dim, text_dim=text_dim, dim=16 if "two layers" in kind else 12, loss="siglip")
    with torch.no_grad():
        for parameter in head.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    weights, config = folded(model.state_dict(), CONFIGS[kind], head)
    made = model_of(config)
    made.load_state_dict(weights)
    pictures, tokens = torch.randn(5, 3, 32, 32), torch.randint(1, 400, (5, 16))
    with torch.inference_mode():
        image, text = (model.encode_image(pictures, normalize=True), model.encode_text(tokens, normalize=True))
        torch.testing.assert_close(made.encode_image(pictures, normalize=True), head.encode_image(image))
        torch.testing.assert_close(made.encode_text(tokens, normalize=True), head.encode_text(text))
    assert made.logit_bias.item() == head.bias.item()


def test_an_mlp_head_is_refused_with_what_to_do(dataset, tmp_path):
    head = train_head(dataset, kind="mlp", steps=1, device="cpu").head
    with pytest.raises(UsageError, match=r"no matrix can stand for.*keep the encoder and use the head after it"):
        export_head(head, dataset, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_head_that_does_not_say_where_it_was_trained_is_refused(dataset, tmp_path):
    with pytest.raises(UsageError, match="one that says where it was trained"):
        export_head(Head(image_dim=16, text_dim=16), dataset, tmp_path)


def test_a_head_on_two_encoders_is_refused(tmp_path):
    spaces = [Space(kind, name, dim=4) for name in "ab" for kind in ("image", "text")]
    origin = Origin("tiny", "0" * 64, "image/a+image/b", ("text/a+text/b",), 1)
    head = Head(image_dim=8, text_dim=8, origin=origin)
    with pytest.raises(UsageError, match="one on the vectors of one encoder, found a and b"):
        export_head(head, write_dataset(tmp_path / "set", (4,), spaces), tmp_path / "model")


def test_other_weights_are_refused(dataset, tmp_path):
    head = train_head(dataset, steps=1, device="cpu").head
    with pytest.raises(ModelError, match="These are other weights"):
        export_head(head, dataset, tmp_path / "model", pretrained="random:1")
    assert not (tmp_path / "model").exists()


def test_a_folder_with_something_else_is_refused_and_one_of_its_own_is_written_again(dataset, tmp_path):
    head = train_head(dataset, steps=1, device="cpu").head
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"a new folder, or one with an exported head, found 'notes\.txt'"):
        export_head(head, dataset, tmp_path)
    first = export_head(head, dataset, tmp_path / "model")
    assert export_head(head, dataset, tmp_path / "model") == first


def test_the_verb_exports(dataset, tmp_path):
    train_head(dataset, tmp_path / "head", steps=1, device="cpu")
    words = ["export-head", str(tmp_path / "head"), "--dataset", dataset.root, "--out", str(tmp_path / "model")]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 0, found.output
    assert "vectors of 16 numbers, within" in found.stdout
    assert opened(tmp_path / "model").record.dim == 16
