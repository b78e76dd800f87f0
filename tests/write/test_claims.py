"""The claims in small: the noise is as stated and seeded, the best rows are kept, tables and verdicts add up."""

from __future__ import annotations

import io
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.claims.captions import CLASSES, JUNK, PROMPTS  # noqa: E402
from benchmarks.claims.cifar import cifar_folder  # noqa: E402
from benchmarks.claims.experiments import EXPERIMENTS  # noqa: E402
from benchmarks.claims.noise import SHARES, clean_pairs, corrupt, kinds_of, noisy_pairs  # noqa: E402
from benchmarks.claims.photos import drawn_pairs, photo_scale, photos_folder  # noqa: E402
from benchmarks.claims.results import Measured, Results  # noqa: E402
from benchmarks.claims.runs import CLIP, Filter, Model, PhotoFilter  # noqa: E402
from benchmarks.claims.scales import SCALES  # noqa: E402
from benchmarks.claims.scoring import kept_rows, qualities  # noqa: E402
from benchmarks.claims.tables import filled, rank_correlation, table_of, verdicts  # noqa: E402


def _picture(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert("RGB").save(file, "png")
    return file.getvalue()


SAMPLES = [
    (_picture(np.random.default_rng(number).integers(0, 256, (32, 32, 3))), number % 10) for number in range(500)
]


def _class_in(text: str) -> int:
    found = [place for place, name in enumerate(CLASSES) if any(text == prompt.format(name) for prompt in PROMPTS)]
    return found[0]


def test_the_noise_has_the_shares_that_are_stated():
    assert sum(SHARES.values()) == pytest.approx(1)
    assert 0.6 <= 1 - SHARES["good"] <= 0.8
    found = Counter(pair.kind for pair in noisy_pairs(SAMPLES, seed=3, purpose="pool"))
    assert found == {kind: round(share * 500) for kind, share in SHARES.items()}
    assert len(kinds_of(7, SHARES, np.random.default_rng(0))) == 7


def test_each_kind_of_noise_is_what_it_is_called():
    images = {image for image, _ in SAMPLES}
    duplicated = set()
    for pair, (image, label) in zip(noisy_pairs(SAMPLES, seed=3, purpose="pool"), SAMPLES, strict=True):
        if pair.kind == "junk":
            assert not any(name in pair.text.split() for name in CLASSES)
            assert any(pair.text.startswith(text.split("{")[0]) for text in JUNK)
            continue
        if pair.kind == "duplicated":
            duplicated.add(pair.image)
        else:
            assert pair.label == label
            assert (pair.image == image) == (pair.kind != "corrupted")
        assert (_class_in(pair.text) == pair.label) == (pair.kind in ("good", "corrupted"))
        assert (pair.image in images) == (pair.kind != "corrupted")
    assert len(duplicated) <= 20


def test_the_noise_is_a_function_of_seed_and_purpose():
    def made(seed: int, purpose: str) -> list[object]:
        return [*noisy_pairs(SAMPLES[:60], seed=seed, purpose=purpose)]

    assert made(1, "pool") == made(1, "pool")
    assert made(1, "pool") != made(2, "pool")
    assert made(1, "pool") != made(1, "raw")
    assert clean_pairs(SAMPLES, seed=1, purpose="good") == clean_pairs(SAMPLES, seed=1, purpose="good")


def test_a_corrupted_picture_keeps_its_size_and_loses_its_content():
    squares = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((4, 4))) * 255
    image = _picture(squares)
    for seed in range(12):
        with Image.open(io.BytesIO(corrupt(image, np.random.default_rng(seed)))) as found:
            assert found.size == (32, 32)
            grey = np.asarray(found.convert("L"), float)
        assert abs(np.corrcoef(np.c_[grey.ravel() + np.arange(1024) * 1e-9, squares.ravel()].T)[0, 1]) < 0.5


def test_the_rows_kept_are_the_best_by_score_and_of_equal_scores_those_of_the_smaller_uid():
    scores = np.array([0.5, 0.9, 0.5, 0.1, 0.5, 0.2, 0.3], dtype=np.float32)
    uids = ["c", "x", "a", "y", "b", "z", "w"]
    best = sorted(range(7), key=lambda row: (-scores[row], uids[row]))
    for fraction in (0.15, 0.29, 0.43, 0.6, 1.0):
        assert kept_rows(scores, uids, fraction).tolist() == sorted(best[: int(fraction * 7)])


def test_the_quality_of_scores_is_counted_pair_by_pair():
    drawn = np.random.default_rng(0)
    scores, kinds = drawn.random(60).astype(np.float32), [*SHARES] * 12
    kept = kept_rows(scores, [f"{row:02d}" for row in range(60)], 0.25)
    found = qualities(scores, kinds, kept)
    good = [score for score, kind in zip(scores, kinds, strict=True) if kind == "good"]
    rest = [score for score, kind in zip(scores, kinds, strict=True) if kind == "junk"]
    assert found["auc_junk"] == pytest.approx(np.mean([[one > other for other in rest] for one in good]))
    assert found["good_of_kept"] == pytest.approx(sum(kinds[row] == "good" for row in kept) / 15)


