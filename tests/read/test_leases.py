"""One process at a time in a folder of an object store: who lives is left alone, who died is followed."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("moto.server", reason="the S3 server of the tests is moto's")
pytest.importorskip("s3fs", reason="S3 is written by s3fs")

from support.s3 import Store, quick, served

from dfndr import leases, storage
from dfndr.errors import StorageError, UsageError
from dfndr.locks import locked

LOCK = ".lock"


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    with served() as store, quick():
        yield store


@pytest.fixture
def store(server: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(leases, "BEAT_S", 0.05)
    monkeypatch.setattr(leases, "LOOK_S", 0.02)
    monkeypatch.setattr(leases, "DEAD_S", 0.5)
    yield server
    server.faults.clear()
    server.keep_conditions = True


def holder(store: Store, root: str) -> dict[str, object]:
    return dict(json.loads(store.objects("bucket")[f"{root.removeprefix('s3://bucket/')}/{LOCK}"]))


def test_a_second_process_is_told_who_holds_the_folder_and_the_next_one_gets_it_at_once(store: Store) -> None:
    root = "s3://bucket/second"
    with locked(root, LOCK) as check:
        check()
        with pytest.raises(
            UsageError, match=r"expected no other build there, found one that is running: process \d+ on"
        ):
            locked(root, LOCK).__enter__()
        check()
    assert holder(store, root) == {"holder": ""}
    monotonic = time.monotonic()
    with locked(root, LOCK):
        assert time.monotonic() - monotonic < leases.DEAD_S


def test_a_holder_that_died_is_followed_after_a_while_and_not_before(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    root = "s3://bucket/died"
    storage.put(root, LOCK, json.dumps({"holder": "x", "pid": 7, "host": "gone", "beats": 3}).encode())
    begun = time.monotonic()
    with locked(root, LOCK) as check:
        assert time.monotonic() - begun >= leases.DEAD_S
        check()
    assert "held by process 7 on gone; waiting to see whether it lives" in caplog.text


@pytest.mark.parametrize("content", [b"", b"\xff", b"[1]", b"{}", b"[" * 100_000])
def test_a_damaged_lock_is_one_whose_holder_died(store: Store, content: bytes) -> None:
    storage.put("s3://bucket/damaged", LOCK, content)
    with locked("s3://bucket/damaged", LOCK) as check:
        check()


def test_a_holder_that_slept_too_long_finds_out_and_leaves_the_lock_to_its_new_holder(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = "s3://bucket/slept"
    monkeypatch.setattr(leases, "BEAT_S", 60.0)
    with locked(root, LOCK) as asleep:
        monkeypatch.setattr(leases, "BEAT_S", 0.05)
        with locked(root, LOCK) as awake:
            with pytest.raises(StorageError, match="another process that took it over"):
                asleep()
            awake()
            taken = holder(store, root)
        assert taken["holder"] and holder(store, root) == {"holder": ""}
    assert holder(store, root) == {"holder": ""}


def test_of_many_that_want_a_folder_at_once_one_has_it_at_a_time(store: Store) -> None:
    inside, most, refused = [0], [0], [0]
    guard = threading.Lock()

    def want() -> None:
        try:
            with locked("s3://bucket/many", LOCK):
                with guard:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                time.sleep(0.02)  # so that others find it held
                with guard:
                    inside[0] -= 1
        except UsageError:
            with guard:
                refused[0] += 1

    threads = [threading.Thread(target=want) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] and inside == [0]
    assert holder(store, "s3://bucket/many") == {"holder": ""}


def test_answers_that_are_lost_do_not_make_a_holder_wait_for_itself(store: Store) -> None:
    root = "s3://bucket/lost"
    for kind in ("lost", "500", "cut"):
        store.fault(f"PUT /bucket/lost/{LOCK}", kind, 2)
        begun = time.monotonic()
        with locked(root, LOCK) as check:
            assert time.monotonic() - begun < leases.DEAD_S
            store.fault(f"PUT /bucket/lost/{LOCK}", kind, 2)
            check()
        assert holder(store, root) == {"holder": ""}


def test_a_store_that_knows_no_conditions_is_said_and_does_not_stop_the_work(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.keep_conditions = False
    with caplog.at_level(logging.WARNING), locked("s3://bucket/none", LOCK) as check:
        check()
    assert "has no conditional writes, so nothing keeps a second build away" in caplog.text


def test_a_bucket_that_is_not_there_cannot_be_held(store: Store) -> None:
    with pytest.raises(StorageError, match="bucket does not exist"):
        locked("s3://gone/x", LOCK).__enter__()
