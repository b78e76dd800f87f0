"""`dfndr remove`: what it writes, what it says, and that doing it again, or half of it, harms nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from dfndr_builders.card import card
from dfndr_builders.removing import remove
from support.killed import DAY, killed_at, removed
from support.tiny import IMAGE, write_dataset
from support.verbs import run

from dfndr.dataset import open_dataset
from dfndr.describe import describe
from dfndr.errors import FormatError, UsageError
from dfndr.format.manifest import Counts, Step, read_manifest, write_manifest
from dfndr.format.removed import LOG, ROWS, read_log
from dfndr.verify import verify

SHARDS = (5, 3)
SOURCES = ["a", "b", "a", None, "b", "a", "a", "c"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = write_dataset(tmp_path / "set", SHARDS, (IMAGE,), columns={"source": SOURCES})
    counts = Counter(source or "" for source in SOURCES)
    parts = {name: Counts(rows + 1, rows, {"not_selected": 1}) for name, rows in counts.items()}
    step = Step("select", 8 + len(parts), 8, {"not_selected": len(parts)}, sources=parts)
    manifest = replace(made.manifest, funnel=(step,))
    write_manifest(made.root, manifest)
    (tmp_path / "set" / "README.md").write_text(card(manifest))
    return tmp_path / "set"


def uids_of(root: Path) -> list[str]:
    return open_dataset(root).rows(["uid"])["uid"].to_pylist()


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != ".dfndr-lock"
    }


def test_no_shard_is_written_again_and_the_funnel_adds_up_source_by_source(root):
    before, uids = contents(root), uids_of(root)
    done = remove(root, [uids[1], uids[3], uids[7]], reason="asked for", date=DAY)
    after, manifest = contents(root), read_manifest(str(root))
    assert {name for name in before if after[name] != before[name]} == {"manifest.json", "README.md"}
    assert {name.partition("-")[0] for name in set(after) - set(before)} == {ROWS, LOG}
    assert (done.removed, done.rows, done.stored, done.unknown, done.already) == (3, 5, 3, (), ())
    assert [(shard.rows, shard.removed, shard.dropped) for shard in manifest.shards] == [
        (3, 2, {"removed": 2}),
        (2, 1, {"removed": 1}),
    ]
    last = manifest.funnel[-1]
    assert (last.name, last.rows_in, last.rows_out, last.dropped) == ("remove", 8, 5, {"removed": 3})
    assert {name: (part.rows_in, part.rows_out) for name, part in last.sources.items()} == {
        "a": (4, 4),
        "b": (2, 1),
        "": (1, 0),
        "c": (1, 0),
    }
    assert verify(root).ok
    assert done.digest == manifest.digest


def test_a_second_removal_adds_to_the_step_and_the_log_and_knows_what_went_before(root):
    uids, first = uids_of(root), read_manifest(str(root)).digest
    second = remove(root, [uids[1]], reason="asked for", date=DAY).digest
    done = remove(root, [uids[1], uids[2].upper(), uids[2], "0" * 32], reason="takedown", date="2026-02-01")
    manifest = read_manifest(str(root))
    assert (done.removed, done.already, done.unknown) == (1, (uids[1],), ("0" * 32,))
    assert [step.name for step in manifest.funnel] == ["select", "remove"]
    assert manifest.funnel[-1].dropped == {"removed": 2}
    assert [(removal.before, removal.rows, removal.reason) for removal in manifest.removals] == [
        (first, 1, "asked for"),
        (second, 1, "takedown"),
    ]
    assert manifest.descends_from(first) and manifest.descends_from(second) and not manifest.descends_from(done.digest)
    log = read_log(str(root / manifest.files[LOG].path))
    assert [(entry.uid_sha256, entry.date, entry.reason) for entry in log] == [
        (hashlib.sha256(uids[row].encode()).hexdigest(), date, reason)
        for row, date, reason in ((1, DAY, "asked for"), (2, "2026-02-01", "takedown"))
    ]
    assert len(list((root / "removed").iterdir())) == 2, "the lists of the first removal are superseded"
    assert not [uid for uid in uids if uid.encode() in (root / manifest.files[LOG].path).read_bytes()]


def test_removing_twice_and_removing_nothing_change_nothing(root):
    uids = uids_of(root)
    remove(root, uids[:2], date=DAY)
    before = contents(root)
    again = remove(root, uids[:2], date="2027-01-01")
    assert (again.removed, again.already) == (0, tuple(sorted(uids[:2])))
    nothing = remove(root, ["f" * 32])
    assert (nothing.removed, nothing.unknown) == (0, ("f" * 32,))
    assert contents(root) == before


def test_the_order_of_removals_decides_nothing_but_the_digests_they_came_from(tmp_path, root):
    uids = uids_of(root)
    shutil.copytree(root, tmp_path / "other")
    for row in (0, 7, 4):
        remove(root, [uids[row]], date=DAY)
    remove(tmp_path / "other", [uids[4], uids[0], uids[7]], date=DAY)
    one, other = read_manifest(str(root)), read_manifest(str(tmp_path / "other"))
    assert replace(one, removals=()) == replace(other, removals=())


def test_the_card_and_info_tell_of_it_and_a_card_of_ones_own_stays(root):
    uids = uids_of(root)
    assert remove(root, uids[:1], reason="a <b> | reason", date=DAY).is_card_new
    manifest = read_manifest(str(root))
    assert (root / "README.md").read_text() == card(manifest)
    assert "| 2026-01-31 | 1 | a \\<b\\> \\| reason |" in card(manifest)
    assert "2026-01-31" in describe(manifest) and "a <b> | reason" in describe(manifest)
    (root / "README.md").write_text("mine")
    done = remove(root, uids[1:2], date=DAY)
    assert not done.is_card_new and "left as it is" in str(done)
    assert (root / "README.md").read_text() == "mine"


@pytest.mark.parametrize("reason", ["x" * 501, "two\nlines", "\x1b[31mred"])
def test_a_reason_that_cannot_be_told_on_a_line_is_refused(root, reason):
    with pytest.raises(UsageError, match="reason"):
        remove(root, uids_of(root)[:1], reason=reason)


def test_what_is_no_finished_dataset_here_is_refused(tmp_path, root):
    with pytest.raises(UsageError, match="local folder"):
        remove("hf://datasets/me/set", ["0" * 32])
    with pytest.raises(FormatError, match=r"manifest\.json"):
        remove(tmp_path / "nothing", ["0" * 32])
    assert not (tmp_path / "nothing").exists()
    manifest = read_manifest(str(root))
    write_manifest(str(root), replace(manifest, funnel=(Step("score", 8, 8),)))
    with pytest.raises(UsageError, match="a phase of a build"):
        remove(root, ["0" * 32])


def test_the_verb_counts_unknown_uids_and_names_them_in_json(tmp_path, root):
    uids = uids_of(root)
    (tmp_path / "gone.txt").write_text(f"# opted out\n{uids[0]}\n{'e' * 32}\n")
    told = run(["remove", str(root), "--uids", str(tmp_path / "gone.txt"), "--reason", "opt-out"])
    assert told.exit_code == 0, told.output
    assert "1 rows removed, 7 left" in told.output and "1 uids are of no row here" in told.output
    told = run(["remove", str(root), "--uids", str(tmp_path / "gone.txt"), "--json"])
    given = json.loads(told.stdout)
    assert (given["removed"], given["already"], given["unknown"]) == (0, [uids[0]], ["e" * 32])


@pytest.mark.slow
def test_a_removal_killed_at_any_change_of_the_disk_was_made_or_was_not_and_ends_the_same(tmp_path, root):
    uids = uids_of(root)
    remove(root, uids[:1], date=DAY)  # so that there are lists to be superseded
    shutil.copytree(root, tmp_path / "wanted")
    removed(str(tmp_path / "wanted"), uids[2:5])
    wanted = contents(tmp_path / "wanted")
    moment, was_killed = 0, True
    while was_killed:
        place = tmp_path / f"at-{moment}"
        shutil.copytree(root, place)
        was_killed = killed_at(moment, removed, str(place), uids[2:5])
        assert verify(place).ok, f"killed at {moment}: {verify(place)}"
        assert len(open_dataset(place)) in (7, 4)
        removed(str(place), uids[2:5])
        assert contents(place) == wanted, f"killed at {moment}"
        moment += 1
    assert moment > 8


def test_files_that_hold_removed_rows_are_told_of_and_are_whole(root):
    uids = uids_of(root)
    assert "files still hold 1 removed rows" in str(remove(root, uids[:1]))
    stored = read_manifest(str(root)).shards[0].files["rows"]
    assert pq.read_metadata(root / stored.path).num_rows == 5
