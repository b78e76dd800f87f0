"""Lists of removed rows that somebody else wrote: none shows a removed row, and `verify` names what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from dfndr_builders.removing import remove
from support.tiny import IMAGE, write_dataset

from dfndr.dataset import open_dataset
from dfndr.errors import FormatError
from dfndr.format.manifest import read_manifest, write_manifest
from dfndr.format.removed import LOG, ROWS
from dfndr.format.shard import write_rows
from dfndr.loader import Loader
from dfndr.verify import verify

GONE = [(0, 1), (0, 4), (1, 2)]
"""Shard and row of what is removed; the shards have five and three rows."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = write_dataset(tmp_path / "set", (5, 3), (IMAGE,))
    uids = made.rows(["uid"])["uid"].to_pylist()
    remove(made.root, [uids[shard * 5 + row] for shard, row in GONE], date="2026-01-31")
    return tmp_path / "set"


def table_of(root: Path, **changed: pa.Array) -> pa.Table:
    manifest = read_manifest(str(root))
    given = pa.parquet.read_table(root / manifest.files[ROWS].path)
    for name, values in changed.items():
        given = given.set_column(given.column_names.index(name), name, values)
    return given


def give(root: Path, table: pa.Table, role: str = ROWS) -> None:
    """Put another list in the place of the dataset's, with the right size and sha256."""
    manifest = read_manifest(str(root))
    stored = write_rows(str(root), f"{role}-{{hash8}}.parquet", table)
    write_manifest(str(root), replace(manifest, files={**manifest.files, role: stored}))


REFUSED = {
    "a row beyond the shard": {"row": pa.array([1, 5, 2])},
    "a row below zero": {"row": pa.array([-1, 4, 2])},
    "a row twice": {"row": pa.array([1, 1, 2])},
    "rows in another order": {"row": pa.array([4, 1, 2])},
    "a shard that is not there": {"shard": pa.array([0, 0, 9], pa.int32())},
    "other counts than the shards'": {"shard": pa.array([0, 1, 1], pa.int32())},
    "shards in another order": {"shard": pa.array([1, 0, 0], pa.int32())},
    "a null": {"row": pa.array([1, None, 2], pa.int64())},
    "another type": {"row": pa.array([1, 4, 2], pa.int32())},
    "text for numbers": {"row": pa.array(["1", "4", "2"])},
}


@pytest.mark.parametrize("changed", REFUSED.values(), ids=REFUSED.keys())
def test_a_list_that_does_not_fit_is_refused_by_every_reader_and_named_by_verify(root, changed):
    give(root, table_of(root, **changed))
    dataset = open_dataset(root)
    assert len(dataset) == 5
    readers = {
        "rows": dataset.rows,
        "where": lambda: dataset.rows(where=pa.compute.field("uid") != ""),
        "tables": lambda: list(dataset.tables()),
        "vectors": lambda: dataset.vectors(IMAGE.name),
        "mapped": lambda: list(dataset.mapped(IMAGE.name)),
        "loader": lambda: list(Loader(dataset, [IMAGE.name])),
    }
    for name, read in readers.items():
        with pytest.raises(FormatError):
            pytest.fail(f"{name} gave {read()}")
    found = [finding for finding in verify(root).findings if finding.what == "removed"]
    assert [finding.file for finding in found] == [read_manifest(str(root)).files[ROWS].path]


def test_a_list_of_another_number_of_rows_or_columns_is_refused(root):
    whole = table_of(root)
    for table in (whole.slice(0, 2), whole.drop_columns("uid"), whole.append_column("more", pa.array([1, 2, 3]))):
        give(root, table)
        with pytest.raises(FormatError):
            open_dataset(root).rows()
        assert not verify(root).ok


def test_a_list_that_is_no_parquet_or_not_there_is_refused(root):
    path = root / read_manifest(str(root)).files[ROWS].path
    path.write_bytes(b"PAR1" + b"\0" * (path.stat().st_size - 8) + b"PAR1")
    with pytest.raises(FormatError):
        open_dataset(root).rows()
    with pytest.raises(FormatError):
        open_dataset(root, check="size").rows()
    assert not verify(root).ok
    path.unlink()
    assert "missing" in [finding.what for finding in verify(root).findings]


def test_verify_names_a_list_that_says_other_uids_and_a_removed_uid_that_is_still_shown(root):
    table = table_of(root)
    give(root, table_of(root, uid=pa.array(["f" * 32, *table["uid"].to_pylist()[1:]])))
    found = [finding for finding in verify(root).findings if finding.what == "removed"]
    assert any("the uids of the rows that are gone" in finding.expected for finding in found)
    assert any("f" * 32 in finding.found for finding in found), "the log does not have it"
    give(root, table_of(root, row=pa.array([0, 4, 2]), uid=table["uid"]))
    found = [finding for finding in verify(root).findings if finding.what == "removed"]
    assert any("every row of a uid that was removed" in finding.expected for finding in found)


@pytest.mark.parametrize(
    "log",
    [
        {"uid_sha256": ["x"], "date": ["2026-01-31"], "reason": [""]},
        {"uid_sha256": ["a" * 64], "date": ["yesterday"], "reason": [""]},
        {"uid_sha256": ["a" * 64], "date": ["2026-01-31"], "reason": ["x" * 501]},
        {"uid_sha256": ["a" * 64], "date": ["2026-01-31"]},
        {"uid_sha256": [None], "date": ["2026-01-31"], "reason": [""]},
    ],
)
def test_a_log_that_says_something_else_is_named_by_verify(root, log):
    schema = pa.schema([(name, pa.string()) for name in log])
    give(root, pa.table(log, schema=schema), LOG)
    assert [f.file for f in verify(root).findings if f.what == "removed"] == [read_manifest(str(root)).files[LOG].path]


LIES = {
    "more removed than dropped for it": lambda given: given["shards"][0].update(removed=3),
    "fewer removed than the list has": lambda given: given["shards"][1].pop("removed"),
    "no list": lambda given: given["files"].pop(ROWS),
    "no log": lambda given: given["files"].pop(LOG),
    "no removals": lambda given: given.pop("removals"),
    "removals of other rows": lambda given: given["removals"][0].update(rows=2),
    "a removal on no day": lambda given: given["removals"][0].update(date="31.1.2026"),
    "a removal from no digest": lambda given: given["removals"][0].update(before="../x"),
    "a removal with a field of its own": lambda given: given["removals"][0].update(uid="0" * 32),
    "removals that are no list": lambda given: given.update(removals={"0": 1}),
    "a negative count": lambda given: given["shards"][0].update(removed=-1),
    "rows that come back": lambda given: given["shards"][0].update(rows=5, dropped={}),
}


@pytest.mark.parametrize("change", LIES.values(), ids=LIES.keys())
def test_a_manifest_that_lies_about_removed_rows_is_refused_or_its_list_is(root, change):
    given = json.loads((root / "manifest.json").read_text())
    change(given)
    (root / "manifest.json").write_text(json.dumps(given))
    with pytest.raises(FormatError):
        open_dataset(root).rows()
    assert not verify(root).ok


def test_a_reader_that_does_not_know_of_removed_rows_refuses_the_dataset(root):
    known = {"index", "split", "rows_in", "rows", "dropped", "failed", "files", "notes"}
    given = json.loads((root / "manifest.json").read_text())
    assert set(given["shards"][0]) - known == {"removed"}, "the field that the format before it did not have"
