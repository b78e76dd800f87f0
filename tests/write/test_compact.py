"""`dfndr compact`: only what held a removed row is written again, and nothing of the row is left in any file."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dfndr_builders.removing import compact, remove
from support.killed import DAY, compacted, killed_at
from support.tiny import IMAGE, TEXT, write_dataset
from support.verbs import run

from dfndr.dataset import open_dataset
from dfndr.format.manifest import Step, read_manifest, write_manifest
from dfndr.format.removed import LOG, ROWS, read_log
from dfndr.format.shard import rows_path, write_rows
from dfndr.search import Index
from dfndr.verify import verify

SHARDS = (6, 4, 5)
GONE = [1, 12]
"""A row of the first shard and one of the third."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset with failed rows, an audit file and a caption that is another row's text."""
    texts = [f"the text of row {row}, word for word" for row in range(15)]
    captions = pa.array([[texts[1] if row == 8 else f"caption {row}"] for row in range(15)], pa.list_(pa.string()))
    made = write_dataset(tmp_path / "set", SHARDS, (IMAGE, TEXT), columns={"text": texts, "captions": captions})
    place, uids = made.root, uids_of(tmp_path / "set")
    failed = {"uid": [uids[1], "0" * 32], "key": ["my/key", "other"], "reason": ["text_missing", "text_empty"]}
    problems = pa.table({**failed, "detail": ["in my/key.jpg", None]}).cast(
        pa.schema([(name, pa.string()) for name in ("uid", "key", "reason", "detail")])
    )
    stored = write_rows(place, rows_path("train", 1, "problems"), problems)
    audit = pa.table({"uid": ["a" * 32, "b" * 32, "c" * 32], "kept_uid": [uids[12], uids[0], uids[1]]})
    files = {"audit/duplicates": write_rows(place, "audit/duplicates-{hash8}.parquet", audit)}
    second = replace(
        made.shards[1],
        rows_in=6,
        failed={"text_missing": 1, "text_empty": 1},
        files={**made.shards[1].files, "problems": stored},
    )
    shards = (made.shards[0], second, made.shards[2])
    funnel = (Step("build", 17, 15, {}, {"text_missing": 1, "text_empty": 1}),)
    write_manifest(place, replace(made.manifest, shards=shards, files=files, funnel=funnel))
    (tmp_path / "set" / "phases").mkdir()
    (tmp_path / "set" / "phases" / "scores.parquet").write_bytes(b"texts of the pool")
    return tmp_path / "set"


def uids_of(root: Path) -> list[str]:
    return open_dataset(root).rows(["uid"])["uid"].to_pylist()


def gone_of(root: Path) -> list[str]:
    uids = uids_of(root)
    return [uids[row] for row in GONE]


def contents(root: Path) -> dict[str, bytes]:
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if name != ".dfndr-lock"}


def everything(root: Path) -> str:
    """Return all that is in a dataset's files as text: Parquet read out, the rest as it is."""
    parts = []
    for path in sorted(root.rglob("*")):
        if path.suffix == ".parquet" and "phases" not in path.parts:
            parts.append(str(pq.read_table(path).to_pylist()))
        elif path.is_file() and path.suffix != ".npy":
            parts.append(path.read_text(errors="replace"))
    return "\n".join(parts)


def test_rows_and_vectors_are_those_that_were_left_and_other_shards_stay_as_they_are(root):
    before, gone = open_dataset(root), gone_of(root)
    files = contents(root)
    vectors = {name: np.asarray(before.vectors(name)) for name in before.spaces}
    remove(root, gone, reason="asked for", date=DAY)
    left = open_dataset(root).rows()
    done = compact(root, date=DAY)
    after = open_dataset(root)
    assert (done.rows, done.taken_out, done.shards, done.audit_rows, done.echoes) == (13, 2, 3, 2, 1)
    assert after.rows().equals(left)
    kept = [row for row in range(15) if row not in GONE]
    assert all((after.vectors(name) == vectors[name][kept]).all() for name in vectors)
    manifest = after.manifest
    assert manifest.removed == 0 and ROWS not in manifest.files
    assert [shard.dropped for shard in manifest.shards] == [{"removed": 1}, {}, {"removed": 1}]
    same = {name for name in files if contents(root).get(name) == files[name]}
    untouched = manifest.shards[1].files
    assert {untouched[role].path for role in ("rows", IMAGE.name, TEXT.name)} < same
    assert all(stored.path not in files for role, stored in manifest.shards[0].files.items())
    assert verify(root).ok, str(verify(root))
    assert not [finding for finding in verify(root).findings if finding.what == "stray"]


