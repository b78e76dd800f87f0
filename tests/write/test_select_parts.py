"""The parts that a selection is made of: cuts, repeated hashes, counts by source, what is written, what is refused."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dfndr_builders.rules import DropRule
from dfndr_builders.select import Fusion, Limit, Quota, Rule, read_selection, select
from dfndr_builders.select.cuts import cut_at, find_cuts, within
from dfndr_builders.select.keeping import ranges_of
from dfndr_builders.select.nth_best import nth_best
from dfndr_builders.select.repeats import repeated_hashes
from dfndr_builders.sources import COUNTED, OTHERS, counts_by_source, step_of_counts
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny import write_dataset

from dfndr.dataset import Dataset
from dfndr.errors import FormatError, RecipeError
from dfndr.format.uid import pack_uids

ODD = [0.0, -0.0, 1.0, -1.0, 5e-324, -5e-324, 1e308, -1e308, float("inf"), float("-inf"), 0.1, 0.1 + 2**-53]


@given(values=st.lists(st.sampled_from(ODD), min_size=1, max_size=30), kept=st.integers(0, 32))
@settings(max_examples=60, deadline=None)
def test_a_cut_keeps_just_the_best_whatever_the_numbers(values: list[float], kept: int) -> None:
    with duckdb.connect() as database:
        rows = [(value, f"{number * 7919 % 31:032x}", number) for number, value in enumerate(values)]
        database.execute("CREATE TABLE scores (value DOUBLE, uid VARCHAR, place BIGINT)")
        database.executemany("INSERT INTO scores VALUES (?, ?, ?)", rows)
        database.execute("CREATE VIEW uids AS SELECT uid, place, 0 AS shard, place AS row FROM scores")
        condition = cut_at(database, "value", "scores", kept=kept, table="cut")
        found = {place for (place,) in database.execute(f"SELECT place FROM scores WHERE {condition}").fetchall()}
    assert found == {place for _, _, place in sorted(rows, key=lambda row: (-row[0], row[1]))[:kept]}


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(ODD)), min_size=1, max_size=30), st.integers(0, 6))
@settings(max_examples=40, deadline=None)
def test_each_part_has_a_cut_of_its_own(rows: list[tuple[int, float]], kept: int) -> None:
    with duckdb.connect() as database:
        database.execute("CREATE TABLE scores (part INTEGER, value DOUBLE, uid VARCHAR, place BIGINT)")
        given_rows = [(*row, f"{number * 7919 % 31:032x}", number) for number, row in enumerate(rows)]
        database.executemany("INSERT INTO scores VALUES (?, ?, ?, ?)", given_rows)
        database.execute("CREATE VIEW uids AS SELECT uid, place, 0 AS shard, place AS row FROM scores")
        wanted = f"(SELECT DISTINCT part, {kept} + part AS wanted FROM scores)"
        find_cuts(database, "cuts", relation="scores", wanted=wanted)
        condition = within(database, "value", "cuts")
        query = f"SELECT place FROM scores JOIN cuts USING (part) WHERE {condition}"
        found = {place for (place,) in database.execute(query).fetchall()}
    expected = set()
    for part in range(1, 5):
        members = sorted((row for row in given_rows if row[0] == part), key=lambda row: (-row[1], row[2]))
        expected |= {row[3] for row in members[: kept + part]}
    assert found == expected


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_of_hundreds_of_parts_each_has_its_nth_best(kind: type) -> None:
    rng, count = np.random.default_rng(0), 300
    parts, values = rng.integers(0, count, 9000), rng.integers(-40, 40, 9000).astype(kind) / 8
    wanted = rng.integers(-1, 60, count)
    pieces = [slice(start, start + 1000) for start in range(0, 9000, 1000)]

    def read(low: float, high: float) -> Iterator[tuple[Any, Any]]:
        for piece in pieces:
            is_near = (values[piece] >= low) & (values[piece] <= high)
            yield parts[piece][is_near], values[piece][is_near]

    found, left, there = nth_best(read, np.arange(count), wanted=wanted, bits=np.dtype(kind).itemsize * 8)
    for part in range(count):
        members = np.sort(values[parts == part])[::-1]
        if 1 <= wanted[part] < len(members):
            value = members[wanted[part] - 1]
            above, same = (members > value).sum(), (members == value).sum()
            assert (found[part], left[part], there[part]) == (value, wanted[part] - above, same)
        else:
            assert (found[part], there[part]) == (np.inf if wanted[part] < 1 else -np.inf, len(members))


def test_more_ties_than_can_be_named_are_cut_by_uid(tmp_path: Path) -> None:
    count = 4000
    uids = [f"{number * 7919 % count:032x}" for number in range(count)]
    columns = {"uid": uids, "dfn": pa.array([0.5] * count, pa.float32())}
    select(write_dataset(tmp_path / "s", [count], (), columns=columns), Rule("dfn", count=2500), str(tmp_path / "out"))
    assert set(pq.read_table(tmp_path / "out" / "train.parquet")["uid"].to_pylist()) == set(sorted(uids)[:2500])


@given(st.lists(st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63, 2**64 - 1, 77]), max_size=60))
@settings(deadline=None)
def test_hashes_that_come_again_are_all_found_and_no_others(
    tmp_path_factory: pytest.TempPathFactory, values: list[int]
) -> None:
    pieces = np.array_split(np.array(values, dtype=np.uint64), 3)
    found = repeated_hashes(pieces, tmp_path_factory.mktemp("hashes")).tolist()
    assert found == sorted(value for value, count in Counter(values).items() if count > 1)


def counted(*records: tuple[str | None, str, str | None, int]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(COUNTED.names, record, strict=True)) for record in records], COUNTED)


def test_a_step_is_counted_in_all_and_by_source() -> None:
    table = counted((None, "kept", None, 2), ("a", "dropped", "duplicate", 3), ("a", "failed", "image_empty", 1))
    step = step_of_counts("select", table, rows_in=6, reasons=["blurred", "duplicate"])
    assert (step.rows_in, step.rows_out, step.dropped) == (6, 2, {"blurred": 0, "duplicate": 3})
    assert step.failed == {"image_empty": 1}
    assert {name: (part.rows_in, part.rows_out) for name, part in step.sources.items()} == {"": (2, 2), "a": (4, 0)}


def test_rows_that_were_not_counted_are_noticed() -> None:
    with pytest.raises(FormatError, match="expected 7 rows"):
        step_of_counts("select", counted(("a", "kept", None, 6)), rows_in=7)


def test_of_too_many_sources_the_smallest_are_counted_together() -> None:
    table = counted(*((f"s{number:04d}", "kept", None, 1 + (number >= 1100)) for number in range(1200)))
    sources = counts_by_source(table)
    assert len(sources) == 1000
    assert sources[OTHERS].rows_out == 1300 - 100 * 2 - 899
    assert "s0898" in sources and "s0899" not in sources and "s1199" in sources


def small(root: Path) -> Dataset:
    columns = {
        "uid": [f"{number:032x}" for number in range(8)],
        "dfn": pa.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], pa.float32()),
        "group": pa.array([1, 1, None, 2, 2, 2, None, None], pa.int64()),
        "source": ["a"] * 4 + ["b"] * 4,
    }
    return write_dataset(root, [4, 4], (), columns=columns)


def test_the_audit_says_who_went_because_of_whom(tmp_path: Path) -> None:
    rule = Rule("dfn", count=9, groups=(("same_text", "group"),))
    select(small(tmp_path / "s"), rule, str(tmp_path / "out"))
    rows = pq.read_table(tmp_path / "out" / "audit.parquet").to_pylist()
    pairs = [(row["shard"] * 4 + row["row"], row["kept_shard"] * 4 + row["kept_row"]) for row in rows]
    assert pairs == [(0, 1), (3, 5), (4, 5)]
    assert (rows[0]["uid"][-1], rows[0]["kept_uid"][-1], rows[0]["reason"]) == ("0", "1", "same_text")


def test_columns_that_were_made_go_with_the_rows(tmp_path: Path) -> None:
    paths = []
    for number, values in enumerate(([5, 1, 2, 3], [9, 0, 0, 4])):
        paths.append(str(tmp_path / f"{number}.parquet"))
        pq.write_table(pa.table({"Aesthetic": pa.array(values, pa.float32()), "DFN": values}), paths[-1])
    select(small(tmp_path / "s"), Rule("Aesthetic", count=3), str(tmp_path / "out"), derived=[paths])
    rows = pq.read_table(tmp_path / "out" / "train.parquet").to_pylist()
    assert [(row["shard"], row["row"], row["score"]) for row in rows] == [(0, 0, 5.0), (1, 0, 9.0), (1, 3, 4.0)]
    with pytest.raises(FormatError, match="files of"):
        select(small(tmp_path / "t"), Rule("dfn", count=3), str(tmp_path / "no"), derived=[paths[:1]])


def test_the_same_rows_are_kept_whatever_shards_and_threads(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    columns = {
        "uid": [f"{number:032x}" for number in rng.permutation(3000)],
        "dfn": pa.array(rng.integers(0, 50, 3000) / 50, pa.float32()),
        "clip": pa.array(rng.random(3000), pa.float32()),
        "source": [f"s{number}" for number in rng.integers(0, 7, 3000)],
    }
    fusion = Fusion("both", "z", (("dfn", 1.0), ("clip", 0.3)))
    rule = Rule("both", top_fraction=0.3, fusions=(fusion,), quota=Quota("source", balanced=True))
    found = []
    for number, (shards, threads) in enumerate((([3000], 1), ([7, 1493, 1500], 2), ([1000] * 3, 4))):
        order = np.arange(3000) if number < 2 else np.concatenate([np.arange(1000, 3000), np.arange(1000)])
        table = pa.table(columns).take(order)
        given_columns = {name: table[name].combine_chunks() for name in table.column_names}
        dataset = write_dataset(tmp_path / f"s{number}", shards, (), columns=given_columns)
        select(dataset, rule, str(tmp_path / f"o{number}"), threads=threads)
        kept = pq.read_table(tmp_path / f"o{number}" / "train.parquet", columns=["uid", "score", "both"])
        found.append(sorted(kept.to_pylist(), key=lambda row: row["uid"]))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 900


@given(st.lists(st.integers(0, 9), max_size=30))
@settings(deadline=None)
def test_shards_are_brought_together_in_order_and_few_rows_at_a_time(counts: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dfndr_builders.select.keeping._ROWS", 12)
        ranges = ranges_of(counts)
    assert [shard for shards in ranges for shard in shards] == list(range(len(counts)))
    assert all(len(shards) for shards in ranges)
    assert all(sum(counts[shard] for shard in shards) <= 12 for shards in ranges)
    follow = pairwise(ranges)
    assert all(sum(counts[shard] for shard in shards) + counts[after[0]] > 12 for shards, after in follow)


def test_rows_are_the_same_however_many_are_brought_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    columns = {
        "uid": [f"{number:032x}" for number in rng.permutation(900)],
        "dfn": pa.array(rng.integers(0, 50, 900) / 50, pa.float32()),
        "clip": pa.array(rng.random(900), pa.float32()),
    }
    dataset = write_dataset(tmp_path / "s", [300, 1, 0, 299, 300], (), columns=columns)
    rule = Rule("dfn", top_fraction=0.5, validation=0.2, deciles=("dfn", "clip"))
    for most in (8_000_000, 301, 1):
        monkeypatch.setattr("dfndr_builders.select.keeping._ROWS", most)
        select(dataset, rule, str(tmp_path / f"{most}"))
    for name in ("train", "validation"):
        tables = [pq.read_table(tmp_path / f"{most}" / f"{name}.parquet") for most in (8_000_000, 301, 1)]
        assert tables[0] == tables[1] == tables[2]
        places = list(zip(tables[0]["shard"].to_pylist(), tables[0]["row"].to_pylist(), strict=True))
        assert places == sorted(places) and len(places) > 50


def test_dropped_rows_are_sampled_by_reason(tmp_path: Path) -> None:
    count = 200
    columns = {
        "uid": [f"{number * 7919 % 211:032x}" for number in range(count)],
        "dfn": pa.array([number / count for number in range(count)], pa.float32()),
        "width": pa.array([number % 4 for number in range(count)], pa.int32()),
    }
    dataset = write_dataset(tmp_path / "s", [120, 80], (), columns=columns)
    rule = Rule("dfn", count=20, drop=(DropRule("narrow", "width", "below", 1),))
    select(dataset, rule, str(tmp_path / "out"))
    rows = pq.read_table(tmp_path / "out" / "dropped_samples.parquet").to_pylist()
    number_of = {uid: number for number, uid in enumerate(columns["uid"])}
    narrow = [number_of[row["uid"]] for row in rows if row["reason"] == "narrow"]
    assert len(narrow) == 16 and narrow == sorted(narrow) and not any(number % 4 for number in narrow)
    low = [number for number in range(count) if number % 4][:-20]
    found = {number_of[row["uid"]] for row in rows if row["reason"] == "not_selected"}
    assert found <= set(low) and {*low[-32:], *low[:8]} <= found and 40 < len(found) <= 56
    assert all(row["score"] == pytest.approx(number_of[row["uid"]] / count) for row in rows)


@pytest.mark.parametrize("name", ["place", "split", "Score", "d0", "e0", "fate", "outcome", "nth"])
def test_a_fusion_may_have_any_name_that_is_free(tmp_path: Path, name: str) -> None:
    fusion = Fusion(name, "weighted", (("dfn", 2.0),))
    select(small(tmp_path / "s"), Rule(name, count=3, fusions=(fusion,), deciles=(name,)), str(tmp_path / "out"))
    rows = pq.read_table(tmp_path / "out" / "train.parquet").to_pylist()
    assert [row[name] for row in rows] == [row["score"] for row in rows] == pytest.approx([1.2, 1.4, 1.6])
    assert [row[f"{name}_decile"] for row in rows] == [0, 3, 6]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drop": (DropRule("x", "widht", "below", 1.0),)}, "expected one of: width"),
        ({"drop": (DropRule("x", "source", "below", 1.0),)}, "a column of numbers for `below`, found text"),
        ({"drop": (DropRule("x", "width", "is", "wide"),)}, "numbers for 'width'"),
        ({"drop": (DropRule("x", "source", "one_of", "a"),)}, "a list of values"),
        ({"groups": (("same_text", "same"),)}, "found 'same'"),
        ({"also": (Limit("clip", count=1),)}, "one of: dfn, found 'clip'"),
        ({"also": (Limit("dfn"),)}, "just one of top_fraction, threshold, count"),
        ({"quota": Quota("source")}, "just one of most"),
        ({"quota": Quota("language", most=1)}, "found 'language'"),
        ({"quota": Quota("source", shares=(("a", 0.7), ("b", 0.4)))}, "at most 1 in all"),
        ({"fusions": (Fusion("dfn", "z", (("dfn", 1.0),)),)}, "a name of its own"),
        ({"fusions": (Fusion("row", "z", (("dfn", 1.0),)),)}, "a name of its own, found row"),
        ({"fusions": (Fusion("dfn_decile", "z", (("dfn", 1.0),)),), "deciles": ("dfn",)}, "a name of its own"),
        ({"fusions": (Fusion("f", "rank", (("dfn", 0.0),)),)}, "weights above 0"),
        ({"deciles": ("nothing",)}, "one of: dfn, found 'nothing'"),
    ],
)
def test_what_cannot_be_selected_by_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    columns = {
        "uid": ["0" * 32],
        "dfn": pa.array([0.5], pa.float32()),
        "source": ["a"],
        "width": pa.array([5], pa.int32()),
    }
    dataset = write_dataset(tmp_path / "s", [1], (), columns=columns)
    with pytest.raises(RecipeError, match=message.replace("`", ".")):
        select(dataset, Rule("dfn", count=1, **changes), str(tmp_path / "out"))  # type: ignore[arg-type]


def test_listed_uids_may_be_packed_and_those_not_found_are_counted(tmp_path: Path) -> None:
    dataset = small(tmp_path / "s")
    include, exclude = [f"{0:032x}", f"{7:032x}", "f" * 32], [f"{7:032x}", f"{6:032x}", "e" * 32, "d" * 32]
    packed = pack_uids(include, "test"), pack_uids(exclude, "test")
    chosen = select(dataset, Rule("dfn", count=2), str(tmp_path / "out"), include=packed[0], exclude=packed[1])
    rows = pq.read_table(tmp_path / "out" / "train.parquet").to_pylist()
    assert [row["uid"][-1] for row in rows] == ["0", "5"]
    assert chosen.absent == {"include": 1, "exclude": 2}
    assert chosen.step.dropped == {"duplicate": 0, "excluded": 2, "not_selected": 4}
    assert (chosen.samples, chosen.cut) == (6, pytest.approx(0.1))
    assert read_selection(str(tmp_path / "out")) == chosen
