"""Scorers: what they learn from planted labels, and which arguments of the training they refuse."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import scorers
from support.scorers import DIM, DIRECTION, FITS, ROWS, vectors_of

safetensors = pytest.importorskip("safetensors.numpy", reason="scorers are kept as safetensors")

import dfndr.cli  # noqa: E402
import dfndr.progress  # noqa: E402
from dfndr.errors import UsageError  # noqa: E402
from dfndr.heads.logistic import fit_logistic, roc_auc  # noqa: E402
from dfndr.heads.scorer import Scorer  # noqa: E402
from dfndr.heads.scorer_train import train_scorer  # noqa: E402
from dfndr.heads.scores import head_scores  # noqa: E402
from dfndr.seeds import rng_for  # noqa: E402

planted = scorers.planted


def column(dataset, name):
    return dataset.rows([name])[name].to_pylist()


def auc_by_pairs(scores, positive):
    pairs = [(one > other) + (one == other) / 2 for one in scores[positive] for other in scores[~positive]]
    return sum(pairs) / len(pairs) if pairs else None


@given(
    scores=st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.7, 1.0]), min_size=1, max_size=30),
    bits=st.integers(0, 2**30 - 1),
)
def test_roc_auc_is_the_share_of_pairs_in_the_right_order_a_tie_being_half(scores, bits):
    positive = np.array([bits >> place & 1 == 1 for place in range(len(scores))])
    found, expected = roc_auc(np.array(scores), positive), auc_by_pairs(np.array(scores), positive)
    assert found == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("l2", [1e-6, 1e-2, 1.0])
def test_the_fit_is_where_the_gradient_of_the_stated_loss_is_zero(l2, balanced):
    vectors, rng = vectors_of(offset=1.0), rng_for(1, "fit")
    positive = vectors @ DIRECTION + 0.3 * rng.standard_normal(ROWS) > 0.6
    blocks = [(vectors[:17], positive[:17]), (vectors[17:17], positive[17:17]), (vectors[17:], positive[17:])]
    fit = fit_logistic(lambda: iter(blocks), DIM, l2=l2, balanced=balanced)
    mean, spread = vectors.mean(axis=0), math.sqrt(vectors.var(axis=0).mean())
    inputs, weight = (vectors - mean) / spread, fit.weight * spread
    bias = fit.bias + fit.weight @ mean
    counts = np.array([(~positive).sum(), positive.sum()])
    shares = (0.5 / counts if balanced else np.full(2, 1 / ROWS))[positive.astype(int)]
    logits = inputs @ weight + bias
    loss = (shares * np.log1p(np.exp(np.where(positive, -logits, logits)))).sum() + l2 / 2 * weight @ weight
    slope = shares * (1 / (1 + np.exp(-logits)) - positive)
    np.testing.assert_allclose(slope @ inputs + l2 * weight, 0, atol=1e-6)
    assert slope.sum() == pytest.approx(0, abs=1e-6)
    assert fit.loss == pytest.approx(loss) and fit.passes < 30
    assert (fit.rows, fit.positives) == (ROWS, positive.sum())


def test_classes_that_a_plane_parts_are_parted_and_the_weights_stay_finite():
    vectors = vectors_of()
    positive = vectors @ DIRECTION > 0.1
    fit = fit_logistic(lambda: iter([(vectors, positive)]), DIM, l2=1e-8)
    logits = vectors @ fit.weight + fit.bias
    assert np.isfinite(fit.weight).all() and ((logits > 0) == positive).mean() > 0.999


def test_the_planted_direction_is_found_and_told_apart_on_rows_held_out(planted):
    result = train_scorer(planted, labels="good")
    weight, found = result.scorer.weight, result.held_out
    assert weight @ DIRECTION / np.linalg.norm(weight) > 0.97
    labels = np.array(column(planted, "good"))
    assert (result.fit.rows, result.fit.positives) == (600, labels[:600].sum())
    assert (found.rows, found.positives) == (300, labels[600:].sum())
    logits = planted.vectors("image/enc")[600:, 0].astype(np.float64)
    logits /= np.linalg.norm(logits, axis=1, keepdims=True)
    logits = logits @ weight + result.scorer.bias
    assert found.auc == pytest.approx(auc_by_pairs(logits, labels[600:]))
    assert found.accuracy == pytest.approx(((logits >= 0) == labels[600:]).mean())
    assert found.majority == pytest.approx(max(labels[600:].mean(), 1 - labels[600:].mean()))
    assert found.auc > 0.85 and found.accuracy > found.majority


def test_the_rows_held_out_have_no_say_in_training(planted):
    labels = np.array(column(planted, "good"))
    turned = labels.copy()
    turned[600:] = ~turned[600:]
    one, other = train_scorer(planted, labels=labels), train_scorer(planted, labels=turned)
    assert np.array_equal(one.scorer.weight, other.scorer.weight)
    assert other.held_out.auc == pytest.approx(1 - one.held_out.auc)


def test_rows_without_a_label_take_no_part(planted):
    result = train_scorer(planted, labels="some")
    assert result.fit.rows == sum(label is not None for label in column(planted, "some")[:600])
    assert result.held_out.rows == sum(label is not None for label in column(planted, "some")[600:])


def test_uids_of_positives_are_labels_and_those_that_are_not_there_are_told(planted):
    uids, labels = column(planted, "uid"), column(planted, "good")
    said = []

    class Heard:
        task = dfndr.progress.SILENT.task

        def say(self, text):
            said.append(text)

    positives = [uid for uid, label in zip(uids, labels, strict=True) if label]
    result = train_scorer(planted, positives=[*positives, *positives[:9], "f" * 32], progress=Heard())
    assert np.array_equal(result.scorer.weight, train_scorer(planted, labels="good").scorer.weight)
    assert said == [f"1 of {len(positives) + 1} uids are not in the dataset."]


def test_a_share_is_held_out_by_a_hash_of_uid_and_seed(planted):
    def rows(dataset, **given):
        result = train_scorer(dataset, labels="good", **given)
        assert result.fit.rows + result.held_out.rows == len(dataset)
        return result.held_out.rows, result.scorer.weight.tolist()

    train = planted.split("train")
    one, again, other = (rows(train, seed=seed) for seed in (1, 1, 2))
    assert one == again != other
    assert abs(one[0] - 120) < 5 * math.sqrt(600 * 0.2 * 0.8)
    half = rows(planted, held_out=0.5)
    assert abs(half[0] - 450) < 5 * math.sqrt(900 / 4)


def test_both_classes_weigh_the_same_where_they_are_to(planted):
    rare = np.array(column(planted, "good")) & (np.arange(ROWS) % 10 == 0)
    plain, balanced = (train_scorer(planted, labels=rare, balanced=flag) for flag in (False, True))
    scores = [head_scores(planted, result.scorer)[:600].mean() for result in (plain, balanced)]
    assert scores[0] == pytest.approx(rare[:600].mean(), rel=1e-4)
    assert scores[1] > 2 * scores[0]


def test_rows_without_captions_are_not_learned_from(planted):
    result = train_scorer(planted, space="caption/enc", labels="good")
    assert (result.fit.rows, result.held_out.rows) == (450, 225)


def test_training_writes_the_same_bytes_again_and_what_is_loaded_scores_the_same_bits(planted, tmp_path):
    for name in ("one", "two"):
        result = train_scorer(planted, tmp_path / name, labels="good", seed=4)
    for file in ("scorer.json", "scorer.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    back = Scorer.load(tmp_path / "one")
    assert np.array_equal(back.weight, result.scorer.weight)
    assert (back.bias, back.fits, back.origin) == (result.scorer.bias, FITS, result.scorer.origin)
    assert np.array_equal(head_scores(planted, tmp_path / "one"), head_scores(planted, result.scorer))
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["scorer.json", "scorer.safetensors"]
    record = json.loads((tmp_path / "one" / "scorer.json").read_text())
    assert record["origin"]["metrics"]["held_out"]["auc"] == result.held_out.auc
    assert (record["origin"]["space"], record["origin"]["digest"]) == ("image/enc", planted.digest)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "expected labels or positives, found neither"),
        ({"labels": "good", "positives": []}, "found both"),
        ({"labels": "always"}, "expected rows of both classes, found 600 positive and 0 negative"),
        ({"positives": []}, "found 0 positive and 600 negative"),
        ({"positives": ["f" * 32]}, "found 0 positive"),
        ({"labels": "text"}, "expected a column of booleans: good, some, always, found 'text'"),
        ({"labels": "nothing"}, "found 'nothing'"),
        ({"labels": np.ones(5, dtype=bool)}, r"expected 900 booleans, found bool of shape \(5,\)"),
        ({"labels": np.ones(ROWS)}, "expected 900 booleans, found float64"),
        ({"labels": "good", "space": "image/none"}, "image/none"),
        ({"labels": "good", "l2": 0.0}, "l2: expected a number above 0"),
        ({"labels": "good", "l2": math.nan}, "l2"),
        ({"labels": "good", "held_out": 1.0}, "held_out: expected a share"),
    ],
    ids=range(13),
)
def test_arguments_that_make_no_sense_are_refused(planted, wrong, message):
    with pytest.raises(UsageError, match=message):
        train_scorer(planted, **wrong)


def test_held_out_rows_of_one_class_have_no_auc(planted):
    labels = np.array(column(planted, "good"))
    labels[600:] = False
    result = train_scorer(planted, labels=labels)
    assert result.held_out.auc is None and result.held_out.majority == 1
    assert "not defined" in str(result)


def test_the_verb_trains_and_prints_what_was_measured(planted, tmp_path, monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["dfndr", "train-scorer", planted.root, *map(str, words)])
        try:
            dfndr.cli.main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        return status, *capsys.readouterr()

    (tmp_path / "uids.txt").write_text(
        "\n".join(uid for uid, good in zip(column(planted, "uid"), column(planted, "good"), strict=True) if good)
    )
    status, words, _ = run("--label", "good", "--out", tmp_path / "one")
    assert status == 0 and "ROC AUC" in words and "300 rows" in words
    status, out, _ = run(
        "--positives", tmp_path / "uids.txt", "--space", "image/enc", "--out", tmp_path / "two", "--json"
    )
    given = json.loads(out)
    assert status == 0 and given["space"] == "image/enc" and given["held_out"]["rows"] == 300
    assert np.array_equal(Scorer.load(tmp_path / "one").weight, Scorer.load(tmp_path / "two").weight)
    assert run("--out", tmp_path / "three")[0] == 2
    assert run("--label", "always", "--out", tmp_path / "three")[0] == 2


def test_a_scorer_needs_no_torch_and_without_safetensors_the_extra_is_named():
    code = "import sys, dfndr.heads.scorer_train, dfndr.heads.scores; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
    code = "import sys; sys.modules['safetensors'] = None; import dfndr.heads.scores"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "dfndr[train]"' in done.stderr.splitlines()[-1]
