"""Builds from S3 into S3, through what goes wrong there: the digest is that of an undisturbed build on a disk."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("moto.server", reason="the S3 server of the tests is moto's")
pytest.importorskip("s3fs", reason="S3 is read and written by s3fs")

from dfndr_builders.build import build
from dfndr_builders.clip.folder import finished
from dfndr_builders.engines.processes import Processes
from dfndr_builders.output import LOCK
from dfndr_builders.phase import run_phase
from dfndr_builders.pools.glyphs import GlyphsPool
from dfndr_builders.pools.webdataset import WebDatasetPool
from support import s3 as s3_server
from support.faults import POOL, command, write_recipe
from support.pools import rows_of, tar_of
from support.s3 import Store
from support.working import Harm, job, units

from dfndr import leases, storage
from dfndr.dataset import open_dataset
from dfndr.errors import DfndrError, StorageError, UsageError
from dfndr.format.manifest import Manifest
from dfndr.locks import locked
from dfndr.progress import SILENT
from dfndr.verify import verify

HASHED = re.compile(r"-([0-9a-f]{8})\.(parquet|npy|json)$")
server, store = s3_server.server, s3_server.store


@pytest.fixture(scope="module")
def undisturbed(server: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """A recipe whose pool is tars at S3, and the manifest of a build of it on a disk."""
    rows = rows_of(GlyphsPool(size=16, seed=7, count=40))
    for number in range(2):
        members = [
            (f"{row:03d}.{suffix}", rows[row][column])
            for row in range(20 * number, 20 * number + 20)
            for suffix, column in (("png", "image"), ("txt", "text"))
        ]
        storage.put("s3://bucket/pool", f"{number:03d}.tar", tar_of(members))
    folder = tmp_path_factory.mktemp("recipe")
    pool = POOL, 'kind = "webdataset"\npath = "s3://bucket/pool/*.tar"'
    recipe = write_recipe(folder, pool, ("rows_per_shard = 5", "rows_per_shard = 10"))
    return recipe, build(recipe, folder / "out", device="cpu")


def assert_whole(store: Store, folder: str) -> None:
    """Every object with a hash in its name has it, and the dataset is verified."""
    for name, content in store.objects("bucket").items():
        if name.startswith(folder) and (named := HASHED.search(name)) is not None:
            assert hashlib.sha256(content).hexdigest()[:8] == named[1], name
    assert verify(f"s3://bucket/{folder}").ok


def test_a_build_while_one_request_in_five_fails_has_the_digest_of_one_that_nothing_disturbed(
    store: Store, undisturbed: tuple[Path, Manifest]
) -> None:
    recipe, wanted = undisturbed
    store.failing, failed, asked = 0.2, store.failed, len(store.requests)
    assert build(recipe, "s3://bucket/flaky", device="cpu").digest == wanted.digest
    assert store.failed - failed > 0.1 * (len(store.requests) - asked)
    assert_whole(store, "flaky")
    there, here = open_dataset("s3://bucket/flaky"), open_dataset(recipe.parent / "out")
    assert there.rows() == here.rows()


@pytest.mark.parametrize("at", ["score-.*/rows/", "shards/.*00001.json", "manifest.json"])
def test_a_build_whose_store_went_away_goes_on_where_it_was(
    store: Store, undisturbed: tuple[Path, Manifest], at: str
) -> None:
    recipe, wanted = undisturbed
    out = f"s3://bucket/stopped-{hashlib.md5(at.encode()).hexdigest()[:6]}"
    store.fault(f"PUT /bucket/stopped.*{at}", "cut-upload", 99)
    with pytest.raises(StorageError, match="8 times in a row"):
        build(recipe, out, device="cpu")
    assert not storage.exists(f"{out}/manifest.json")
    store.faults.clear()
    done = len([path for path in storage.list_files(out) if re.search(r"^shards/.*\.json", path)])
    first = len(store.requests)
    assert build(recipe, out, device="cpu").digest == wanted.digest
    made = sum(bool(re.search(r"PUT .*-[0-9a-f]{6}/shards/.*json", one)) for one in store.requests[first:])
    assert made == len(wanted.shards) - done
    assert_whole(store, out.removeprefix("s3://bucket/"))


def test_files_come_before_their_record_and_that_before_the_manifest_and_what_is_harmed_is_made_again(
    store: Store, undisturbed: tuple[Path, Manifest]
) -> None:
    recipe, wanted = undisturbed
    out, first = "s3://bucket/order", len(store.requests)
    build(recipe, out, device="cpu")
    put = [one.removeprefix("PUT /bucket/order/") for one in store.requests[first:] if one.startswith("PUT")]
    places = {path: place for place, path in enumerate(put)}
    for shard in wanted.shards:
        record = places[f"shards/{str(wanted.provenance['phase'])[:12]}/{shard.index:05d}.json"]
        assert all(places[stored.path] < record for stored in shard.files.values())
        assert record < places["manifest.json"]
    assert [path for path in put if path != LOCK][-1] == "manifest.json"
    gone, cut = (shard.files["image/tiny"].path for shard in wanted.shards)
    storage.remove(f"{out}/{gone}")
    storage.put(out, cut, storage.read_bytes(f"{out}/{cut}")[:-1])
    storage.remove(f"{out}/manifest.json")
    assert build(recipe, out, device="cpu").digest == wanted.digest
    assert_whole(store, "order")


def test_a_second_build_is_refused_while_one_runs_and_one_that_lost_the_folder_writes_no_manifest(
    store: Store, undisturbed: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, wanted = undisturbed
    monkeypatch.setattr(leases, "BEAT_S", 0.05)
    monkeypatch.setattr(leases, "LOOK_S", 0.02)
    out = "s3://bucket/two"
    with locked(out, LOCK), pytest.raises(UsageError, match="one that is running: process"):
        build(recipe, out, device="cpu")
    plain = leases._Lease.check

    def taken_over(lease: leases._Lease) -> None:
        storage.put(out, LOCK, b'{"holder": "another"}')
        plain(lease)

    with monkeypatch.context() as patch:
        patch.setattr(leases._Lease, "check", taken_over)
        with pytest.raises(StorageError, match="another process that took it over"):
            build(recipe, out, device="cpu")
    assert not storage.exists(f"{out}/manifest.json")
    storage.remove(f"{out}/{LOCK}")
    with pytest.raises(UsageError, match="a new folder, or one that a build made"):
        build(recipe, out, device="cpu")
    storage.put(out, LOCK, b'{"holder": ""}')
    assert build(recipe, out, device="cpu").digest == wanted.digest


def test_a_folder_of_something_else_is_left_alone(store: Store, undisturbed: tuple[Path, Manifest]) -> None:
    storage.put("s3://bucket/mine", "thesis.tex", b"precious")
    with pytest.raises(UsageError, match=r"found 'thesis.tex' in it"):
        build(undisturbed[0], "s3://bucket/mine", device="cpu")
    with pytest.raises(StorageError, match="no bucket is made here"):
        build(undisturbed[0], "s3://gone/x", device="cpu")
    assert storage.list_files("s3://bucket/mine") == ["thesis.tex"]


def test_a_pool_that_cannot_be_read_stops_the_build_and_no_row_is_counted_as_damaged(
    store: Store, undisturbed: tuple[Path, Manifest]
) -> None:
    recipe, wanted = undisturbed
    store.fault("GET /bucket/pool/001.tar", "half", 99)
    with pytest.raises(DfndrError, match=r"pool/001\.tar"):
        build(recipe, "s3://bucket/unread", device="cpu")
    store.faults.clear()
    assert build(recipe, "s3://bucket/unread", device="cpu").digest == wanted.digest


def test_verbs_work_at_s3_or_say_that_they_do_not_before_anything_is_done(
    store: Store, undisturbed: tuple[Path, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curated = '[[duplicates]]\nkind = "same_text"\n\n[[measure]]\nkind = "image"\n\n[select]'
    recipe, out = write_recipe(tmp_path / "curated", ("[select]", curated)), "s3://bucket/verbs"
    assert command("build", recipe, "--out", out, "--device", "cpu") == 0
    assert open_dataset(out).digest == build(recipe, tmp_path / "here", device="cpu").digest
    uid = open_dataset(out).rows(["uid"])["uid"][0].as_py()
    (tmp_path / "uids.txt").write_text(uid)
    for words in (
        ["info", out],
        ["search", out, "--uid", uid],
        ["select", out, "--dry-run", "--top-fraction", "0.3"],
        ["report", out, "--out", "s3://bucket/made/report.html"],
        ["export", out, "parquet", "--out", "s3://bucket/made/parquet"],
        ["plan", recipe, "--out", "s3://bucket/made/plan"],
    ):
        assert command(*words) == 0, words
    capsys.readouterr()
    for words, said in (
        (["remove", out, "--uids", tmp_path / "uids.txt"], "expected a local folder"),
        (["compact", out], "expected a local folder"),
        (["publish", out, "me/set", "--dry-run"], "expected a local folder"),
        (["search", out, "--uid", uid, "--index", "s3://bucket/index"], "expected a local folder"),
    ):
        assert command(*words) == 2, words
        assert said in capsys.readouterr().err
    with pytest.raises(UsageError, match="a local folder to train into"):
        finished("s3://bucket/trained", "a" * 64, work="work")
    assert not [name for name in store.objects("bucket") if name.startswith(("index", "trained"))]


def test_workers_open_the_store_by_themselves_and_one_that_is_killed_costs_nothing_but_time(
    store: Store, tmp_path: Path
) -> None:
    wanted = run_phase("score", job(tmp_path / "here"), units(6), SILENT)
    (tmp_path / "due").mkdir()
    (tmp_path / "due" / "once").touch()
    there = replace(job(tmp_path, Harm("kill", "3/0", str(tmp_path / "due"))), root="s3://bucket/workers")
    store.failing = 0.1
    assert run_phase("score", there, units(6), SILENT, engine=Processes(workers=2)) == wanted
    assert not [path for path in storage.list_files("s3://bucket/workers") if "strike" in path]


def test_a_pool_of_many_files_is_looked_at_by_a_list_and_once(store: Store) -> None:
    for number in range(12):
        storage.put("s3://bucket/many", f"{number:03d}.tar", tar_of([]))
    pool, first = WebDatasetPool(("s3://bucket/many/*.tar",)), len(store.requests)
    looks = [shard.look for shard in pool.shards()]
    assert [shard.look for shard in pool.shards()] == looks and len(set(looks)) == 12
    assert len(store.requests) - first < 8
    storage.put("s3://bucket/many", "003.tar", tar_of([("x.txt", b"x")]))
    changed = [shard.look for shard in WebDatasetPool(("s3://bucket/many/*.tar",)).shards()]
    assert [one != other for one, other in zip(looks, changed, strict=True)].index(True) == 3
    assert sum(one != other for one, other in zip(looks, changed, strict=True)) == 1
