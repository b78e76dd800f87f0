"""Loading from the Hub: only what is asked for, once, whole or not at all, through every fault; against a stand-in."""

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.hub import Hub
from support.published import hub_for_reading, put_folder
from support.tiny import CAPTION, IMAGE, TEXT, write_dataset

from dfndr import open_dataset
from dfndr.console import Lines
from dfndr.errors import FormatError, StorageError, UsageError
from dfndr.verify import verify

ROOT = "hf://datasets/me/set"
SPACES = (IMAGE, TEXT)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with hub_for_reading(monkeypatch, tmp_path / "cache") as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that no test alters."""
    root = tmp_path_factory.mktemp("here") / "set"
    write_dataset(root, (40, 40, 30, 30, 20, 20), SPACES)
    return root


def cached(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "cache").glob("??/*")}


def test_the_manifest_comes_first_then_only_what_is_asked_for_and_each_file_once(
    hub: Hub, folder: Path, tmp_path: Path
) -> None:
    put_folder(hub, "me/set", folder)
    here, there = open_dataset(folder), open_dataset(ROOT)
    assert there.digest == here.digest and cached(tmp_path) == set()
    assert (there.vectors(IMAGE.name, [0, 179]) == here.vectors(IMAGE.name, [0, 179])).all()
    asked = [here.shards[number].files[IMAGE.name] for number in (0, 5)]
    assert cached(tmp_path) == {stored.sha256 for stored in asked}
    assert there.rows(["uid"]) == here.rows(["uid"])
    assert not any(stored.sha256 in cached(tmp_path) for shard in here.shards for stored in [shard.files[TEXT.name]])
    assert (there.vectors(IMAGE.name) == here.vectors(IMAGE.name)).all()
    open_dataset(ROOT).vectors(IMAGE.name)
    for shard in here.shards:
        assert hub.count(f"GET .*/resolve/.*/{shard.files[IMAGE.name].path}") == 1


def test_a_revision_is_opened_and_what_is_published_later_changes_nothing_of_it(
    hub: Hub, folder: Path, tmp_path: Path
) -> None:
    first = put_folder(hub, "me/set", folder)
    hub.repos["me/set"].tags["v1"] = first
    opened = open_dataset(ROOT)
    newer = write_dataset(tmp_path / "newer", (7,), SPACES, seed=1)
    put_folder(hub, "me/set", tmp_path / "newer")
    assert open_dataset(ROOT).digest == newer.digest
    old = open_dataset(folder)
    assert open_dataset(f"{ROOT}@v1").digest == open_dataset(f"{ROOT}@{first}").digest == old.digest
    assert opened.rows() == old.rows(), "the files of the commit that was opened"
    with pytest.raises(StorageError, match=r"name and the revision"):
        open_dataset(f"{ROOT}@v2")
    with pytest.raises(StorageError, match=r"log in with"):
        open_dataset("hf://datasets/me/nothing")


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429, "headers": {"Retry-After": "0"}},
        {"status": 500, "times": 3},
        {"status": 503},
        {"kind": "cut", "times": 2},
        {"kind": "half"},
        {"kind": "half", "times": 3},
        {"kind": "slow"},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values() if not isinstance(value, dict)),
)
@pytest.mark.parametrize("on", ["/revision/|GET /api/datasets/me/set$", "resolve/.*manifest", "resolve/.*npy"])
def test_after_a_fault_reading_goes_on_by_itself(hub: Hub, folder: Path, fault: dict[str, object], on: str) -> None:
    put_folder(hub, "me/set", folder)
    hub.fault(on, **fault)
    assert (open_dataset(ROOT).vectors(IMAGE.name) == open_dataset(folder).vectors(IMAGE.name)).all()
    assert hub.faults[0].times == 0 or fault.get("kind") in ("half", "slow")


def test_a_cut_file_goes_on_where_it_was_cut(hub: Hub, tmp_path: Path) -> None:
    made = write_dataset(tmp_path / "large", (60_000,), (IMAGE,))
    put_folder(hub, "me/set", tmp_path / "large")
    path = made.shards[0].files[IMAGE.name].path
    hub.fault(f"GET .*{path}", kind="half")
    assert (open_dataset(ROOT).vectors(IMAGE.name) == made.vectors(IMAGE.name)).all()
    assert hub.count(f"GET .*{path}") == 2


def test_a_server_that_stays_down_is_given_up_on_after_a_few_tries(hub: Hub, folder: Path, tmp_path: Path) -> None:
    put_folder(hub, "me/set", folder)
    dataset = open_dataset(ROOT)
    hub.fault("GET .*npy", status=503, times=99)
    with pytest.raises(StorageError, match="status 503"):
        dataset.vectors(IMAGE.name, [0])
    assert hub.count("GET .*npy") == 4
    hub.faults.clear()
    hub.fault("GET .*npy", kind="half", times=99)
    with pytest.raises(StorageError):
        dataset.vectors(IMAGE.name, [0])
    assert cached(tmp_path) == set(), "no part of a file is left"
    hub.faults.clear()
    assert len(dataset.vectors(IMAGE.name)) == 180


@pytest.mark.parametrize("change", [lambda d: d[:-1], lambda d: d + b"\0" * 9_999, lambda d: d[:-1] + b"\xff"])
def test_a_file_that_is_not_what_the_manifest_says_never_enters_the_cache(
    hub: Hub, folder: Path, tmp_path: Path, change: object
) -> None:
    put_folder(hub, "me/set", folder)
    stored = open_dataset(folder).shards[0].files["rows"]
    hub.repos["me/set"].files[stored.path] = change(hub.repos["me/set"].files[stored.path])  # type: ignore[operator]
    with pytest.raises(FormatError, match="rows/train-00000"):
        open_dataset(ROOT).rows()
    assert stored.sha256 not in cached(tmp_path)
    assert [finding.file for finding in verify(ROOT).findings] == [stored.path]


def test_a_server_at_an_address_that_another_had_is_read_as_it_is(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where tests get a port anew, clients that keep connections and listings would go on with the other's."""
    write_dataset(tmp_path / "other", (7,), SPACES, seed=1)
    port = 0
    for served in (tmp_path / "other", folder):
        with hub_for_reading(monkeypatch, tmp_path / "cache", port=port) as hub:
            put_folder(hub, "me/set", served)
            report = verify(ROOT)
            assert (report.findings, report.digest) == ((), open_dataset(served).digest)
            port = int(hub.url.rpartition(":")[2])


