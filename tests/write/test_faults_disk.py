"""What goes wrong with the disk around a build: it is full, it is read-only, or the size of files is limited."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dfndr_builders.build import build
from dfndr_builders.select.database import open_database
from support import faults
from support.faults import assert_nothing_half_written, command

from dfndr.errors import StorageError
from dfndr.format.manifest import Manifest, read_manifest
from dfndr.verify import verify

built = faults.built


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 kB that `mount -o remount,size=...` makes larger."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=8k", "none", str(disk)]
    if mount is None or subprocess.run([mount, *options], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def test_a_full_disk_is_said_wherever_it_fills_and_with_more_room_the_build_goes_on(
    built: tuple[Path, Manifest], small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, undisturbed = built
    out, failures = small_disk / "out", []
    for kilobytes in range(8, 1000, 16):
        remount(small_disk, f"size={kilobytes}k")
        if command("build", recipe, "--out", out, "--device", "cpu") == 0:
            break
        said = capsys.readouterr().err.splitlines()
        failures.append(said[-1])
        assert said[-1].startswith("error: ")
        assert re.search("The disk is full: free some room and run the same|Make room in .*phases/sorting", said[-1])
        assert_nothing_half_written(out)
        assert not (out / "manifest.json").exists()
    assert len(failures) >= 5
    assert len({re.sub("[0-9]", "", line) for line in failures}) >= 3, "it filled at several places"
    assert read_manifest(str(out)).digest == undisturbed.digest
    assert verify(str(out)).ok


def test_a_read_only_disk_is_said(built: tuple[Path, Manifest], small_disk: Path) -> None:
    remount(small_disk, "ro")
    with pytest.raises(StorageError, match=r"Read-only file system\. The place is read-only: choose another one"):
        build(built[0], small_disk / "out", device="cpu")


def test_a_build_sorts_in_its_own_folder_not_in_the_temporary_one(
    built: tuple[Path, Manifest], tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remount(small_disk, "size=8k,nr_inodes=1")
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    assert build(built[0], tmp_path / "out", device="cpu").digest == built[1].digest
    assert not (tmp_path / "out" / "phases" / "sorting").exists()


def test_no_room_for_sorting_is_said_and_names_the_folder(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    for sorting, named in ((None, "TMPDIR"), (str(small_disk / "sorting"), "Make room in .*/sorting")):
        for size in ("size=64k", "size=8k,nr_inodes=1"):
            remount(small_disk, size)
            with pytest.raises(StorageError, match=named), open_database(sorting=sorting) as (database, _):
                database.execute("CREATE TABLE many AS SELECT random() AS number FROM range(1000000)")
            assert not list(small_disk.iterdir())


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size, as `ulimit -f` does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_limit_on_the_size_of_files_is_said_and_without_it_the_build_goes_on(
    built: tuple[Path, Manifest], tmp_path: Path
) -> None:
    recipe, undisturbed = built
    for size_bytes in (100, 2_000, 12_000):
        with largest_file(size_bytes), pytest.raises(StorageError) as caught:
            build(recipe, tmp_path / "out", device="cpu")
        assert "raise the limit" in str(caught.value) or "phases/sorting" in str(caught.value)
        assert_nothing_half_written(tmp_path / "out")
    assert build(recipe, tmp_path / "out", device="cpu").digest == undisturbed.digest
