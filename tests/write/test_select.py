"""Selection against a brute-force answer: exact counts, ties by uid, duplicates, the same whatever the shards."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dfndr_builders.select import Rule, is_validation, read_selection, select
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.killed import killed_at
from support.tiny import write_dataset

from dfndr.dataset import Dataset, open_dataset
from dfndr.errors import RecipeError


def scored(
    root: Path, scores: Sequence[float], *, uids: Sequence[str] | None = None, shards: Sequence[int] = ()
) -> Dataset:
    names = list(uids or (f"{number:032x}" for number in range(len(scores))))
    columns = {"uid": names, "dfn": pa.array(scores, pa.float32())}
    return write_dataset(root, list(shards) or [len(scores)], (), columns=columns)


def kept(root: Path) -> list[tuple[int, int, str]]:
    rows = [row for split in ("train", "validation") for row in pq.read_table(root / f"{split}.parquet").to_pylist()]
    return sorted((row["shard"], row["row"], row["uid"]) for row in rows)


def brute_force(scores: Sequence[float], uids: Sequence[str], count: int) -> set[str]:
    first: dict[str, float] = {}
    for uid, score in zip(uids, scores, strict=True):
        first.setdefault(uid, float(np.float32(score)))
    return {uid for uid, _ in sorted(first.items(), key=lambda pair: (-pair[1], pair[0]))[:count]}


@pytest.mark.parametrize("other", ["DFN", "Dfn", "file_row_number", "place", "score", "UID"])
def test_a_column_that_a_database_would_take_for_the_score_is_not_taken(tmp_path: Path, other: str) -> None:
    uids, scores = [f"{number:032x}" for number in range(6)], [0.1, 0.6, 0.2, 0.5, 0.3, 0.4]
    columns = {"uid": uids, other: [str(9 - number) for number in range(6)], "dfn": pa.array(scores, pa.float32())}
    select(write_dataset(tmp_path, [3, 3], (), columns=columns), Rule("dfn", count=3), str(tmp_path / "selected"))
    assert {uid for _, _, uid in kept(tmp_path / "selected")} == brute_force(scores, uids, 3)


def test_what_a_killed_selection_left_on_disk_is_deleted_by_the_next(tmp_path: Path) -> None:
    scores, sorting = [0.1, 0.4, 0.2, 0.3], tmp_path / "phases" / "sorting"
    dataset = scored(tmp_path / "s", scores)
    assert killed_at(40, selected, dataset.root, str(tmp_path / "out"), str(sorting))
    assert len(list(sorting.iterdir())) > 20
    selected(dataset.root, str(tmp_path / "out"), str(sorting))
    assert [row for _, row, _ in kept(tmp_path / "out")] == [1, 3]
    assert not sorting.exists()


def selected(scores: str, out: str, sorting: str) -> None:
    select(open_dataset(scores), Rule("dfn", count=2), out, sorting=sorting)


@pytest.mark.parametrize(("fraction", "rows"), [(0.3, 3), (0.15, 1), (0.2, 2), (1.0, 10), (0.05, 0)])
def test_exactly_floor_of_the_fraction_is_kept_and_ties_go_to_the_smaller_uid(
    tmp_path: Path, fraction: float, rows: int
) -> None:
    scores = [0.9, 0.8, 0.7, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    chosen = select(scored(tmp_path / "s", scores), Rule("dfn", top_fraction=fraction), str(tmp_path / "out"))
    assert [row for _, row, _ in kept(tmp_path / "out")] == list(range(rows))
    assert chosen.step.rows_out == rows
    assert chosen.step.dropped == {"duplicate": 0, "not_selected": 10 - rows}


def test_the_fraction_is_taken_in_exact_decimals() -> None:
    assert Rule("dfn", top_fraction=0.29).keeps(100) == 29


def test_a_threshold_keeps_what_equals_it(tmp_path: Path) -> None:
    dataset = scored(tmp_path / "s", [0.69, 0.7, 0.71])
    select(dataset, Rule("dfn", threshold=0.7), str(tmp_path / "out"))
    assert [row for _, row, _ in kept(tmp_path / "out")] == [1, 2]


def test_a_count_larger_than_the_pool_keeps_all(tmp_path: Path) -> None:
    chosen = select(scored(tmp_path / "s", [0.1, 0.2]), Rule("dfn", count=9), str(tmp_path / "out"))
    assert (chosen.step.rows_out, chosen.cut) == (2, pytest.approx(0.1))


def test_a_nan_score_is_a_failure_and_never_a_winner(tmp_path: Path) -> None:
    dataset = scored(tmp_path / "s", [0.1, float("nan"), float("inf"), 0.3, 0.2])
    chosen = select(dataset, Rule("dfn", top_fraction=0.7), str(tmp_path / "out"))
    assert [row for _, row, _ in kept(tmp_path / "out")] == [3, 4]  # floor(0.7 * 3) of the three that have a score
    assert chosen.step.failed == {"score_not_finite": 2}


def test_the_first_of_two_rows_with_one_uid_stays_and_the_other_is_counted(tmp_path: Path) -> None:
    uids = ["a" * 32, "b" * 32, "a" * 32, "c" * 32]
    dataset = scored(tmp_path / "s", [0.2, 0.3, 0.9, 0.1], uids=uids, shards=(2, 2))
    chosen = select(dataset, Rule("dfn", count=2), str(tmp_path / "out"))
    assert kept(tmp_path / "out") == [(0, 0, "a" * 32), (0, 1, "b" * 32)]
    assert chosen.step.dropped == {"duplicate": 1, "not_selected": 1}


@given(
    scores=st.lists(st.sampled_from([-0.5, 0.0, 0.1, 0.25, 0.5, 0.9]), min_size=1, max_size=40),
    names=st.integers(1, 60),
    count=st.integers(1, 45),
    cut=st.integers(0, 40),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cut_into_shards_gives_the_brute_force_answer(
    tmp_path_factory: pytest.TempPathFactory, scores: list[float], names: int, count: int, cut: int
) -> None:
    root = tmp_path_factory.mktemp("any")
    uids = [f"{(number * 7919) % names:032x}" for number in range(len(scores))]
    shards = [min(cut, len(scores)), len(scores) - min(cut, len(scores))]
    dataset = scored(root / "s", scores, uids=uids, shards=shards)
    select(dataset, Rule("dfn", count=count), str(root / "out"))
    assert {uid for _, _, uid in kept(root / "out")} == brute_force(scores, uids, count)


def test_the_validation_split_is_a_hash_of_the_uid_alone(tmp_path: Path) -> None:
    chosen = select(scored(tmp_path / "s", [0.5] * 400), Rule("dfn", count=400, validation=0.25), str(tmp_path / "out"))
    assert 60 < chosen.rows["validation"] < 140
    for split in ("train", "validation"):
        for uid in pq.read_table(tmp_path / "out" / f"{split}.parquet")["uid"].to_pylist():
            assert is_validation(uid, 0.25) == (split == "validation")


def test_a_finished_selection_is_read_back_as_it_was(tmp_path: Path) -> None:
    chosen = select(scored(tmp_path / "s", [0.5, 0.1, 0.7]), Rule("dfn", count=2), str(tmp_path / "out"))
    assert read_selection(str(tmp_path / "out")) == chosen
    assert read_selection(str(tmp_path / "elsewhere")) is None


def test_a_score_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="one of: dfn, found 'clip'"):
        select(scored(tmp_path / "s", [0.5]), Rule("clip", count=1), str(tmp_path / "out"))
