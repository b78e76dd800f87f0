"""How long a training is: so many rounds, or so many samples, whatever the size of the pool."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dfndr_builders.clip.spec import TrainingSpec
from dfndr_builders.clip.steps import Steps, steps_of
from dfndr_builders.clip.tars import TrainingData
from dfndr_builders.clip.train import train_clip
from dfndr_builders.pools.glyphs import GlyphsPool
from support.training import MODEL, POOL, SPEC, Interrupting

from dfndr.errors import RecipeError

SEEN = replace(SPEC, epochs=None, samples_seen=1410)


@pytest.mark.parametrize(
    ("samples", "workers", "length", "steps"),
    [
        (600, 1, {"epochs": 3}, Steps(6, 3, 18)),
        (600, 4, {"epochs": 3}, Steps(8, 3, 24)),
        (600, 1, {"samples_seen": 1800}, Steps(6, 3, 18)),
        (600, 1, {"samples_seen": 1801}, Steps(6, 4, 19)),
        (600, 4, {"samples_seen": 1410}, Steps(8, 2, 15)),
        (600, 1, {"samples_seen": 1}, Steps(6, 1, 1)),
        (60_000, 1, {"samples_seen": 1410}, Steps(600, 1, 15)),
    ],
)
def test_samples_seen_are_whole_batches_whatever_the_pool_and_the_workers(samples, workers, length, steps):
    spec = TrainingSpec(MODEL, batch_size=100, **length)
    assert steps_of(spec, TrainingData(samples, -(-samples // 512)), workers) == steps


@pytest.mark.parametrize(("length", "found"), [({}, "neither"), ({"epochs": 1, "samples_seen": 1}, "both")])
def test_a_training_has_one_length(length, found):
    with pytest.raises(RecipeError, match=f"expected epochs or samples_seen, found {found}"):
        TrainingSpec(MODEL, **length)


@pytest.mark.slow
def test_as_many_samples_as_three_rounds_hold_end_in_the_weights_of_three_rounds(tmp_path):
    rounds = train_clip(SPEC, POOL, str(tmp_path / "rounds"), work=str(tmp_path / "work"))
    seen = replace(SEEN, samples_seen=1800)
    assert train_clip(seen, POOL, str(tmp_path / "seen"), work=str(tmp_path / "work")) == rounds


@pytest.mark.slow
def test_a_training_that_ends_within_a_round_resumes_and_ends_in_the_same_bits(tmp_path):
    out, work = str(tmp_path / "out"), str(tmp_path / "work")
    whole = train_clip(SEEN, POOL, out, work=work)
    assert (whole.steps, whole.samples_seen, [step for step, _ in whole.losses]) == (15, 1500, list(range(1, 16)))
    again = str(tmp_path / "again")
    with pytest.raises(KeyboardInterrupt):
        train_clip(SEEN, POOL, again, work=work, progress=Interrupting())
    assert train_clip(SEEN, POOL, again, work=work) == whole


@pytest.mark.slow
def test_a_pool_larger_than_the_samples_seen_is_seen_in_part(tmp_path):
    out, work = str(tmp_path / "out"), str(tmp_path / "work")
    result = train_clip(replace(SEEN, samples_seen=450), GlyphsPool(count=1100), out, work=work)
    assert (result.samples, result.steps, result.samples_seen) == (1100, 5, 500)