def test_nothing_of_a_removed_row_is_left_in_any_file_but_the_hash_of_its_uid(root):
    uids, gone = uids_of(root), gone_of(root)
    vector = open_dataset(root).vectors(IMAGE.name, [1]).tobytes()
    remove(root, gone, reason="asked for", date=DAY)
    told = everything(root)
    assert uids[1] in told and "the text of row 1," in told
    compact(root, date=DAY)
    told = everything(root)
    assert not [uid for uid in gone if uid in told]
    assert "my/key" not in told and "the text of row 12," not in told
    assert not [path for path in root.rglob("*.npy") if vector in path.read_bytes()]
    assert told.count("the text of row 1,") == 1, "the caption of row 8, which is told of"
    problems = pq.read_table(root / read_manifest(str(root)).shards[1].files["problems"].path).to_pylist()
    assert problems[0] == {"uid": None, "key": None, "reason": "text_missing", "detail": None}
    assert problems[1]["key"] == "other"
    assert len(read_log(str(root / read_manifest(str(root)).files[LOG].path))) == 2


def test_an_index_saved_before_works_after_both(root, tmp_path):
    whole = open_dataset(root)
    Index.build(whole, IMAGE.name, kind="numpy").save(str(tmp_path / "index"))
    queries, gone = whole.vectors(IMAGE.name)[:, 0].astype(np.float32), gone_of(root)
    remove(root, gone, date=DAY)
    compact(root, date=DAY)
    found = Index.load(str(tmp_path / "index"), dataset=open_dataset(root), kind="numpy").search(queries, k=15)
    wanted = Index.build(open_dataset(root), IMAGE.name, kind="numpy").search(queries, k=15)
    assert (found.uids == wanted.uids).all() and (found.scores == wanted.scores).all()
    assert found.uids.shape == (15, 13) and not set(gone) & set(found.uids.ravel().tolist())


def test_compacting_twice_changes_nothing_and_removing_goes_on_after_it(root):
    uids = uids_of(root)
    remove(root, gone_of(root), date=DAY)
    compact(root, date=DAY)
    before = contents(root)
    again = compact(root, date="2027-01-01")
    assert again.taken_out == 0 and "no file held a removed row" in str(again)
    assert contents(root) == before
    remove(root, [uids[2]], date=DAY)
    compact(root, date=DAY)
    manifest = read_manifest(str(root))
    assert [removal.rows for removal in manifest.removals] == [2, 0, 1, 0]
    assert manifest.shards[0].dropped == {"removed": 2} and manifest.funnel[-1].dropped == {"removed": 3}
    assert verify(root).ok and len(open_dataset(root)) == 12


def test_a_shard_of_which_nothing_is_left_is_an_empty_one(root):
    remove(root, uids_of(root)[6:10], date=DAY)
    compact(root, date=DAY)
    dataset = open_dataset(root)
    assert [shard.rows for shard in dataset.shards] == [6, 0, 5]
    assert verify(root).ok, str(verify(root))
    assert len(Index.build(dataset, IMAGE.name, kind="numpy")) == 11


def test_the_phases_are_told_of_and_deleted_when_asked(root):
    remove(root, gone_of(root), date=DAY)
    told = run(["compact", str(root)])
    assert "phases/ was left: 17 bytes, with texts of the whole pool" in told.output
    assert "1 rows have the text of a removed row as a caption" in told.output
    told = json.loads(run(["compact", str(root), "--phases", "--json"]).stdout)
    assert told["phases_bytes"] == 0 and not (root / "phases").exists()


@pytest.mark.slow
def test_a_compaction_killed_at_any_change_of_the_disk_and_made_again_ends_in_the_same_files(root, tmp_path):
    remove(root, gone_of(root), date=DAY)
    rows = open_dataset(root).rows()
    shutil.copytree(root, tmp_path / "wanted")
    compacted(str(tmp_path / "wanted"))
    wanted = contents(tmp_path / "wanted")
    moment, was_killed = 0, True
    while was_killed:
        place = tmp_path / f"at-{moment}"
        shutil.copytree(root, place)
        was_killed = killed_at(moment, compacted, str(place))
        assert open_dataset(place).rows().equals(rows), f"killed at {moment}"
        compacted(str(place))
        assert contents(place) == wanted, f"killed at {moment}"
        shutil.rmtree(place)
        moment += 3
    assert moment > 20