def test_every_run_has_a_name_of_its_own_and_comes_after_those_it_needs():
    runs = [run for experiment in EXPERIMENTS.values() for run in experiment.runs]
    assert len({run.name for run in runs}) == len(set(runs))
    for experiment in EXPERIMENTS.values():
        for place, run in enumerate(experiment.runs):
            assert set(run.needs) <= set(experiment.runs[:place])
    assert len([row for row in EXPERIMENTS["c"].rows if row.filter is not None]) >= 8


def test_tables_and_verdicts_hold_the_means_and_deviations_of_the_seeds():
    records: dict[tuple[str, int], dict[str, object]] = {}
    for seed, value in enumerate((0.30, 0.32, 0.34)):
        records[Model().name, seed] = {"accuracy": value}
        records[CLIP.name, seed] = {"accuracy": 0.4, "auc": 0.8, "good_of_kept": 0.7}
        records[Model(Filter("random")).name, seed] = {"accuracy": value - 0.2}
    results = Results(records)
    assert Measured((0.30, 0.32, 0.34)).std == pytest.approx(0.02)
    assert "| CLIP | 0.800 ± 0.000 | 70.0% ± 0.0% | 40.0% ± 0.0% | 32.0% ± 2.0% | 3 |" in table_of("a", results)
    assert verdicts("a", results) == (
        "- CLIP is +20.0 points ahead of random: more than twice the larger standard deviation (2.0 points)"
    )
    page = "before\n<!-- a -->\nstale\n<!-- /a -->\nafter\n"
    assert filled(page, results) == filled(filled(page, results), results)
    assert "stale" not in filled(page, results)
    assert filled(page, results).startswith("before\n") and filled(page, results).endswith("<!-- /a -->\nafter\n")


def test_each_photograph_is_paired_with_one_of_its_own_captions_which_the_seed_draws():
    captions = [[f"{picture} {place}" for place in range(5)] for picture in range(200)]
    photos = pa.table(
        {"image": [b"%d" % number for number in range(200)], "captions": ["\n".join(c) for c in captions]}
    )
    drawn = [drawn_pairs(photos, seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    for table in drawn:
        assert table["image"] == photos["image"]
        assert all(text in own for text, own in zip(table["text"].to_pylist(), captions, strict=True))
        assert {text[-1] for text in table["text"].to_pylist()} == set("01234")


def test_filters_of_photographs_differ_from_the_others_in_nothing_but_the_length_of_texts():
    given = SCALES["cpu"]
    found = photo_scale(given)
    assert replace(found, model=given.model) == given
    text = {**given.model["text_cfg"], "context_length": 24}
    assert found.model == {**given.model, "text_cfg": text}


def test_the_table_of_photographs_tells_of_dev_pairs_alone():
    shares = [run.swapped for run in EXPERIMENTS["g"].runs if isinstance(run, PhotoFilter)]
    assert shares == [0, 0.25, 0.5, 1]
    results = Results(
        {
            (PhotoFilter(share).name, 0): {"dev_auc": 0.8 - 0.3 * share, "recall_10": 0.04 - 0.03 * share}
            for share in shares
        }
    )
    assert table_of("g", results).splitlines()[2:] == [
        "| 0% | 0.800 ± 0.000 | 4.0% ± 0.0% | 1 |",
        "| 25% | 0.725 ± 0.000 | 3.2% ± 0.0% | 1 |",
        "| 50% | 0.650 ± 0.000 | 2.5% ± 0.0% | 1 |",
        "| 100% | 0.500 ± 0.000 | 1.0% ± 0.0% | 1 |",
    ]
    assert "0.800 with 0 % and 0.500 with 100 % swapped texts; rank correlation with that share -1.00" in verdicts(
        "g", results
    )


def test_the_rank_correlation_is_that_of_ranks():
    assert rank_correlation([1, 2, 3, 4], [10, 20, 40, 80]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 1, 2], [3, 5, 5]) == pytest.approx(0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "runs", "row", "pictures"),
    [("e", 6, "| both | ", cifar_folder()), ("g", 4, "| 25% | 0.", photos_folder())],
)
def test_the_smallest_scale_runs_from_pictures_to_a_table_and_a_second_time_does_nothing(
    tmp_path, name, runs, row, pictures
):
    if not pictures.is_dir():
        pytest.skip(f"no pictures in {pictures}")
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.claims", name, "--scale", "smoke", "--seeds", "0"]
    for said in (f"{runs} of {runs} runs to do", f"0 of {runs} runs to do"):
        done = subprocess.run([*command, "--work", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.startswith(said)
        assert row in done.stdout
    assert pa.OSFile(str(next(tmp_path.glob(f"smoke-*/claims-{name}.png")))).size() > 1000
