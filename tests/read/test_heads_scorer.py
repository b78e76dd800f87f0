"""Scorers: what they learn from planted labels, what they say of rows, how they are kept, and what they refuse."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import CAPTION, IMAGE, TEXT, write_dataset

safetensors = pytest.importorskip("safetensors.numpy", reason="scorers are kept as safetensors")

import dfndr.cli  # noqa: E402
import dfndr.progress  # noqa: E402
from dfndr.errors import DataError, FormatError, UsageError  # noqa: E402
from dfndr.format.schema import Space  # noqa: E402
from dfndr.heads.logistic import fit_logistic, roc_auc  # noqa: E402
from dfndr.heads.scorer import Fits, Scorer, ScorerOrigin, row_vectors  # noqa: E402
from dfndr.heads.scorer_train import read_positives, train_scorer  # noqa: E402
from dfndr.heads.scores import head_scores, open_head, shard_scores  # noqa: E402
from dfndr.seeds import rng_for  # noqa: E402

ROWS, DIM = 900, 8
OTHER = Space("image", "other", dim=DIM)
SPACES = (IMAGE, TEXT, CAPTION, OTHER)
DIRECTION = np.array([2.0, -1, 0, 0, 3, 0, 0, 1]) / math.sqrt(15)
ORIGIN = ScorerOrigin("tiny", "0" * 64, "image/enc", {"l2": 0.1}, {"held_out": None})
FITS = Fits("image", "enc", hashlib.sha256(b"enc").hexdigest(), DIM)


def vectors_of(rows=ROWS, *, offset=0.0):
    drawn = rng_for(3, "scorer").standard_normal((rows, DIM)) + offset
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Images whose label is a noisy function of one direction; a few rows have no label."""
    images = vectors_of(offset=0.4)
    chance = 1 / (1 + np.exp(-12 * (images @ DIRECTION - 0.2)))
    labels = rng_for(3, "labels").random(ROWS) < chance
    columns = {
        "good": labels,
        "some": pa.array([None if row % 7 == 0 else bool(label) for row, label in enumerate(labels)]),
        "always": [True] * ROWS,
        "captions": pa.array([["caption"] * (row % 4) for row in range(ROWS)], pa.list_(pa.string())),
    }
    root = tmp_path_factory.mktemp("planted")
    splits = ["train", "train", "train", "validation"]
    return write_dataset(
        root, [300, 0, 300, 300], SPACES, vectors={"image/enc": images}, columns=columns, splits=splits
    )


def column(dataset, name):
    return dataset.rows([name])[name].to_pylist()


def auc_by_pairs(scores, positive):
    pairs = [(one > other) + (one == other) / 2 for one in scores[positive] for other in scores[~positive]]
    return sum(pairs) / len(pairs) if pairs else None


def scorer_of(weight=DIRECTION, bias=0.25, fits=FITS, origin=ORIGIN):
    return Scorer(np.asarray(weight, dtype=np.float64), bias, fits, origin)


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


@pytest.mark.parametrize("space", ["image/enc", "image/other", "text/enc", "caption/enc"])
def test_a_score_is_the_sigmoid_of_the_mean_of_a_rows_unit_vectors(planted, space):
    fits = Fits.of(planted, planted.space(space))
    scorer = scorer_of(3 * DIRECTION, -0.5, fits)
    given, expected = planted.vectors(space).astype(np.float64), []
    for row in given:
        used = [vector / np.linalg.norm(vector) for vector in row if vector.any()]
        logit = 3 * DIRECTION @ np.mean(used, axis=0) - 0.5 if used else math.nan
        expected.append(1 / (1 + math.exp(-logit)))
    found = head_scores(planted, scorer, space=space)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.isnan(found).sum() == (sum(row % 4 == 0 for row in range(ROWS)) if space == "caption/enc" else 0)
    assert [len(part) for part in shard_scores(planted, scorer, space=space)] == [300, 0, 300, 300]


def test_shards_and_chunks_do_not_matter_to_a_score(planted, monkeypatch):
    scorer = scorer_of()
    whole = head_scores(planted, scorer)
    monkeypatch.setattr("dfndr.heads.scores._CHUNK_ROWS", 7)
    np.testing.assert_allclose(head_scores(planted, scorer), whole, rtol=1e-6)
    assert np.array_equal(head_scores(planted.split("validation"), scorer), head_scores(planted, scorer)[600:])


def test_a_scorer_of_texts_scores_captions_of_the_same_encoder_where_there_are_no_texts(tmp_path):
    dataset = write_dataset(tmp_path, [6], (IMAGE, CAPTION))
    scorer = scorer_of(fits=Fits("text", "named-otherwise", FITS.weights_sha256, DIM))
    assert np.array_equal(head_scores(dataset, scorer), scorer.scores(dataset.vectors("caption/enc")))