def test_a_file_that_was_altered_in_the_cache_is_fetched_again(hub: Hub, folder: Path, tmp_path: Path) -> None:
    put_folder(hub, "me/set", folder)
    open_dataset(ROOT).rows()
    stored = open_dataset(folder).shards[0].files["rows"]
    place = tmp_path / "cache" / stored.sha256[:2] / stored.sha256
    place.write_bytes(b"x" * stored.size_bytes)
    assert open_dataset(ROOT).rows() == open_dataset(folder).rows()


def test_the_cache_is_capped_and_what_was_used_longest_ago_goes_first(
    hub: Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_folder(hub, "me/set", folder)
    files = [shard.files["rows"] for shard in open_dataset(folder).shards]
    monkeypatch.setenv("DFNDR_CACHE_SIZE", str(sum(stored.size_bytes for stored in files) * 3 // 4))
    for stored in files:  # one after the other, by readers that let go at once: so the order is known
        open_dataset(ROOT).local_file(stored)
        for age, path in enumerate(sorted((tmp_path / "cache").glob("??/[!.]*"), key=lambda one: one.stat().st_mtime)):
            os.utime(path, (age, age))  # the order stays, and the clock does not matter
    kept = cached(tmp_path)
    assert sum(stored.size_bytes for stored in files if stored.sha256 in kept) <= int(os.environ["DFNDR_CACHE_SIZE"])
    assert files[-1].sha256 in kept and files[0].sha256 not in kept
    with pytest.raises(StorageError, match="DFNDR_CACHE_SIZE"):
        open_dataset(ROOT).fetch()
    monkeypatch.setenv("DFNDR_CACHE_SIZE", "a lot")
    with pytest.raises(UsageError, match="50GB"):
        open_dataset(ROOT)


def test_what_a_dataset_has_open_is_not_thrown_out_by_another(
    hub: Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_folder(hub, "me/set", folder)
    write_dataset(tmp_path / "other", (40, 40), (CAPTION,), seed=5)
    put_folder(hub, "me/other", tmp_path / "other")
    files = [shard.files["rows"] for shard in open_dataset(folder).shards]
    monkeypatch.setenv("DFNDR_CACHE_SIZE", str(sum(stored.size_bytes for stored in files) + 100))
    used = open_dataset(ROOT)
    used.fetch([])
    with pytest.raises(StorageError, match="in use"):
        open_dataset("hf://datasets/me/other").rows()
    assert {stored.sha256 for stored in files} <= cached(tmp_path)
    del used
    assert len(open_dataset("hf://datasets/me/other").rows()) == 80


def _read(result: object) -> None:
    vectors = open_dataset(ROOT).vectors(IMAGE.name)
    result.put(np.asarray(vectors).tobytes())  # type: ignore[attr-defined]


def test_two_processes_at_once_fetch_each_file_once_and_both_have_it_all(hub: Hub, folder: Path) -> None:
    put_folder(hub, "me/set", folder)
    context = multiprocessing.get_context("fork")
    result = context.Queue()
    children = [context.Process(target=_read, args=(result,)) for _ in range(2)]
    for child in children:
        child.start()
    found = {result.get(timeout=60) for _ in children}
    for child in children:
        child.join()
    here = open_dataset(folder)
    assert found == {here.vectors(IMAGE.name).tobytes()}
    assert [hub.count(f"GET .*{shard.files[IMAGE.name].path}") for shard in here.shards] == [1] * 6


def test_a_library_call_is_silent_and_a_progress_is_told_the_megabytes(
    hub: Hub, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import sys

    put_folder(hub, "me/set", folder)
    open_dataset(ROOT).fetch(["image/enc"], rows=False)
    assert capfd.readouterr() == ("", "")
    dataset = open_dataset(ROOT, progress=Lines(sys.stderr))
    dataset.fetch()
    said = capfd.readouterr()
    assert said.out == "" and (said.err == "" or "fetch:" in said.err)
