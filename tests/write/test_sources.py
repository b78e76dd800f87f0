import pyarrow as pa
import pytest
from dfndr_builders.phase import step_of
from dfndr_builders.sources import COUNTED, MOST_SOURCES, OTHERS, count_files, counts_by_source
from support.tiny import write_dataset

from dfndr.errors import DataError
from dfndr.format.manifest import Counts, Shard
from dfndr.format.shard import rows_path, write_rows


def _with_problems(root, shard: Shard, sources: list[str | None], reasons: list[str]) -> Shard:
    uids = [f"{row:032x}" for row in range(len(reasons))]
    table = pa.table(
        {"uid": uids, "key": uids, "reason": reasons, "detail": uids, "source": pa.array(sources, pa.string())}
    )
    problems = write_rows(str(root), rows_path("train", shard.index, "problems"), table)
    failed = {reason: reasons.count(reason) for reason in set(reasons)}
    rows_in = shard.rows_in + len(reasons)
    return Shard(shard.index, "train", rows_in, shard.rows, {**shard.files, "problems": problems}, failed=failed)


def test_rows_and_problems_of_every_shard_are_counted_by_source_and_null_is_a_source(tmp_path):
    sources = ["web", "web", None, "book", "web", None, "web", "web"]
    dataset = write_dataset(tmp_path, (5, 3), columns={"source": sources})
    first = _with_problems(
        tmp_path, dataset.shards[0], ["web", None, "gone"], ["text_empty", "text_empty", "image_empty"]
    )
    counted = counts_by_source(count_files(str(tmp_path), [first, dataset.shards[1]]))
    assert counted == {
        "": Counts(3, 2, {}, {"text_empty": 1}),
        "book": Counts(1, 1),
        "gone": Counts(1, 0, {}, {"image_empty": 1}),
        "web": Counts(6, 5, {}, {"text_empty": 1}),
    }
    step = step_of("score", [first, dataset.shards[1]], counted)
    assert sum(part.rows_in for part in step.sources.values()) == step.rows_in == 11


def test_rows_without_a_source_are_not_counted_by_source(tmp_path):
    dataset = write_dataset(tmp_path)
    assert count_files(str(tmp_path), dataset.shards) is None


def test_a_step_whose_shards_lost_a_row_is_refused():
    with pytest.raises(DataError, match="3 rows"):
        step_of("score", [Shard(0, "train", 3, 2, {})])


def _table(counts: dict[str, tuple[int, int]]) -> pa.Table:
    """Return so many kept rows and rows that are `few_words` of each source."""
    records = []
    for source, (kept, dropped) in counts.items():
        records.append({"source": source, "outcome": "kept", "reason": None, "count": kept})
        records.append({"source": source, "outcome": "dropped", "reason": "few_words", "count": dropped})
    return pa.Table.from_pylist(records, COUNTED)


def test_which_sources_are_counted_one_by_one_is_settled_by_the_first_step():
    many = {f"site{number:04d}": (number + 1, 1) for number in range(MOST_SOURCES + 5)}
    first = counts_by_source(_table(many))
    assert len(first) == MOST_SOURCES and "site0005" not in first and f"site{MOST_SOURCES + 4:04d}" in first
    assert first[OTHERS] == Counts(27, 21, {"few_words": 6})
    then = counts_by_source(_table({"site0003": (9, 0), "site1000": (1, 1)}), named=first)
    assert then == {OTHERS: Counts(9, 9, {"few_words": 0}), "site1000": Counts(2, 1, {"few_words": 1})}
