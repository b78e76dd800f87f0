"""A filter's agreement with labels and ratings, over real scorers and pools; the verb; and the real pairs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from dfndr_builders.agreement.evaluate import Agreement, agreement_of
from dfndr_builders.agreement.pairs import Pairs, read_pairs
from dfndr_builders.agreement.scorers import named_scorer
from dfndr_builders.pools.webdataset import WebDatasetPool
from dfndr_builders.text_quality import train
from support.models import tiny_config, tiny_spec
from support.pools import picture, tar_of

import dfndr.cli
from dfndr.encoder import open_encoder
from dfndr.errors import DataError, UsageError

POOLS = Path(os.environ.get("POOLS") or Path(__file__).parents[3] / "shared" / "pools")
TOLERANCE = 1e-6
"""How far a figure may move when pairs fall into other batches, as cosines may."""
CAPTIONS = ["a red thing", "something green", "the blue one", "white"]


def _image(number: int) -> bytes:
    return picture((number * 37 % 256, number * 91 % 256, number * 53 % 256), size=(8 + number, 9))


@pytest.fixture
def pool(tmp_path: Path) -> WebDatasetPool:
    members = [(f"{number:02d}.png", _image(number)) for number in range(20)]
    members[7] = ("07.png", b"no picture")
    parts = [part for name, image in members for part in ((name, image), (name.replace("png", "txt"), "a text"))]
    (tmp_path / "pool.tar").write_bytes(tar_of(parts))
    return WebDatasetPool((str(tmp_path / "pool.tar"),))


def _pairs(order: np.ndarray | None = None) -> Pairs:
    drawn = np.random.default_rng(0)
    keys = tuple(f"{number:02d}" for number in range(20) for _ in CAPTIONS)
    ratings = drawn.integers(1, 5, (80, 3)).astype(float)
    ratings[::9, 1] = np.nan
    pairs = Pairs(keys, tuple(CAPTIONS * 20), drawn.random(80) < 0.5, ratings)
    return pairs if order is None else pairs.take(order)


def _found(folder: Path, pool: WebDatasetPool, pairs: Pairs, batch_size: int = 8) -> Agreement:
    named = named_scorer("random:0", model=str(tiny_config(folder)), batch_size=batch_size, device="cpu")
    return agreement_of(named, pool, pairs, resamples=20, fraction=0.3)


def test_figures_are_those_of_cosines_computed_one_by_one(tmp_path, pool):
    from scipy.stats import kendalltau
    from sklearn.metrics import average_precision_score, roc_auc_score

    pairs, found, encoder = _pairs(), _found(tmp_path, pool, _pairs()), open_encoder(tiny_spec(tmp_path))
    kept = [row for row in range(80) if pairs.keys[row] != "07"]
    scores = []
    for row in kept:
        image = encoder.encode_images([_image(int(pairs.keys[row]))]).vectors[0]
        scores.append(float(image @ encoder.encode_texts([pairs.captions[row]]).vectors[0]))
    assert pairs.labels is not None and pairs.ratings is not None
    labels, ratings = pairs.labels[kept], pairs.ratings[kept]
    values = {name: figure.value for name, figure in found.figures.items()}
    assert values["roc_auc"] == pytest.approx(roc_auc_score(labels, scores), abs=TOLERANCE)
    assert values["average_precision"] == pytest.approx(average_precision_score(labels, scores), abs=TOLERANCE)
    best = np.argsort(-np.array(scores))[: int(0.3 * 76)]
    assert values["precision_at_0.3"] == pytest.approx(labels[best].mean())
    rows, raters = np.nonzero(~np.isnan(ratings))
    tau = kendalltau(np.array(scores)[rows], ratings[rows, raters], variant="c").statistic
    assert values["kendall_tau_c"] == pytest.approx(tau, abs=TOLERANCE)
    assert (found.pairs, found.images, found.matches) == (76, 19, labels.mean())
    assert found.problems == {"image_unreadable": ("07",) * 4}
    assert "left out: 4 image_unreadable (07, 07, 07, ...)" in str(found)


def test_neither_the_order_of_pairs_nor_the_batch_changes_a_figure(tmp_path, pool):
    found = _found(tmp_path, pool, _pairs())
    turned = _found(tmp_path, pool, _pairs(np.random.default_rng(1).permutation(80)))
    other = _found(tmp_path, pool, _pairs(), batch_size=3)
    for name, figure in found.figures.items():
        for again in (turned, other):
            assert again.figures[name].value == pytest.approx(figure.value, abs=TOLERANCE)
            assert again.figures[name].low == pytest.approx(figure.low, abs=TOLERANCE)


def test_keys_that_the_pool_lacks_are_counted_and_named(tmp_path, pool):
    pairs = Pairs(("00", "nowhere", "01", "nowhere"), ("a", "b", "c", "d"), np.array([True, False, False, True]), None)
    found = _found(tmp_path, pool, pairs)
    assert (found.pairs, found.problems) == (2, {"not_in_pool": ("nowhere", "nowhere")})
    with pytest.raises(DataError, match="found not_in_pool 2; the first image is 'nowhere'"):
        _found(tmp_path, pool, pairs.take(np.array([1, 3])))


def test_labels_of_one_kind_are_said(tmp_path, pool):
    pairs = Pairs(("00", "01", "02"), ("a", "b", "c"), np.array([True] * 3), None)
    found = _found(tmp_path, pool, pairs)
    assert "ROC-AUC: undefined, labels all of one kind: 3 match" in str(found)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["figures"]["roc_auc"]["value"] is None


def test_a_scorer_of_texts_is_known_by_its_folder_and_a_head_is_refused(tmp_path, pool):
    names = ["dog", "cat", "horse", "bird", "ball", "car", "boat", "kite", "tree", "chair"]
    colors = ["red", "blue", "green", "white", "black", "brown", "pink", "grey", "orange", "yellow", "purple", "golden"]
    curated = [f"a {color} {name} on the grass" for color in colors for name in names]
    train(curated, [f"{name} in {color}" for color in colors for name in names], seed=0).save(tmp_path / "q")
    named = named_scorer(str(tmp_path / "q"))
    assert named.record["kind"] == "text-quality"
    assert agreement_of(named, pool, _pairs(), resamples=3).pairs == 80, "it looks at no picture"
    (tmp_path / "head").mkdir()
    (tmp_path / "head" / "scorer.json").write_text("{}")
    with pytest.raises(UsageError, match="a filter of pairs, found a head on cached vectors"):
        named_scorer(str(tmp_path / "head"))


def test_the_verb_prints_figures_with_intervals_and_json(tmp_path, pool, capsys, monkeypatch):
    lines = [
        "image\tcaption\tlabel",
        *(f"{n:02d}\t{CAPTIONS[n % 4]}\t{['match', 'no-match'][n % 2]}" for n in range(7)),
    ]
    (tmp_path / "pairs.tsv").write_text("\n".join(lines))
    words = ["eval-filter", "random:0", "--model", str(tiny_config(tmp_path)), "--pool", str(tmp_path / "pool.tar")]
    words += ["--pairs", str(tmp_path / "pairs.tsv"), "--resamples", "20", "--fraction", "0.5", "--device", "cpu"]
    for more in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["dfndr", *words, *more])
        with pytest.raises(SystemExit, match="0"):
            dfndr.cli.main()
        out = capsys.readouterr().out
        if not more:
            assert out.startswith("7 pairs of 7 images, 57.1% of them match\n  ROC-AUC: ")
            assert "intervals hold 95% of 20 resamples of the images, seed 0" in out
        else:
            assert set(json.loads(out)["figures"]) == {"roc_auc", "average_precision", "precision_at_0.5"}


@pytest.mark.skipif(not POOLS.is_dir(), reason=f"no real pools in {POOLS}")
def test_the_real_pairs_of_flickr8k_are_read():
    found = read_pairs(str(POOLS / "flickr8k" / "match_pairs_train.tsv"))
    assert found.labels is not None
    assert (len(found.keys), int(found.labels.sum())) == (16_323, 7_870)
