from __future__ import annotations

import errno
import hashlib
import os
import re
import resource
import stat

import fsspec
import pytest
from dfndr_builders.pools.patterns import expand

from dfndr import storage
from dfndr.errors import StorageError, UsageError
from dfndr.locks import locked


@pytest.fixture(params=["local", "memory"])
def root(request, tmp_path):
    if request.param == "local":
        yield str(tmp_path)
    else:
        yield "memory://storage-test"
        memory = fsspec.filesystem("memory")
        if memory.exists("/storage-test"):
            memory.rm("/storage-test", recursive=True)


def test_what_is_put_can_be_read_listed_measured_and_removed(root):
    stored = storage.put(root, "a/b/x.bin", b"content")
    assert stored == storage.Stored("a/b/x.bin", 7, hashlib.sha256(b"content").hexdigest())
    path = storage.join(root, stored.path)
    assert storage.read_bytes(path) == b"content"
    assert storage.size_of(path) == 7
    assert storage.sha256_of(path) == stored.sha256
    assert storage.list_files(root) == ["a/b/x.bin"]
    storage.put(root, "a/c", b"")
    assert storage.list_files(root) == ["a/b/x.bin", "a/c"]
    storage.remove(path)
    storage.remove(path)
    assert not storage.exists(path) and storage.exists(storage.join(root, "a/c"))


def test_a_name_carries_the_first_eight_digits_of_its_content(root):
    stored = storage.put(root, "x-{hash8}.npy", b"content")
    assert stored.path == f"x-{hashlib.sha256(b'content').hexdigest()[:8]}.npy"
    assert storage.read_bytes(storage.join(root, stored.path)) == b"content"


def test_a_function_writes_front_to_back_and_what_it_writes_is_hashed(root):
    stored = storage.put(root, "x", lambda file: [file.write(part) for part in (b"a", memoryview(b"bc"), b"")])
    assert (stored.size_bytes, stored.sha256) == (3, hashlib.sha256(b"abc").hexdigest())
    assert storage.read_bytes(storage.join(root, "x")) == b"abc"


def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(root):
    storage.put(root, "x", b"before")

    def broken(file):
        file.write(b"half")
        raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        storage.put(root, "x", broken)
    assert storage.list_files(root) == ["x"]
    assert storage.read_bytes(storage.join(root, "x")) == b"before"


def test_a_full_disk_is_an_error_that_says_what_to_do_and_leaves_nothing(tmp_path):
    def full(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StorageError, match=r"No space left on device.*free some room and run the same command again"):
        storage.put(str(tmp_path), "x", full)
    assert list(tmp_path.iterdir()) == []


def test_a_file_larger_than_the_system_allows_is_an_error_and_leaves_nothing(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(StorageError, match="larger than this account or disk allows"):
            storage.put(str(tmp_path), "x", b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_reading_what_is_not_there_or_is_a_folder_says_so(tmp_path):
    for read in (storage.read_bytes, storage.size_of, storage.sha256_of):
        with pytest.raises(StorageError, match=r"No such file or directory\. Check the path"):
            read(str(tmp_path / "nowhere"))
        with pytest.raises(StorageError, match=r"folder"):
            read(str(tmp_path))


def test_a_pipe_has_no_size(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="no plain file"):
        storage.size_of(str(tmp_path / "pipe"))


def test_writing_below_a_file_says_so(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="part of this path is a file"):
        storage.put(str(tmp_path), "file/x", b"")


def test_a_file_system_that_nobody_knows_is_a_wrong_command():
    with pytest.raises(UsageError, match="a path that fsspec can open"):
        storage.exists("nonsense://x")


def test_a_new_file_may_be_read_by_those_that_the_umask_allows(tmp_path):
    before = os.umask(0o022)
    try:
        storage.put(str(tmp_path), "x", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o644


def test_what_a_killed_write_left_is_swept_and_nothing_else(tmp_path):
    (tmp_path / "a").mkdir()
    for name in (".tmp-1-0", "a/.tmp-2-0", "a/kept"):
        (tmp_path / name).write_bytes(b"")
    assert storage.sweep_temporary(str(tmp_path)) == 2
    assert storage.list_files(str(tmp_path)) == ["a/kept"]


def test_a_folder_that_is_not_there_has_no_files(root):
    assert storage.list_files(storage.join(root, "nowhere")) == []
    assert not storage.exists(storage.join(root, "nowhere"))


def test_file_urls_are_local(tmp_path):
    root = f"file://{tmp_path}"
    stored = storage.put(root, "x", b"content")
    assert not storage.is_remote(root)
    assert (tmp_path / stored.path).read_bytes() == storage.read_bytes(f"{root}/x") == b"content"


def test_join_uses_forward_slashes_once():
    assert storage.join("a/", "/b/", "c") == "a/b/c"
    assert storage.join("s3://bucket", "b") == "s3://bucket/b"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{000..002}.tar", ["000.tar", "001.tar", "002.tar"]),
        ("{2..10}.tar", ["2.tar", "10.tar"]),
        ("{a,b}.{tar,txt}", ["a.tar", "a.txt", "b.tar"]),
        ("00?.tar", ["000.tar", "001.tar", "002.tar"]),
        ("*.txt", ["a.txt"]),
        ("**/x", ["deep/x"]),
        ("{000,00*}.tar", ["000.tar", "001.tar", "002.tar"]),
        ("nothing*", []),
        ("nothing", []),
        ("a.tar", ["a.tar"]),
    ],
)
def test_patterns_expand_to_the_files_that_are_there_sorted_and_once(root, pattern, expected):
    for name in ("000.tar", "001.tar", "002.tar", "2.tar", "10.tar", "a.tar", "b.tar", "a.txt", "deep/x"):
        storage.put(root, name, b"")
    found = [
        re.sub(r"^.*?storage-test/", "", path.removeprefix(root + "/")) for path in expand(storage.join(root, pattern))
    ]
    assert found == expected


def test_one_build_holds_a_lock_and_it_goes_with_the_holder(tmp_path):
    holder, second = locked(str(tmp_path), ".lock"), locked(str(tmp_path), ".lock")
    with holder, pytest.raises(UsageError, match="one that is running"), second:
        pass
    with locked(str(tmp_path), ".lock"):
        pass
