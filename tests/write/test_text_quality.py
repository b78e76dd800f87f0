"""The text-quality classifier: what it learns, that it is the same again, and that a damaged one is refused."""

import json
import math
import re
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from dfndr_builders.measure.ngrams import tokens
from dfndr_builders.score.text_quality import TextQualityScore
from dfndr_builders.text_quality import MINIMUM, TextQuality, Training, features, train
from support.pairs import mixed_table

from dfndr.errors import DataError, FormatError
from dfndr.seeds import hash_fraction, rng_for

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

BUCKETS = 1 << 12
THINGS = ("dog", "cat", "boat", "girl", "horse", "tree", "child", "bird", "bus", "kite")
COLOURS = ("red", "blue", "small", "old", "white", "young", "wet", "tall")
PLACES = ("beach", "street", "field", "river", "roof", "bridge", "hill")


def captions(count: int) -> list[str]:
    rng = rng_for(0, "captions")
    return [
        f"A {rng.choice(COLOURS)} {rng.choice(THINGS)} is on the {rng.choice(COLOURS)} {rng.choice(PLACES)} ."
        for _ in range(count)
    ]


def alt_texts(count: int) -> list[str]:
    rng = rng_for(0, "alt texts")
    return [
        f"{rng.choice(COLOURS)} {rng.choice(THINGS)} shop-{rng.integers(1000)} | buy {rng.choice(PLACES)} now"
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def model() -> TextQuality:
    return train(captions(600), alt_texts(400), seed=3, buckets=BUCKETS)


@pytest.fixture
def saved(model: TextQuality, tmp_path: Path) -> Path:
    model.save(tmp_path)
    return tmp_path


def test_captions_score_above_alt_texts_that_were_never_seen(model):
    good, bad = model.score(["A wet bus is on the young roof .", "red kite shop-5 | buy bridge now"])
    assert good > 0.9 and bad < 0.1
    assert model.training.auc == 1 and model.training.accuracy == 1


def test_what_was_measured_is_what_counting_over_the_held_out_texts_gives():
    good, bad = captions(300)[50:], [*captions(300)[:100], *alt_texts(300)]
    model = train(good, bad, seed=3, buckets=BUCKETS, held_out=0.3)

    def held_out(texts):
        normal = {re.sub(r"\d", "0", " ".join(tokens(text))): text for text in texts}
        return {text for words, text in normal.items() if hash_fraction(3, "held-out", words) < 0.3}

    known = {text.lower() for text in good}
    sides = held_out(good), held_out(text for text in bad if text.lower() not in known)
    first, second = (model.score(sorted(texts)) for texts in sides)
    above = sum(float(a > b) + 0.5 * float(a == b) for a in first for b in second)
    right = [float((first >= 0.5).mean()), float((second < 0.5).mean())]
    assert (model.training.curated_held_out, model.training.raw_held_out) == (len(first), len(second))
    assert model.training.auc == pytest.approx(above / (len(first) * len(second)), abs=1e-4)
    assert model.training.accuracy == pytest.approx(sum(right) / 2)
    assert 0.5 < model.training.auc < 1


def test_the_score_is_the_logistic_of_the_mean_weight_of_words_and_pairs(model):
    grams = ["a", "dog", "00", "a dog", "dog 00"]
    places = [zlib.crc32(gram.encode()) % BUCKETS for gram in grams]
    assert features("A dog,  42!", BUCKETS).tolist() == places
    log_odds = model.bias + sum(float(model.weights[place]) for place in places) / 5
    assert model.score(["A dog,  42!"]) == pytest.approx([1 / (1 + math.exp(-log_odds))], rel=1e-6)


def test_low_scores_are_told_apart_far_below_the_precision_near_one():
    weights = np.zeros(BUCKETS, np.float32)
    model = TextQuality(weights, -40.0, Training(0, 1, 1, 1, 1, 1.0, 1.0))
    lower = TextQuality(weights, -41.0, model.training)
    assert 0 < lower.score(["x"])[0] < model.score(["x"])[0] < 1e-17
    assert TextQuality(weights, -1e6, model.training).score(["x"])[0] == 0


def test_neither_the_order_nor_the_repetition_of_texts_changes_the_model(model):
    good, bad = captions(600), alt_texts(400)
    again = train([*good[::-1], *good[:50]], [text.upper() for text in bad[::-1]], seed=3, buckets=BUCKETS)
    assert again.training == model.training
    assert np.array_equal(again.weights, model.weights) and again.bias == model.bias


def test_a_text_on_both_sides_is_curated_and_texts_are_capped_by_side():
    good, bad = captions(300), alt_texts(300)
    distinct = len({text.lower() for text in good})
    both = train(good, [*bad, *good], seed=0, buckets=BUCKETS).training
    assert both == train(good, bad, seed=0, buckets=BUCKETS).training
    assert both.curated == distinct
    capped = train(good, bad, seed=0, buckets=BUCKETS, most=150).training
    assert (capped.curated, capped.raw) == (150, 150)


@pytest.mark.parametrize("side", ["curated", "raw"])
def test_too_few_distinct_texts_are_an_error(side):
    few, many = [f"text {'x' * number}" for number in range(MINIMUM - 1)] * 3, alt_texts(300)
    with pytest.raises(DataError, match=f"the {side} texts: expected {MINIMUM} distinct ones, found {MINIMUM - 1}"):
        train(*((few, many) if side == "curated" else (many, few)), seed=0, buckets=BUCKETS)


def test_a_saved_model_scores_the_same_to_the_last_bit(model, saved):
    loaded = TextQuality.load(saved)
    texts = [*captions(50), *alt_texts(50), "", "\U0001f600", "几只狗在草地上奔跑"]
    assert np.array_equal(loaded.score(texts), model.score(texts))
    assert loaded.training == model.training
    assert sorted(path.name for path in saved.iterdir()) == ["text_quality.json", "weights.npy"]


def _edit(**changes):
    def edit(folder: Path) -> None:
        record = json.loads((folder / "text_quality.json").read_text())
        (folder / "text_quality.json").write_text(json.dumps({**record, **changes}))

    return edit


def _reseal(array: np.ndarray):
    def reseal(folder: Path) -> None:
        import hashlib

        np.save(folder / "weights.npy", array, allow_pickle=True)
        digest = hashlib.sha256((folder / "weights.npy").read_bytes()).hexdigest()
        _edit(weights_sha256=digest)(folder)

    return reseal


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "text_quality.json").unlink(),
        lambda folder: (folder / "weights.npy").unlink(),
        lambda folder: (folder / "text_quality.json").write_text("{"),
        lambda folder: (folder / "text_quality.json").write_text("[]"),
        lambda folder: (folder / "weights.npy").write_bytes((folder / "weights.npy").read_bytes()[:-1] + b"?"),
        _edit(format="dfndr-text-quality/9"),
        _edit(buckets=BUCKETS * 2),
        _edit(buckets="many"),
        _edit(bias=None),
        _edit(bias=math.nan),
        _edit(training={"seed": 1}),
        _reseal(np.array([{"a": 1}] * BUCKETS, dtype=object)),
        _reseal(np.full(BUCKETS, np.nan, np.float32)),
        _reseal(np.zeros(BUCKETS, np.float64)),
        _reseal(np.zeros((2, BUCKETS // 2), np.float32)),
    ],
)
def test_a_damaged_model_is_refused(saved, damage):
    damage(saved)
    with pytest.raises(FormatError):
        TextQuality.load(saved)


def test_the_stage_scores_good_rows_and_keeps_the_laws(model, saved):
    stage, table = TextQualityScore("quality", str(saved)), mixed_table()
    whole = stage.open()(table)
    assert whole.schema == stage.schema(table.schema) == stage.open()(table.slice(0, 0)).schema
    assert whole.select(table.column_names).equals(table)
    assert pa.concat_tables([stage.open()(table.slice(start, 7)) for start in range(0, len(table), 7)]).equals(whole)
    for row in whole.to_pylist():
        expected = None if row["problem"] else model.score([row["text"]])[0]
        assert row["quality"] == expected
