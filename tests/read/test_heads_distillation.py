"""Heads that learn from what teachers see, and heads on several encoders' vectors at once."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.tiny import write_dataset

torch = pytest.importorskip("torch", reason="heads need torch")
pytest.importorskip("safetensors", reason="heads are kept as safetensors")

from typer.testing import CliRunner  # noqa: E402

from dfndr.cli import app  # noqa: E402
from dfndr.errors import UsageError  # noqa: E402
from dfndr.format.schema import Space  # noqa: E402
from dfndr.heads.evaluate import compare, evaluate_retrieval  # noqa: E402
from dfndr.heads.model import Head  # noqa: E402
from dfndr.heads.scores import head_scores  # noqa: E402
from dfndr.heads.train import train_head  # noqa: E402
from dfndr.loader import Loader  # noqa: E402
from dfndr.seeds import rng_for  # noqa: E402

VIEWS, CAPTIONS = 3, 2
KINDS = (("image", VIEWS), ("text", 1), ("caption", CAPTIONS))
ENCODERS = {"student": 8, "one": 6, "two": 5}
SPACES = tuple(
    Space(kind, encoder, dim=dim, per_row=per_row, dtype="float32")
    for encoder, dim in ENCODERS.items()
    for kind, per_row in KINDS
)
IMAGE, TEXTS = "image/student", ["text/student", "caption/student"]
QUICK = {"steps": 80, "batch_size": 32, "learning_rate": 1e-2, "device": "cpu"}
SMALL = {"teachers": ["one=20", "two=30"], "loss": "distillation"}


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def taught(root, spaces=SPACES):
    """Each row has a meaning; teachers see it in pictures and texts alike, the student sees texts turned."""
    rng, rows = rng_for(0, "taught"), 80
    meaning = rng.standard_normal((rows, 8))
    vectors = {}
    for encoder, dim in ENCODERS.items():
        seen = meaning @ (np.eye(8) if encoder == "student" else rng.standard_normal((8, dim)))
        turn = np.linalg.qr(rng.standard_normal((8, 8)))[0] if encoder == "student" else np.eye(dim)
        for kind, per_row in KINDS:
            noise = 0.05 * rng.standard_normal((rows, per_row, dim))
            vectors[f"{kind}/{encoder}"] = unit(seen[:, None] @ (np.eye(dim) if kind == "image" else turn) + noise)
    return write_dataset(root, (64, 16), spaces, vectors=vectors, splits=["train", "validation"])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return taught(tmp_path_factory.mktemp("taught"))


def first_batch(dataset, encoders=("student", "one", "two")):
    names = [f"{kind}/{encoder}" for encoder in encoders for kind, _ in KINDS]
    given = dict(batch_size=16, shuffle="exact", seed=5, drop_last=True)
    return next(iter(Loader(dataset.split("train"), names, **given)))


def slow_loss(batch, kind, chosen, *, scale):
    """Cross-entropy of the student's similarities against the teachers', sum by sum; `chosen` has teachers of a row."""
    given = {name: np.asarray(batch[name], dtype=np.float64) for name in batch.vectors}
    ours = scale * unit(given[IMAGE]) @ unit(given[f"{kind}/student"]).T
    seen = [20 * given["image/one"] @ given[f"{kind}/one"].T, 30 * given["image/two"] @ given[f"{kind}/two"].T]
    total = 0.0
    for row, teachers in enumerate(chosen):
        for way in (lambda logits, row=row: logits[row], lambda logits, row=row: logits[:, row]):
            targets = [np.exp(way(seen[number])) / np.exp(way(seen[number])).sum() for number in teachers]
            total -= np.mean(targets, axis=0) @ (way(ours) - np.log(np.exp(way(ours)).sum()))
    return total / (2 * len(chosen))


@pytest.mark.parametrize("per_row", [False, True])
def test_the_first_loss_is_that_of_the_very_views_and_captions_of_the_first_batch(dataset, per_row):
    batch = first_batch(dataset)
    drawn = batch.drawn("teacher", 2)
    assert set(drawn) == {0, 1}
    chosen = [(number,) for number in drawn] if per_row else [(0, 1)] * len(batch)
    expected = np.mean([slow_loss(batch, kind, chosen, scale=100) for kind in ("text", "caption")])
    result = train_head(
        dataset, steps=1, batch_size=16, seed=5, device="cpu", image=IMAGE, teacher_per_row=per_row, **SMALL
    )
    assert result.curve[0].loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8"])
def test_teachers_may_be_stored_in_any_type(dataset, tmp_path, dtype):
    stored = taught(tmp_path, [replace(space, dtype=dtype) for space in SPACES])
    given = dict(steps=1, batch_size=16, seed=5, device="cpu", image=IMAGE, **SMALL)
    exact, rough = (train_head(each, **given).curve[0].loss for each in (dataset, stored))
    assert rough == pytest.approx(exact, rel=0.05) and rough != exact


@pytest.mark.parametrize("given", [SMALL, {**SMALL, "teacher_per_row": True}, {**SMALL, "contrastive_weight": 0.5}])
def test_a_head_learns_from_teachers_what_its_encoder_does_not_know(dataset, given):
    result = train_head(dataset, image=IMAGE, **given, **QUICK)
    assert [found.text for found in result.metrics] == TEXTS
    for found in result.metrics:
        assert found.before.image_to_text[1] < 25 and found.after.image_to_text[1] > 70


def test_a_head_learns_by_the_sigmoid_form_too(dataset):
    given = {"loss": "sigmoid-distillation", "teachers": ["one=15,-10", "two=15,-10"], **QUICK}
    result = train_head(dataset, image=IMAGE, **{**given, "steps": 200})
    assert result.metrics[0].after.image_to_text[1] > 70 and result.head.loss == "siglip"


def test_all_encoders_with_the_spaces_teach_with_their_recorded_scales_and_the_origin_says_so(dataset, tmp_path):
    result = train_head(dataset, tmp_path, image=IMAGE, loss="distillation", steps=2, batch_size=16, device="cpu")
    origin = Head.load(tmp_path).origin
    assert origin.training["teachers"] == [["one", 100.0, None], ["student", 100.0, None], ["two", 100.0, None]]
    assert origin.training["loss"] == "distillation" and "distillation loss" in str(result)


def test_the_same_arguments_give_the_same_head(dataset):
    one, two = (
        train_head(dataset, image=IMAGE, teacher_per_row=True, **SMALL, **{**QUICK, "steps": 30}) for _ in range(2)
    )
    assert one.curve == two.curve


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"teachers": ["one"]}, "expected a loss that learns from them"),
        ({"loss": "distillation", "teachers": ["nobody"]}, "teacher 'nobody': expected one of: one, student, two"),
        ({"loss": "distillation", "teachers": ["one", "one=3"]}, "expected different encoders"),
        ({"loss": "distillation", "teachers": ["one=much"]}, "expected ENCODER, ENCODER=SCALE or ENCODER=SCALE,BIAS"),
        ({"loss": "distillation", "teachers": ["one=0"]}, "a finite scale above 0"),
        ({"loss": "sigmoid-distillation", "teachers": ["one=10"]}, "one: expected a logit bias"),
        ({"loss": "distillation", "distillation_weight": 0.0}, "not both 0"),
        ({"loss": "hinge"}, "expected one of"),
    ],
)
def test_teachers_that_cannot_teach_are_refused(dataset, given, said):
    with pytest.raises(UsageError, match=said):
        train_head(dataset, image=IMAGE, **given)


def test_a_teacher_without_one_kind_of_texts_is_no_teacher(tmp_path):
    spaces = (Space("image", "a", dim=4), Space("text", "a", dim=4), Space("image", "b", dim=4))
    with pytest.raises(UsageError, match="teacher 'b': expected one of: a"):
        train_head(write_dataset(tmp_path, (8,), spaces), image="image/a", loss="distillation", teachers=["b"])


JOINED = "image/one+image/two"


def test_joined_encoders_are_measured_on_their_vectors_side_by_side(dataset):
    rows = dataset.split("validation")
    image, text = (
        unit(np.concatenate([rows.vectors(f"{kind}/{name}")[:, 0] for name in ("one", "two")], axis=1))
        for kind in ("image", "text")
    )
    scores = image @ text.T
    right = np.diag(scores)
    found = evaluate_retrieval(dataset, image=JOINED, text="text/one+text/two")
    assert found.image_to_text[1] == pytest.approx(100 * (right == scores.max(axis=1)).mean())
    assert found.text_to_image[1] == pytest.approx(100 * (right == scores.max(axis=0)).mean())


def test_a_head_on_joined_encoders_starts_as_their_vectors_and_is_measured_scored_and_loaded_like_any_other(
    dataset, tmp_path
):
    result = train_head(dataset, tmp_path, image=JOINED, **QUICK)
    (found, _), head = result.metrics, Head.load(tmp_path)
    assert (head.image_dim, head.text_dim, head.origin.image) == (11, 11, JOINED)
    assert found.text == "text/one+text/two"
    assert found.before == evaluate_retrieval(dataset, image=JOINED, text=found.text)
    assert compare(dataset, tmp_path).after == found.after
    parts = [[dataset.vectors(f"{kind}/{name}") for name in ("one", "two")] for kind in ("image", "text")]
    image, text = (np.concatenate(each, axis=2) for each in parts)
    expected = np.einsum("nvd,nwd->n", head.encode_image(image), head.encode_text(text)) / VIEWS
    assert head_scores(dataset, tmp_path) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("image/one+image/one", "expected different spaces of one modality"),
        ("image/one+text/two", "expected different spaces of one modality"),
        ("image/one+image/nobody", "no such space"),
    ],
)
def test_spaces_that_do_not_join_are_refused(dataset, image, said):
    with pytest.raises(UsageError, match=said):
        train_head(dataset, image=image)


def test_the_verb_distils(dataset, tmp_path):
    words = ["train-head", dataset.root, "--out", str(tmp_path), "--image", JOINED, "--loss", "distillation"]
    words += [
        "--teachers",
        "one=20",
        "--teachers",
        "two=30",
        "--contrastive-weight",
        "0.3",
        "--distillation-weight",
        "0.7",
    ]
    found = CliRunner().invoke(app, [*words, "--teacher-per-row", "--epochs", "1", "--device", "cpu", "--json"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["steps"] == 1
    training = Head.load(tmp_path).origin.training
    assert (training["contrastive_weight"], training["distillation_weight"]) == (0.3, 0.7)
    assert training["teachers"] == [["one", 20.0, None], ["two", 30.0, None]] and training["teacher_per_row"]
