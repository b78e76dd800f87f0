"""Training a head on real little datasets whose texts are a known map of their images."""

from __future__ import annotations

import csv
import json
import math
from contextlib import contextmanager

import numpy as np
import pytest
from support.tiny import IMAGE, TEXT, write_dataset

torch = pytest.importorskip("torch", reason="heads need torch")
pytest.importorskip("safetensors", reason="heads are kept as safetensors")

from dfndr.errors import DataError, UsageError  # noqa: E402
from dfndr.format.schema import Space  # noqa: E402
from dfndr.heads.model import Head  # noqa: E402
from dfndr.heads.plan import Plan  # noqa: E402
from dfndr.heads.train import train_head  # noqa: E402
from dfndr.loader import Loader  # noqa: E402
from dfndr.losses.contrastive import LOSSES, clip_loss  # noqa: E402
from dfndr.seeds import rng_for  # noqa: E402

CAPTION = Space("caption", "enc", dim=8, per_row=2)
QUICK = {"steps": 150, "batch_size": 32, "learning_rate": 1e-2, "device": "cpu"}


def turned(root, spaces=(IMAGE, TEXT), *, train=64, validation=16, change=None, **given):
    """Write a dataset in which a text's vector is its image's, turned by one and the same rotation, and some noise."""
    rng = rng_for(0, "turned")
    images = rng.standard_normal((train + validation, 8))
    rotation = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    texts = images @ rotation + 0.02 * rng.standard_normal(images.shape)
    vectors = {"image/enc": images, "text/enc": texts}
    vectors = {name: rows / np.linalg.norm(rows, axis=1, keepdims=True) for name, rows in vectors.items()}
    if change:
        change(vectors)
    counts, splits = (train, validation), ("train", "validation")
    kept = [place for place in (0, 1) if counts[place]]
    shards = [counts[place] for place in kept]
    return write_dataset(root, shards, spaces, vectors=vectors, splits=[splits[place] for place in kept], **given)


def weights(head):
    return torch.cat([parameter.detach().reshape(-1) for parameter in head.parameters()])


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize("loss", ["clip", "siglip"])
def test_a_head_learns_a_rotation_that_cached_vectors_do_not_know(tmp_path, kind, loss):
    result = train_head(turned(tmp_path), kind=kind, loss=loss, **{**QUICK, "steps": 400})
    (found,) = result.metrics
    assert found.before.image_to_text[1] < 20 and found.before.text_to_image[1] < 20
    assert found.after.image_to_text[1] > 80 and found.after.text_to_image[1] > 80
    assert result.curve[-1].loss < result.curve[0].loss / 3


def test_the_same_seed_gives_the_same_head_and_another_seed_another_one(tmp_path):
    dataset = turned(tmp_path)
    one, two, other = (train_head(dataset, kind="mlp", seed=seed, **QUICK) for seed in (1, 1, 2))
    assert torch.equal(weights(one.head), weights(two.head)) and one.curve == two.curve
    assert not torch.equal(weights(one.head), weights(other.head))


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_vectors_that_are_held_in_memory_give_the_same_head(tmp_path, kind):
    dataset = turned(tmp_path, (IMAGE, TEXT, CAPTION))
    one, other = (train_head(dataset, kind=kind, resident=resident, **QUICK) for resident in (True, False))
    assert torch.equal(weights(one.head), weights(other.head)) and one.curve == other.curve


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_vectors_that_are_held_there_give_the_same_head(tmp_path):
    dataset, given = turned(tmp_path, (IMAGE, TEXT, CAPTION)), {**QUICK, "device": "cuda"}
    one, two, other = (train_head(dataset, resident=resident, **given) for resident in (True, "auto", False))
    assert torch.equal(weights(one.head), weights(other.head)) and torch.equal(weights(one.head), weights(two.head))


def test_the_validation_split_has_no_say_in_training(tmp_path):
    def blank(vectors):
        vectors["image/enc"][64:] = np.eye(8)[0]

    one, other = train_head(turned(tmp_path / "a"), **QUICK), train_head(turned(tmp_path / "b", change=blank), **QUICK)
    assert torch.equal(weights(one.head), weights(other.head))
    assert one.metrics != other.metrics


def test_the_first_loss_is_that_of_the_loaders_first_batch_meaned_over_the_text_spaces(tmp_path):
    dataset = turned(tmp_path, (IMAGE, TEXT, CAPTION))
    spaces = ["image/enc", "text/enc", "caption/enc"]
    loader = Loader(
        dataset.split("train"), spaces=spaces, batch_size=16, shuffle="exact", seed=5, drop_last=True, pick="random"
    )
    first = next(iter(loader))
    image, text, caption = (torch.nn.functional.normalize(first[name].double(), dim=1) for name in spaces)
    expected = (clip_loss(100 * image @ text.T) + clip_loss(100 * image @ caption.T)) / 2
    result = train_head(dataset, steps=1, batch_size=16, seed=5, device="cpu")
    assert result.curve[0].loss == pytest.approx(expected.item(), rel=1e-4)
    assert [found.text for found in result.metrics] == ["text/enc", "caption/enc"]


def test_a_clip_head_starts_at_its_encoders_own_logit_scale_and_a_siglip_head_at_ten(tmp_path):
    dataset = turned(tmp_path)
    assert dataset.manifest.encoders["enc"].logit_scale == 100
    scales = [train_head(dataset, loss=loss, steps=1, device="cpu").curve[0].logit_scale for loss in LOSSES]
    assert scales == pytest.approx([100, 10])