@pytest.mark.parametrize(
    ("fits", "space"),
    [
        (Fits("image", "enc", "1" * 64, DIM), None),
        (Fits("image", "enc", "1" * 64, DIM), "image/enc"),
        (FITS, "image/other"),
        (FITS, "text/enc"),
        (Fits("text", "enc", FITS.weights_sha256, DIM), "image/enc"),
        (Fits("image", "enc", FITS.weights_sha256, 6), "image/enc"),
    ],
)
def test_vectors_of_another_encoder_or_of_another_kind_are_refused(planted, fits, space):
    scorer = scorer_of(np.ones(fits.dim), fits=fits)
    with pytest.raises(UsageError, match=f"{fits.dim} dims by enc .{fits.weights_sha256[:16]}"):
        head_scores(planted, scorer, space=space)


def test_vectors_of_another_shape_are_refused():
    with pytest.raises(UsageError, match=r"expected shape \(rows, per_row, 8\), found shape \(3, 8\)"):
        scorer_of().scores(np.ones((3, 8)))


def test_a_vector_that_is_not_finite_has_no_score_and_cannot_be_learned_from(tmp_path):
    images = vectors_of(40)
    images[31, 2], images[33] = np.nan, np.inf
    dataset = write_dataset(tmp_path, [30, 10], vectors={"image/enc": images})
    assert np.flatnonzero(np.isnan(head_scores(dataset, scorer_of()))).tolist() == [31, 33]
    with pytest.raises(DataError, match=r"space image/enc, row 3[13]: expected a finite vector"):
        train_scorer(dataset, labels=np.arange(40) % 2 == 0)


def test_rows_without_captions_are_not_learned_from(planted):
    result = train_scorer(planted, space="caption/enc", labels="good")
    assert (result.fit.rows, result.held_out.rows) == (450, 225)


def test_the_mean_of_a_rows_vectors_leaves_out_free_places():
    given = np.zeros((2, 3, 2), dtype=np.float16)
    given[0, 0], given[0, 2] = [0, 2], [3, 4]
    means, there = row_vectors(given)
    np.testing.assert_allclose(means, [[0.3, 0.9], [0, 0]])
    assert there.tolist() == [True, False]


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


def saved(folder, **given):
    scorer_of(**given).save(folder)
    return json.loads((folder / "scorer.json").read_text())


def test_altered_weights_are_refused(tmp_path):
    saved(tmp_path)
    data = bytearray((tmp_path / "scorer.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "scorer.safetensors").write_bytes(data)
    with pytest.raises(FormatError, match="expected the content that scorer"):
        Scorer.load(tmp_path)


def test_a_scorer_without_weights_is_refused(tmp_path):
    saved(tmp_path)
    (tmp_path / "scorer.safetensors").unlink()
    with pytest.raises(FormatError, match="expected a scorer as"):
        Scorer.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "dfndr-scorer/2"},
        {"format": None},
        {"more": 1},
        {"sha256": None},
        {"sha256": ["0" * 64]},
        {"fits": None},
        {"fits": {}},
        {"fits": {"modality": "image", "encoder": "enc", "weights_sha256": "0", "dim": 1 << 60}},
        {"fits": {"modality": "image", "encoder": "enc", "weights_sha256": "0", "dim": 7}},
        {"fits": {"modality": "image", "encoder": "enc", "weights_sha256": "0", "dim": True}},
        {"fits": {"modality": "image", "encoder": "enc", "weights_sha256": "0", "dim": 8.0}},
        {"fits": {"modality": "image", "encoder": "../enc", "weights_sha256": "0", "dim": 8}},
        {"fits": {"modality": "sound", "encoder": "enc", "weights_sha256": "0", "dim": 8}},
        {"fits": {"modality": ["image"], "encoder": "enc", "weights_sha256": "0", "dim": 8}},
        {"fits": {"modality": "image", "encoder": "enc", "weights_sha256": "0", "dim": 8, "eval": "1"}},
        {"origin": {}},
        {"origin": []},
        {"origin": {"dataset": "a", "digest": 1, "space": "image/enc", "training": {}, "metrics": {}}},
        {"origin": {"dataset": "a", "digest": "b", "space": "image/enc", "training": [], "metrics": {}}},
        {"origin": {"dataset": "a", "digest": "b", "space": "image/enc", "training": {}, "metrics": {"auc": math.nan}}},
        {"origin": {"dataset": "\ud800", "digest": "b", "space": "image/enc", "training": {}, "metrics": {}}},
    ],
    ids=range(21),
)
def test_a_record_that_does_not_fit_the_weights_or_the_format_is_refused(tmp_path, change):
    record = saved(tmp_path)
    (tmp_path / "scorer.json").write_text(json.dumps({**record, **change}))
    with pytest.raises(FormatError):
        Scorer.load(tmp_path)


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"null", b"[" * 100_000, b"\xff\xfe", b'{"format": 1', b'{"a": 1, "a": 2}', b"9" * 5000, b" " * 2**25],
    ids=range(9),
)  # fmt: skip
def test_a_record_that_is_no_record_is_refused(tmp_path, text):
    saved(tmp_path)
    (tmp_path / "scorer.json").write_bytes(text)
    with pytest.raises(FormatError):
        Scorer.load(tmp_path)


