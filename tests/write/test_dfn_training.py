"""A filter trained twice and averaged: what comes out, what it records, and what its card says."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dfndr_builders.dfn.averaging import RULE, _auc, average, chosen, separation
from dfndr_builders.dfn.card import filter_card
from dfndr_builders.dfn.train import FilterTraining, Stage, train_filter_model
from dfndr_builders.pools.glyphs import GlyphsPool
from dfndr_builders.pools.swapped import Swapped
from safetensors.torch import load_file
from support.models import tiny_spec
from support.training import POOL, SPEC

from dfndr.encoder import open_encoder
from dfndr.errors import PoolError
from dfndr.models import weights_sha256

CARD = Path(__file__).parents[2] / "cards" / "filter.md"
OTHERS = GlyphsPool(count=200, take=(0.5, 1.0))
HELD_OUT = GlyphsPool(count=60, take=(0.5, 0.6))
GIVEN = FilterTraining(
    Stage(replace(SPEC, epochs=1), POOL),
    Stage(replace(SPEC, epochs=None, samples_seen=150, batch_size=50, learning_rate=1e-2), OTHERS),
    (0.0, 0.5, 1.0),
    HELD_OUT,
    "CC0-1.0",
)


def test_an_average_lies_between_the_two_and_is_them_at_its_ends():
    base = {"a": torch.tensor([1.0, 2.0]), "half": torch.tensor([1.0], dtype=torch.float16), "count": torch.tensor(3)}
    tuned = {"a": torch.tensor([3.0, -2.0]), "half": torch.tensor([2.0], dtype=torch.float16), "count": torch.tensor(5)}
    quarter = average(base, tuned, 0.25)
    assert quarter["a"].tolist() == [1.5, 1.0] and quarter["half"].tolist() == [1.25]
    assert quarter["half"].dtype == torch.float16 and quarter["count"].item() == 5
    assert all(torch.equal(average(base, tuned, 0.0)[name], base[name]) for name in ("a", "half"))
    assert all(torch.equal(average(base, tuned, 1.0)[name], tuned[name]) for name in tuned)


def test_the_highest_figure_is_chosen_and_of_equal_ones_the_smaller_alpha():
    assert chosen([(0.0, 0.5), (0.25, 0.8), (0.5, 0.7)]) == 0.25
    assert chosen([(1.0, 0.8), (0.75, 0.8), (0.0, 0.1)]) == 0.75


def test_the_auc_is_the_share_of_comparisons_that_are_won_and_half_of_the_drawn():
    random = np.random.default_rng(0)
    right, wrong = random.integers(0, 9, 40).astype(float), random.integers(0, 7, 30).astype(float)
    won = [(a > b) + (a == b) / 2 for a in right for b in wrong]
    assert _auc(right, wrong) == pytest.approx(np.mean(won), abs=1e-12)


def test_right_and_wrong_pairs_are_scored_as_their_vectors_say(tmp_path):
    encoder = open_encoder(tiny_spec(tmp_path))
    right, wrong = separation(encoder, HELD_OUT, 0)
    swapped = Swapped(HELD_OUT, 1.0, 0)
    tables = [
        (own, other)
        for shard in POOL.shards()
        for own, other in zip(HELD_OUT.read(shard), swapped.read(shard), strict=True)
    ]
    expected = []
    for own, other in tables:
        images = encoder.encode_images(own["image"].to_pylist()).vectors
        for table in (own, other):
            expected.append((images * encoder.encode_texts(table["text"].to_pylist()).vectors).sum(1))
    assert len(right) == len(wrong) == 60
    assert np.allclose(right, np.concatenate(expected[::2]), atol=1e-6)
    assert np.allclose(wrong, np.concatenate(expected[1::2]), atol=1e-6)


def test_a_validation_pool_of_one_text_is_refused(tmp_path):
    with pytest.raises(PoolError, match="expected validation pairs, found none whose text could be swapped"):
        separation(open_encoder(tiny_spec(tmp_path)), GlyphsPool(count=1), 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("filter")
    result = train_filter_model(GIVEN, str(folder / "out"), work=str(folder / "work"))
    return folder / "out", folder / "work", result


@pytest.mark.slow
def test_a_filter_is_trained_fine_tuned_and_averaged_by_the_rule(trained):
    out, work, result = trained
    record = json.loads((out / "training.json").read_text())
    figures = [(one["alpha"], one["roc_auc"]) for one in record["averaging"]["figures"]]
    assert [alpha for alpha, _ in figures] == [0.0, 0.5, 1.0] and record["averaging"]["rule"] == RULE
    assert record["averaging"]["alpha"] == chosen(figures)
    assert record["averaging"]["pairs"] == 60
    assert (result.result.samples_seen, result.finetune.samples_seen, result.samples_seen) == (600, 150, 750)
    weights = weights_sha256(load_file(out / "open_clip_model.safetensors"))
    assert weights == result.weights_sha256 == record["weights_sha256"]
    assert "/" not in json.dumps(record["finetune"]["recipe"])
    assert not list(work.iterdir())


@pytest.mark.slow
def test_a_finished_filter_is_read_back_and_a_lost_card_is_written_again(trained):
    out, work, result = trained
    card = (out / "README.md").read_text()
    (out / "README.md").unlink()
    assert train_filter_model(GIVEN, str(out), work=str(work)) == result
    assert (out / "README.md").read_text() == card


@pytest.mark.slow
def test_every_number_of_the_card_is_in_the_record_or_the_models_config(trained):
    out, _, result = trained

    def numbers(text):
        return {number.replace(",", "") for number in re.findall(r"\d[\d,]*(?:\.\d+)?", text)}

    assert not numbers(CARD.read_text()), "the template states a number"
    body = (out / "README.md").read_text().partition("\n---\n")[2]
    known = numbers((out / "training.json").read_text() + (out / "open_clip_config.json").read_text())
    assert numbers(body) and numbers(body) <= known
    assert result.weights_sha256 in body and "| licence | Bitstream-Vera | 600 |" in body and "$" not in body


def test_nothing_that_a_record_says_is_markup():
    hostile = "![x](http://a.b) <script> | `"
    stage = {
        "data": {"samples": 1, "sources": {hostile: 1}},
        "recipe": {"model": hostile},
        "result": {"steps": 1, "samples_seen": 1, "losses": [], "weights_sha256": "a"},
    }
    text = filter_card({**stage, "versions": {}, "digest": "b"}, {}, hostile)
    assert "<script>" not in text.partition("\n---\n")[2] and "![x]" not in text
