"""Training a student: the published loss, exact resumption, several processes, and ends that are clear."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="students need torch")
open_clip = pytest.importorskip("open_clip", reason="students need open_clip")

from dfndr_builders.student.batches import batches  # noqa: E402
from dfndr_builders.student.network import opened_student, optimizer_of  # noqa: E402
from dfndr_builders.student.pack import packed  # noqa: E402
from dfndr_builders.student.processes import ALONE  # noqa: E402
from dfndr_builders.student.targets import targets_of  # noqa: E402
from dfndr_builders.student.train import train_student  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from support.students import RECIPE, SCALES, pictures, small_spec, write_pool, write_reinforced  # noqa: E402
from torch.nn.functional import cross_entropy, log_softmax, logsigmoid, softmax  # noqa: E402

from dfndr.errors import DataError, ModelError, UsageError  # noqa: E402
from dfndr.progress import Silent  # noqa: E402

WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("students")


@pytest.fixture(scope="module")
def dataset(folder):
    return write_reinforced(folder)


@pytest.fixture(scope="module")
def trained(folder, dataset):
    """A training that nothing disturbed, and its result."""
    out = folder / "whole"
    return out, train_student(dataset, str(out), small_spec(folder), device="cpu", cache=str(folder / "pack"))


def _seen(pixels):
    mean, std = (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    return (pixels / 255 - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)


class Interrupting(Silent):
    """Presses Ctrl-C once a training has come so far."""

    def __init__(self, steps):
        self.left = steps

    @contextmanager
    def task(self, name, total, unit="rows"):
        self.counts = name == "train student"
        yield self

    def advance(self, count=1):
        self.left -= count if self.counts else 0
        if self.left <= 0:
            raise KeyboardInterrupt


def test_a_step_has_the_loss_of_its_views_and_texts_written_out(folder, dataset, trained):
    spec = small_spec(folder, contrastive_weight=0.25, distillation_weight=0.75)
    pack, _ = packed(dataset, None, str(folder / "pack"))
    targets, student = targets_of(dataset, spec), opened_student(spec, ALONE)
    batch = next(batches(dataset, pack, spec, targets, size=student.size, tokenizer=student.tokenizer))
    loss = student.loss(batch, spec, targets.teachers)

    images = student.model.encode_image(_seen(batch.pixels), normalize=True)
    scale, expected = student.model.logit_scale.exp(), torch.zeros(())
    for kind in range(2):
        logits = scale * images @ student.model.encode_text(batch.tokens[kind], normalize=True).T
        for ours, turn in ((logits, lambda seen: seen), (logits.T, lambda seen: seen.T)):
            theirs = [
                softmax(turn(scale * batch.seen[place] @ batch.taught[kind][place].T), dim=1)
                for place, scale in enumerate(SCALES.values())
            ]
            distilled = -(sum(theirs) / 2 * log_softmax(ours, dim=1)).sum(dim=1).mean()
            expected = expected + (0.25 * cross_entropy(ours, torch.arange(16)) + 0.75 * distilled) / 2
    torch.testing.assert_close(loss, expected)


def test_the_sigmoid_form_learns_a_bias_that_the_folder_keeps(folder, dataset, trained):
    with pytest.raises(UsageError, match="a logit bias"):
        train_student(dataset, str(folder / "unsure"), small_spec(folder, loss="sigmoid-distillation"), device="cpu")
    spec = small_spec(folder, loss="sigmoid-distillation", teachers=("one=10,-3", "two=12,-4"), contrastive_weight=0.5)
    cache = str(folder / "pack")
    targets, student = targets_of(dataset, spec), opened_student(spec, ALONE)
    how = {"size": student.size, "tokenizer": student.tokenizer}
    batch = next(batches(dataset, packed(dataset, None, cache)[0], spec, targets, **how))
    images, texts, scale, bias = student.model(_seen(batch.pixels), batch.tokens.flatten(0, 1))
    assert (scale.item(), bias.item()) == pytest.approx((10, -10))
    expected = torch.zeros(())
    for kind, ours in enumerate(texts.chunk(2)):
        logits = scale * images @ ours.T + bias
        theirs = [
            (teacher.scale * batch.seen[place] @ batch.taught[kind][place].T + teacher.bias).sigmoid()
            for place, teacher in enumerate(targets.teachers)
        ]
        chances, signs = sum(theirs) / 2, 2 * torch.eye(16) - 1
        distilled = -(chances * logsigmoid(logits) + (1 - chances) * logsigmoid(-logits)).sum() / 16
        expected = expected + distilled - 0.5 * logsigmoid(signs * logits).sum() / 16
    torch.testing.assert_close(student.loss(batch, spec, targets.teachers), expected)
    train_student(dataset, str(folder / "sigmoid"), spec, device="cpu", cache=cache)
    model = open_clip.create_model(f"local-dir:{folder / 'sigmoid'}")
    assert model.logit_bias.item() != -10 and model.logit_bias.item() == pytest.approx(-10, abs=0.1)


def test_under_autocast_the_loss_is_nearly_that_of_full_precision(folder, dataset, trained):
    spec = small_spec(folder)
    targets, student = targets_of(dataset, spec), opened_student(spec, ALONE)
    how = {"size": student.size, "tokenizer": student.tokenizer}
    batch = next(batches(dataset, packed(dataset, None, str(folder / "pack"))[0], spec, targets, **how))
    losses = [
        student.loss(batch, small_spec(folder, precision=precision), targets.teachers).item()
        for precision in ("fp32", "bf16")
    ]
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.02)


def test_an_interrupted_training_ends_in_the_same_weights_bit_for_bit(folder, dataset, trained):
    out = str(folder / "again")
    how = {"device": "cpu", "every": 3, "cache": str(folder / "pack")}
    with pytest.raises(KeyboardInterrupt):
        train_student(dataset, out, small_spec(folder), progress=Interrupting(7), **how)
    assert (folder / "again.work" / "checkpoint.safetensors").is_file() and not Path(out).exists()
    assert train_student(dataset, out, small_spec(folder), **how) == trained[1]
    assert Path(out, WEIGHTS).read_bytes() == (trained[0] / WEIGHTS).read_bytes()
    assert not (folder / "again.work").exists()


def test_the_folder_is_a_model_of_open_clip_with_its_record_curve_and_card(folder, dataset, trained):
    out, result = trained
    model = open_clip.create_model(f"local-dir:{out}")
    weights = load_file(out / WEIGHTS)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    record = json.loads((out / "training.json").read_text())
    assert record["dataset"]["digest"] == dataset.digest and record["result"]["weights_sha256"] == result.weights_sha256
    assert {name: one["scale"] for name, one in record["teachers"].items()} == SCALES
    lines = (out / "curve.csv").read_text().splitlines()
    assert len(lines) == 9 and [loss for _, loss in result.losses] == [float(line.split(",")[1]) for line in lines[1:]]
    card = (out / "README.md").read_text()
    assert result.weights_sha256 in card and "| one | tiny, random:0 | 30.0 | CC0-1.0 |" in card and "$" not in card


def test_a_finished_training_is_read_back_and_another_is_refused(folder, dataset, trained):
    out, result = trained
    before = (out / WEIGHTS).stat().st_mtime_ns
    assert train_student(dataset, str(out), small_spec(folder), device="cpu") == result
    assert (out / WEIGHTS).stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="another training's model"):
        train_student(dataset, str(out), small_spec(folder, seed=1), device="cpu")


def test_training_goes_on_from_a_students_folder(folder, dataset, trained):
    spec = small_spec(folder, samples_seen=16, learning_rate=1e-12)
    start = f"local-dir:{trained[0]}"
    train_student(dataset, str(folder / "tuned"), replace(spec, model=start, pretrained=start), device="cpu")
    before, after = load_file(trained[0] / WEIGHTS), load_file(folder / "tuned" / WEIGHTS)
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-6)


def test_distillation_makes_the_loss_fall(folder, dataset):
    spec = small_spec(folder, samples_seen=16 * 60, learning_rate=5e-3)
    losses = [loss for _, loss in train_student(dataset, str(folder / "long"), spec, device="cpu").losses]
    assert sum(losses[-5:]) < 0.98 * sum(losses[:5])


def test_gains_biases_and_the_scale_do_not_decay(folder):
    student = opened_student(small_spec(folder), ALONE)
    fixed, decayed = optimizer_of(student.model, small_spec(folder)).param_groups
    assert (fixed["weight_decay"], decayed["weight_decay"]) == (0.0, 0.2)
    names = {id(one): name for name, one in student.model.named_parameters()}
    in_fixed = {names[id(one)] for one in fixed["params"]}
    assert "logit_scale" in in_fixed and "visual.ln_pre.weight" in in_fixed and "token_embedding.weight" not in in_fixed
    assert all(
        "weight" in names[id(one)] or "proj" in names[id(one)] or "embed" in names[id(one)] for one in decayed["params"]
    )
    assert len(in_fixed) + len(decayed["params"]) == len(names)


def test_a_model_that_is_not_there_is_a_clear_error(folder, dataset):
    for name, expected in (("nowhere.json", "nowhere.json: expected to read it"), ("ViT-Z-9", "no built-in model")):
        with pytest.raises(DataError, match=expected):
            train_student(dataset, str(folder / "none"), replace(small_spec(folder), model=name), device="cpu")


def test_a_loss_that_is_not_finite_ends_the_training(folder, dataset):
    spec = small_spec(folder, learning_rate=1e30, warmup_steps=0)
    with pytest.raises(ModelError, match=r"expected (a finite loss|finite weights)"):
        train_student(dataset, str(folder / "wild"), spec, device="cpu")
    assert not (folder / "wild").exists()


def test_pictures_come_from_a_recipe_of_ones_own_where_the_datasets_names_none(tmp_path, trained):
    write_pool(tmp_path / "here", pictures())
    (tmp_path / "here" / "mine.toml").write_text(RECIPE.format(path="pool.parquet"))
    moved, spec = write_reinforced(tmp_path, pool=tmp_path / "gone.parquet"), small_spec(tmp_path)
    with pytest.raises(DataError, match="none for 40 of 40"):
        train_student(moved, str(tmp_path / "out"), spec, device="cpu")
    recipe = str(tmp_path / "here" / "mine.toml")
    found = train_student(moved, str(tmp_path / "out"), spec, recipe=recipe, device="cpu")
    assert found.weights_sha256 == trained[1].weights_sha256


def test_two_processes_of_torchrun_train_what_one_does(folder, dataset, trained):
    spec = small_spec(folder)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d"]
    command += [
        "--rdzv-endpoint=localhost:0",
        "-m",
        "dfndr",
        "train-student",
        dataset.root,
        "--out",
        str(folder / "both"),
    ]
    command += ["--model", spec.model, "--samples-seen", "128", "--batch-size", "16", "--warmup-steps", "2"]
    command += ["--threads", "1", "--device", "cpu", "--cache", str(folder / "pack")]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    alone, both = load_file(trained[0] / WEIGHTS), load_file(folder / "both" / WEIGHTS)
    for name, tensor in alone.items():
        torch.testing.assert_close(both[name], tensor, rtol=1e-3, atol=1e-4)
    said = json.loads((folder / "both" / "training.json").read_text())["result"]["losses"]
    assert [loss for _, loss in said] == pytest.approx([loss for _, loss in trained[1].losses], rel=1e-4)
