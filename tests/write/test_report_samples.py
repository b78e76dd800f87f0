"""The dropped rows that the report shows: which are chosen, and what is collected of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from dfndr_builders.pools.glyphs import GlyphsPool
from dfndr_builders.report.samples import choose, collect
from dfndr_builders.rules import DropRule
from dfndr_builders.select import Rule, select
from support.reported import rows as _rows
from support.tiny import write_dataset

from dfndr.images import decode, thumbnail


def _dropped(folder: Path, rows: Sequence[tuple[int, int, str, float | None, str]]) -> None:
    schema = pa.schema(
        [
            ("shard", pa.int32()),
            ("row", pa.int32()),
            ("uid", pa.string()),
            ("score", pa.float32()),
            ("reason", pa.string()),
        ]
    )
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema),
                   folder / "dropped_samples.parquet")  # fmt: skip


def test_rows_to_show_are_the_nearest_to_the_cut_the_lowest_and_a_few_of_each_reason(tmp_path: Path):
    rows = [(0, number, f"{number:032x}", number / 100, "not_selected") for number in range(60)]
    rows += [(1, number, f"{number + 60:032x}", None, "few_words") for number in range(16)]
    for name, given_rows in (("one", rows), ("other", rows[::-1])):
        _dropped(tmp_path / name, given_rows)
    chosen = choose(str(tmp_path / "one"))
    assert chosen.equals(choose(str(tmp_path / "other")))
    below = [row["row"] for row in chosen.to_pylist() if row["reason"] == "not_selected"]
    assert below == [*range(8), *range(44, 60)]
    assert chosen["reason"].to_pylist().count("few_words") == 8
    assert choose(str(tmp_path / "nothing")).num_rows == 0


def test_rows_to_show_are_from_few_shards_and_every_reason_has_some(tmp_path: Path):
    rows = [(number, 0, f"{number:032x}", 0.1, "not_selected") for number in range(500)]
    rows += [(number, 1, f"{number + 500:032x}", None, f"rule_{number % 4}") for number in range(0, 500, 25)]
    _dropped(tmp_path, rows)
    chosen = choose(str(tmp_path), shards=10)
    assert len(set(chosen["shard"].to_pylist())) <= 10
    assert set(chosen["reason"].to_pylist()) == {"not_selected", "rule_0", "rule_1", "rule_2", "rule_3"}


def test_what_a_selection_leaves_is_what_the_page_shows(tmp_path: Path):
    table = _rows(100)
    table["same"] = pa.array([7 if row in (90, 95) else None for row in range(100)], pa.int64())
    scores = write_dataset(tmp_path / "scores", [60, 40], (), columns=table)
    rule = DropRule("narrow_image", "width", "below", 110)
    told = Rule("dfn", count=30, drop=(rule,), groups=(("same_image", "same"),))
    selection = select(scores, told, str(tmp_path / "select"))
    chosen = choose(str(tmp_path / "select")).to_pylist()
    by_reason: dict[str | None, list[int]] = {}
    for row in chosen:
        by_reason.setdefault(row["reason"], []).append(60 * row["shard"] + row["row"])
    assert by_reason.keys() - {None} == {reason for reason, count in selection.step.dropped.items() if count}
    assert by_reason["same_image"] == [90]
    assert by_reason[None] == [95]
    assert set(by_reason["narrow_image"]) <= set(range(10))
    assert by_reason["not_selected"] == [*range(10, 18), *range(53, 69)]


def test_a_removed_duplicate_brings_the_row_that_it_gave_way_to(tmp_path: Path):
    _dropped(tmp_path, [(2, 5, "a" * 32, 0.1, "same_image")])
    audit = {"uid": ["b" * 32, "a" * 32], "reason": ["same_image"] * 2, "kept_uid": ["c" * 32, "d" * 32]}
    pq.write_table(pa.table({**audit, "kept_shard": [0, 4], "kept_row": [1, 6]}), tmp_path / "audit.parquet")
    found = [
        (row["shard"], row["row"], row["uid"], row["reason"], row["kept_uid"])
        for row in choose(str(tmp_path)).to_pylist()
    ]
    assert found == [(2, 5, "a" * 32, "same_image", "d" * 32), (4, 6, "d" * 32, None, None)]


def test_collected_rows_have_the_pictures_that_the_pool_has(tmp_path: Path):
    import hashlib

    pool = GlyphsPool(size=48, seed=0, count=60)
    table = pa.concat_tables(pool.read(pool.shards()[0]))
    hashes = [hashlib.sha256(image).hexdigest() for image in table["image"].to_pylist()]
    hashes[3] = "0" * 64  # the pool holds another picture now
    columns = {"uid": table["uid"], "key": table["key"], "text": table["text"], "sha256": hashes}
    scores = write_dataset(tmp_path / "scores", [len(table)], (), columns=columns)
    uids = table["uid"].to_pylist()
    _dropped(tmp_path / "select", [(0, row, uids[row], None, "few_words") for row in (3, 7, 50)])
    collect(pool, scores, choose(str(tmp_path / "select")), str(tmp_path / "select"))
    found = pq.read_table(tmp_path / "select" / "samples.parquet").to_pylist()
    assert [(row["uid"], row["reason"]) for row in found] == [(uids[row], "few_words") for row in (3, 7, 50)]
    small = [thumbnail(decode(table["image"][row].as_py()), 128) for row in (7, 50)]
    assert [row["thumbnail"] for row in found] == [None, *small]
    before = (tmp_path / "select" / "samples.parquet").stat().st_mtime_ns
    collect(pool, scores, choose(str(tmp_path / "select")), str(tmp_path / "select"))
    assert (tmp_path / "select" / "samples.parquet").stat().st_mtime_ns == before