def test_everything_is_written_and_says_what_was_done(tmp_path):
    dataset = turned(tmp_path / "set")
    result = train_head(dataset, tmp_path / "head", **QUICK, seed=3)
    back = Head.load(tmp_path / "head")
    assert torch.equal(weights(back), weights(result.head))
    record = json.loads((tmp_path / "head" / "head.json").read_text())
    origin = record["origin"]
    assert (origin["dataset"], origin["digest"], origin["steps"]) == ("tiny", dataset.digest, 150)
    assert (origin["image"], origin["text"], origin["training"]["seed"]) == ("image/enc", ["text/enc"], 3)
    assert origin["metrics"] == result.to_json()["metrics"]
    with open(tmp_path / "head" / "curve.csv", newline="") as file:
        points = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert [point["loss"] for point in points] == [point.loss for point in result.curve]
    assert [point["step"] for point in points] == list(range(1, 151))
    pytest.importorskip("matplotlib", reason="the picture needs matplotlib")
    assert (tmp_path / "head" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_training_again_writes_the_same_bytes(tmp_path):
    dataset = turned(tmp_path / "set")
    for name in ("one", "two"):
        train_head(dataset, tmp_path / name, **QUICK)
    for file in ("head.safetensors", "head.json", "curve.csv"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def row_of_step(dataset, step):
    """Return a row of the train split that batches of two first show at this step, counted from 1."""
    loader = Loader(dataset, ["image/enc"], batch_size=2, shuffle="exact", seed=0, drop_last=True)
    return next(int(batch.rows[0]) for number, batch in enumerate(loader, 1) if number == step)


def test_a_loss_that_is_not_finite_ends_training_with_the_last_good_weights(tmp_path):
    row = row_of_step(turned(tmp_path / "whole").split("train"), 30)

    def spoil(vectors):
        vectors["image/enc"][row] = np.nan

    dataset = turned(tmp_path / "spoilt", change=spoil)
    with pytest.raises(
        DataError, match=r"training, step 30: expected finite numbers, found a loss of nan. .*step 20 are"
    ):
        train_head(dataset, tmp_path / "head", epochs=1, batch_size=2, device="cpu")
    head = Head.load(tmp_path / "head")
    assert head.origin.steps == 20 and bool(weights(head).isfinite().all())
    assert len((tmp_path / "head" / "curve.csv").read_text().splitlines()) == 21


def test_a_loss_that_is_never_finite_leaves_nothing_behind(tmp_path):
    def spoil(vectors):
        vectors["text/enc"][:64] = np.inf

    with pytest.raises(DataError, match="training, step 1"):
        train_head(turned(tmp_path / "set", change=spoil), tmp_path / "head", **QUICK)
    assert not (tmp_path / "head").exists()


class Heard:
    """A progress that remembers."""

    def __init__(self):
        self.said, self.done, self.total = [], 0, None

    @contextmanager
    def task(self, name, total, unit="rows"):
        self.total, self.unit = total, unit
        yield self

    def say(self, text):
        self.said.append(text)

    def advance(self, count=1):
        self.done += count

    def note(self, text):
        self.noted = text


def test_progress_counts_every_step_and_shows_the_loss(tmp_path):
    heard = Heard()
    result = train_head(turned(tmp_path), epochs=3, batch_size=20, device="cpu", progress=heard)
    assert (heard.done, heard.total, heard.unit, len(result.curve)) == (9, 9, "steps", 9)
    assert heard.noted == f"loss {result.curve[-1].loss:.3f}"
    assert heard.said == []


def test_without_a_validation_split_training_goes_on_and_says_that_nothing_is_measured(tmp_path):
    heard = Heard()
    result = train_head(turned(tmp_path / "set", validation=0), tmp_path / "head", **QUICK, progress=heard)
    assert result.metrics == () and heard.said == ["The validation split is empty, so retrieval is not measured."]
    assert Head.load(tmp_path / "head").origin.metrics == ()


def test_a_batch_larger_than_the_split_is_the_whole_split(tmp_path):
    result = train_head(turned(tmp_path), epochs=2, batch_size=1000, device="cpu")
    assert len(result.curve) == 2 and result.head.origin.training["batch_size"] == 64


def test_a_train_split_of_one_row_is_refused(tmp_path):
    with pytest.raises(UsageError, match="expected 2 rows or more, found 1"):
        train_head(turned(tmp_path, train=1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"steps": 0},
        {"batch_size": 1},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"weight_decay": -1.0},
        {"warmup": 1.0},
        {"device": "abacus"},
        {"kind": "cubic"},
        {"loss": "hinge"},
    ],
)
def test_arguments_that_make_no_sense_are_refused(tmp_path, wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        train_head(turned(tmp_path), **wrong)


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine():
    plan = Plan(None, 2, 4, 1.0, 0.0, 0.25, 0).for_rows(18)
    assert (plan.batch_size, plan.steps) == (4, 8)
    falling = [(1 + math.cos(math.pi * step / 6)) / 2 for step in range(6)]
    assert [plan.rate(step) for step in range(8)] == pytest.approx([0.5, 1.0, *falling])


def test_a_place_that_holds_something_else_is_refused_before_anything_is_trained(tmp_path):
    dataset = turned(tmp_path / "set")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("precious")
    for out in (tmp_path / "thesis", tmp_path / "thesis" / "thesis.tex"):
        with pytest.raises(UsageError, match="a new folder, or one with a head"):
            train_head(dataset, out, **QUICK)
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]