def header_of(size):
    return size.to_bytes(8, "little")


LYING = json.dumps({"weight": {"dtype": "F64", "shape": [8], "data_offsets": [0, 1 << 50]}}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        header_of(1 << 60) + b"{}",
        header_of(len(LYING)) + LYING,
        safetensors.save({"weight": np.ones(8)}),
        safetensors.save({"weight": np.ones(8), "bias": np.ones(2)}),
        safetensors.save({"weight": np.ones(8), "bias": np.ones(1), "more": np.ones(1)}),
        safetensors.save({"weight": np.ones((8, 1)), "bias": np.ones(1)}),
        safetensors.save({"weight": np.ones(8, dtype=np.float32), "bias": np.ones(1)}),
        safetensors.save({"weight": np.array([1.0] * 7 + [np.nan]), "bias": np.ones(1)}),
        safetensors.save({"weight": np.ones(8), "bias": np.full(1, np.inf)}),
        b"\x80\x04cos\nsystem\n(S'false'\ntR.",
    ],
    ids=range(11),
)
def test_weights_that_are_not_what_the_record_says_are_refused_even_with_the_right_hash(tmp_path, data):
    record = saved(tmp_path)
    (tmp_path / "scorer.safetensors").write_bytes(data)
    changed = {**record, "sha256": hashlib.sha256(data).hexdigest()}
    (tmp_path / "scorer.json").write_text(json.dumps(changed))
    with pytest.raises(FormatError, match="expected a scorer as"):
        Scorer.load(tmp_path)


def test_a_folder_without_a_head_says_so(tmp_path):
    with pytest.raises(FormatError, match=r"expected a folder with scorer.json, found none. .*train-scorer"):
        Scorer.load(tmp_path)
    with pytest.raises(FormatError, match=r"expected a folder with scorer.json or head.json, found neither"):
        open_head(tmp_path)


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


def test_a_place_that_holds_something_else_is_refused(planted, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    for out in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(UsageError, match="a new folder, or one with a scorer"):
            train_scorer(planted, out, labels="good")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_held_out_rows_of_one_class_have_no_auc(planted):
    labels = np.array(column(planted, "good"))
    labels[600:] = False
    result = train_scorer(planted, labels=labels)
    assert result.held_out.auc is None and result.held_out.majority == 1
    assert "not defined" in str(result)


def test_a_list_of_uids_may_have_comments_and_blank_lines_and_an_error_names_the_line(tmp_path):
    path = tmp_path / "uids.txt"
    path.write_text(f"# mine\n{'A' * 32}\n\n  {'b' * 32}  # the second\n")
    assert read_positives(str(path)) == ["a" * 32, "b" * 32]
    path.write_text(f"{'a' * 32}\nhello\n")
    with pytest.raises(UsageError, match=r"uids.txt, line 2: expected a uid of 32 hex digits, found 'hello'"):
        read_positives(str(path))


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


@pytest.fixture
def head():
    pytest.importorskip("torch", reason="contrastive heads need torch")
    from dfndr.heads.model import Head, Origin

    return lambda **given: Head(
        "mlp",
        image_dim=DIM,
        text_dim=DIM,
        seed=5,
        origin=Origin("tiny", "0" * 64, given.get("image", "image/enc"), given.get("text", ("text/enc",)), 1),
    )


@pytest.mark.parametrize("space", ["text/enc", "caption/enc"])
def test_a_contrastive_heads_score_is_the_mean_cosine_of_all_pairs_of_views_and_captions(tmp_path, head, space):
    views = Space("image", "enc", dim=DIM, per_row=2)
    columns = {"captions": pa.array([["caption"] * (row % 4) for row in range(9)], pa.list_(pa.string()))}
    dataset = write_dataset(tmp_path / "set", [4, 5], (views, TEXT, CAPTION), columns=columns)
    model = head(text=(space,))
    model.save(tmp_path / "head")
    images, texts = dataset.vectors("image/enc"), dataset.vectors(space)
    expected = []
    for image, text in zip(images, texts, strict=True):
        used = text[text.any(axis=1)]
        cosines = [
            float(model.encode_image(one[None])[0] @ model.encode_text(other[None])[0])
            for one in image
            for other in used
        ]
        expected.append(np.mean(cosines) if cosines else math.nan)
    np.testing.assert_allclose(head_scores(dataset, tmp_path / "head"), expected, atol=1e-6)
    np.testing.assert_allclose(head_scores(dataset, model, space=space), expected, atol=1e-6)


def test_a_contrastive_head_is_not_used_on_spaces_it_was_not_trained_on_unless_they_are_named(planted, head):
    with pytest.raises(UsageError, match="spaces of the head: expected image/away with one of: text/away"):
        head_scores(planted, head(image="image/away", text=("text/away",)))
    named = head_scores(planted, head(image="image/away", text=("text/away",)), space="text/enc")
    assert np.array_equal(named, head_scores(planted, head()))
