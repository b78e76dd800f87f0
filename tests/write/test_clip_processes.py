"""Several processes that share each batch: torchrun on the CPU, really."""

from __future__ import annotations

import pytest
from dfndr_builders.clip.spec import TrainingSpec
from dfndr_builders.clip.steps import usable_workers
from dfndr_builders.clip.tars import TrainingData
from dfndr_builders.clip.train import train_clip
from support.training import MODEL, POOL, SPEC, Interrupting

from dfndr.errors import RecipeError


@pytest.mark.parametrize(
    ("samples", "batch_size", "processes", "wanted", "usable"),
    [(600, 100, 2, 4, 1), (600, 100, 2, 0, 0), (4096, 512, 2, 4, 4), (4096, 512, 4, 4, 2), (4096, 1024, 2, 9, 4)],
)
def test_each_process_has_workers_that_can_fill_its_part_of_a_batch(samples, batch_size, processes, wanted, usable):
    data = TrainingData(samples=samples, tars=-(-samples // 512))
    spec = TrainingSpec(MODEL, epochs=1, batch_size=batch_size, workers=wanted)
    assert usable_workers(spec, data, processes) == usable


@pytest.mark.parametrize(
    ("batch_size", "processes", "said"),
    [
        (100, 3, "a multiple of the 3 processes"),
        (300, 3, "for each of 3 processes"),
        (400, 2, "for each of 2 processes"),
    ],
)
def test_processes_that_would_starve_are_refused(batch_size, processes, said):
    with pytest.raises(RecipeError, match=said):
        usable_workers(TrainingSpec(MODEL, epochs=1, batch_size=batch_size), TrainingData(600, 2), processes)


@pytest.mark.slow
def test_two_processes_train_together_and_go_on_where_they_were_interrupted(tmp_path):
    out, work = str(tmp_path / "out"), str(tmp_path / "work")
    with pytest.raises(KeyboardInterrupt):
        train_clip(SPEC, POOL, out, work=work, processes=2, progress=Interrupting())
    result = train_clip(SPEC, POOL, out, work=work, processes=2)
    assert (result.steps, result.samples_seen) == (18, 1800)
    assert [step for step, _ in result.losses] == list(range(1, 19))
    assert result.losses[-1][1] < result.losses[0][1]
    log = (tmp_path / "out" / "training.json").read_text()
    assert result.weights_sha256 in log and not list((tmp_path / "work").iterdir())
