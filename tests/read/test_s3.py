"""S3 through what goes wrong there: a real server on loopback, and faults before it. What arrives is whole, or said."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("moto.server", reason="the S3 server of the tests is moto's")
pytest.importorskip("s3fs", reason="S3 is read by s3fs")

from support import s3 as s3_server
from support.s3 import KINDS, Store
from support.tiny import IMAGE, TEXT, write_dataset

from dfndr import patience, s3, storage
from dfndr.dataset import open_dataset
from dfndr.errors import StorageError
from dfndr.loader import Loader
from dfndr.verify import verify

ROOT = "s3://bucket/a"
CONTENT = bytes(range(256)) * 40
server, store = s3_server.server, s3_server.store


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_what_is_put_can_be_read_listed_measured_and_removed(store: Store) -> None:
    stored = storage.put(ROOT, "deep/x-{hash8}.bin", CONTENT)
    path = storage.join(ROOT, stored.path)
    assert stored == storage.Stored(f"deep/x-{sha256(CONTENT)[:8]}.bin", len(CONTENT), sha256(CONTENT))
    assert store.objects("bucket")[f"a/{stored.path}"] == storage.read_bytes(path) == CONTENT
    assert (storage.size_of(path), storage.sha256_of(path)) == (stored.size_bytes, stored.sha256)
    assert storage.list_files(ROOT) == [stored.path]
    assert storage.names_in(ROOT) == ["deep"]
    assert storage.is_folder(f"{ROOT}/deep") and storage.exists(f"{ROOT}/deep") and not storage.is_folder(path)
    with storage.open_read(path) as file:
        file.seek(-10, os.SEEK_END)
        assert file.read() == CONTENT[-10:]
        file.seek(256)
        assert file.read(3) == b"\0\1\2"
    storage.remove(path)
    storage.remove(path)
    assert not storage.exists(path) and storage.list_files(ROOT) == []


def test_empty_objects_that_stand_for_folders_are_no_files(store: Store) -> None:
    store.plain("PUT", "/bucket/marked/")
    store.plain("PUT", "/bucket/marked/deep/")
    storage.put("s3://bucket/marked", "deep/x", b"1")
    assert storage.sizes_below("s3://bucket/marked") == {"deep/x": 1}


@pytest.mark.parametrize("kind", [*KINDS, "tag", "cut-upload"])
def test_after_two_faults_it_goes_on_by_itself(store: Store, kind: str) -> None:
    path, times = f"f/{kind}", 2
    store.fault(f"PUT /bucket/{path}", kind, times)
    stored = storage.put("s3://bucket", path, CONTENT)
    for method in ("HEAD", "GET"):
        store.fault(f"{method} /bucket/{path}", kind, times)
        assert storage.sha256_of(f"s3://bucket/{path}") == stored.sha256
    store.fault("GET .*list-type", kind, times)
    assert kind in storage.list_files("s3://bucket/f")
    assert store.objects("bucket")[path] == CONTENT


def test_tries_are_bounded_and_what_no_try_can_mend_is_not_tried_again(store: Store) -> None:
    store.fault("PUT /bucket/down", "500", 99)
    with pytest.raises(StorageError, match=r"down: expected to write it, found status 500 .*8 times in a row"):
        storage.put("s3://bucket", "down", CONTENT)
    assert store.count("PUT /bucket/down$") == patience.ATTEMPTS
    store.fault("PUT /bucket/forbidden", "403", 99)
    with pytest.raises(StorageError, match=r"status 403 \(Access Denied\).*who may use it"):
        storage.put("s3://bucket", "forbidden", CONTENT)
    assert store.count("PUT /bucket/forbidden") == 1
    assert not {"down", "forbidden"} & set(store.objects("bucket"))


def test_a_bucket_that_is_not_there_is_said_and_not_made(store: Store) -> None:
    for does in (lambda: storage.put("s3://gone/x", "y", b""), lambda: storage.read_bytes("s3://gone/x")):
        with pytest.raises(StorageError, match=r"bucket does not exist.*no bucket is made here"):
            does()
    assert store.count("PUT /gone$") == 0
    assert storage.list_files("s3://gone/x") == []
    with pytest.raises(StorageError, match="Check the names of the bucket and of what is in it"):
        storage.read_bytes("s3://bucket/nothing")


@pytest.mark.parametrize("missing", ["server", "keys"])
def test_no_server_and_no_keys_are_one_clear_error_each(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
        if missing == "keys":
            monkeypatch.delenv("AWS_ACCESS_KEY_ID")
            monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        said = "Check the connection and AWS_ENDPOINT_URL" if missing == "server" else "set AWS_ACCESS_KEY_ID"
        with pytest.raises(StorageError, match=said):
            storage.put(ROOT, "x", CONTENT)


def test_the_waits_between_all_tries_add_up_to_less_than_half_a_minute() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "FIRST_WAIT_S", 0.1)
        patch.setattr(patience, "VARIED_S", 0.5)
        longest = [min(patience.LONGEST_WAIT_S, 0.1 * 2**failed + 0.5) for failed in range(patience.ATTEMPTS - 1)]
    assert sum(longest) < 20
    assert patience.ATTEMPTS * s3._CONNECT_S + sum(longest) < 60


def test_an_object_that_changes_while_it_is_read_is_an_error_and_never_a_mixture(store: Store) -> None:
    content = os.urandom(20 << 20)
    storage.put(ROOT, "large", content)
    with storage.open_read(f"{ROOT}/large") as file:
        assert file.read(100) == content[:100]
        storage.put(ROOT, "large", content[::-1])
        with pytest.raises(StorageError, match="it was changed meanwhile"):
            file.seek(15 << 20)
            file.read()


def test_a_truncated_upload_is_never_seen_and_another_run_gives_the_whole(store: Store) -> None:
    store.fault("PUT /bucket/cut", "cut-upload", 99)
    with pytest.raises(StorageError, match="Connection was closed"):
        storage.put("s3://bucket", "cut", CONTENT)
    assert "cut" not in store.objects("bucket") and not storage.exists("s3://bucket/cut")
    store.faults.clear()
    storage.put("s3://bucket", "cut", CONTENT)
    assert store.objects("bucket")["cut"] == CONTENT


def test_an_upload_in_parts_is_whole_or_absent_and_is_aborted_where_it_fails(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "PART_BYTES", 5 << 20)
    content = os.urandom(12 << 20)
    store.fault("PUT /bucket/parts.*partNumber=2", "cut-upload", 3)
    store.fault("POST /bucket/parts.*uploadId", "lost")
    assert storage.put("s3://bucket", "parts", content).sha256 == sha256(store.objects("bucket")["parts"])
    store.fault("PUT /bucket/stuck.*partNumber=3", "500", 99)
    with pytest.raises(StorageError, match="status 500"):
        storage.put("s3://bucket", "stuck", content)
    assert "stuck" not in store.objects("bucket") and store.uploads("bucket") == 0


def test_an_upload_that_the_store_cut_short_is_noticed_and_made_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, done = s3.S3._put_file, []

    async def short(self: s3.S3, local: str, inner: str, **more: object) -> None:
        done.append(inner)
        if len(done) == 1:
            Path(local + "-half").write_bytes(CONTENT[:100])
            local += "-half"
        await plain(self, local, inner, **more)

    monkeypatch.setattr(s3.S3, "_put_file", short)
    s3.S3.clear_instance_cache()  # an instance has methods of its own, made when it was
    storage.put("s3://bucket", "short", CONTENT)
    s3.S3.clear_instance_cache()
    assert len(done) == 2 and store.objects("bucket")["short"] == CONTENT


def test_a_dataset_is_read_verified_searched_and_loaded_while_one_request_in_five_fails(
    store: Store, tmp_path: Path
) -> None:
    here = write_dataset(tmp_path / "here", (40, 30, 30, 20), (IMAGE, TEXT))
    for path in storage.list_files(str(tmp_path / "here")):
        storage.put("s3://bucket/set", path, (tmp_path / "here" / path).read_bytes())
    store.failing, before = 0.2, store.failed
    there = open_dataset("s3://bucket/set")
    assert there.digest == here.digest and there.rows() == here.rows()
    assert (there.vectors(IMAGE.name) == here.vectors(IMAGE.name)).all()
    assert verify("s3://bucket/set").ok
    loaders = [Loader(one, [IMAGE.name], columns=["uid"], batch_size=32, seed=3) for one in (here, there)]
    for one, other in zip(*loaders, strict=True):
        assert one["uid"] == other["uid"]
        assert np.array_equal(np.asarray(one[IMAGE.name]), np.asarray(other[IMAGE.name]))
    assert store.failed > before + 5


def test_each_try_is_told_to_the_log_and_no_address_is_with_its_query(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="dfndr.patience"):
        store.fault("PUT /bucket/told", "503", 2)
        storage.put("s3://bucket", "told", b"")
    told = [record.message.partition(";")[0] for record in caplog.records]
    assert told == ["status 503 (Please reduce your request rate)"] * 2
    assert patience.words_of(OSError("http://x/y?Signature=abc failed")) == "OSError: http://x/y failed"


def test_a_wait_that_the_server_asks_for_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer:
        status_code, headers = 429, {"Retry-After": "0"}

    class Refused(Exception):
        response = Answer()

    assert patience._told(Refused()) is True
    Answer.headers = {"Retry-After": "7"}
    assert patience._told(Refused()) == 7.0
    Answer.headers = {"Retry-After": "86400"}
    assert patience._told(Refused()) == 60.0
    Answer.status_code = 404
    assert patience._told(Refused()) is False
    begun, tried = time.monotonic(), []
    with pytest.raises(Refused):
        patience.patiently(lambda: (tried.append(1), (_ for _ in ()).throw(Refused())))
    assert len(tried) == 1 and time.monotonic() - begun < 5
