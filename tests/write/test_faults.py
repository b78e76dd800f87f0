"""What goes wrong around a build: Ctrl-C, damage to what it left, and folders and paths that cannot be."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dfndr_builders.build import build
from dfndr_builders.pools.patterns import expand
from dfndr_builders.select.database import interruptible, open_database
from support import faults
from support.faults import RECIPE, assert_nothing_half_written, command, write_recipe

import dfndr.console
from dfndr import storage
from dfndr.dataset import open_dataset
from dfndr.errors import DataError, FormatError, UsageError
from dfndr.format.manifest import Manifest
from dfndr.verify import verify

built = faults.built


@pytest.mark.parametrize("phase", ["score", "select", "bank", "build"])
def test_ctrl_c_says_how_to_go_on_and_the_same_command_then_does(
    built: tuple[Path, Manifest],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    phase: str,
) -> None:
    recipe, undisturbed = built

    class Interrupted(dfndr.console.Lines):
        """Presses Ctrl-C when the phase has come some way."""

        @contextmanager
        def task(self, name: str, total: int | None, unit: str = "rows") -> Iterator[Any]:
            with super().task(name, total, unit) as task:
                if name == phase:
                    plain = task.advance
                    task.advance = lambda count=1: (plain(count), signal.raise_signal(signal.SIGINT))  # type: ignore
                yield task

    with monkeypatch.context() as patched:
        patched.setattr(dfndr.console, "console_progress", lambda: Interrupted(sys.stderr))
        assert command("build", recipe, "--out", tmp_path / "out", "--device", "cpu") == 130
    said = capsys.readouterr()
    assert said.err.endswith("stopped; run the same command again to go on where it stopped\n")
    assert not said.out
    assert_nothing_half_written(tmp_path / "out")
    assert build(recipe, tmp_path / "out", device="cpu").digest == undisturbed.digest


def test_ctrl_c_in_the_middle_of_sorting_stops_it() -> None:
    query = "CREATE TABLE sorted AS SELECT md5(range::VARCHAR) AS hash FROM range(4000000000) ORDER BY hash"
    pressed = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt), open_database() as (database, _):
        pressed.start()
        interruptible(database, lambda opened: opened.execute(query))


def damage_records(records: list[Path], out: Path) -> None:
    records[0].write_text("{")
    records[1].write_text("[]")
    records[2].write_bytes(b"\xff\xfe")
    records[3].write_text("[" * 100_000)


def swap_records(records: list[Path], out: Path) -> None:
    first, second = records[0].read_text(), records[1].read_text()
    records[0].write_text(second)
    records[1].write_text(first)


def cut_a_vector_file(records: list[Path], out: Path) -> None:
    path = sorted(out.glob("image/tiny/*.npy"))[1]
    path.write_bytes(path.read_bytes()[:-1])


def lengthen_rows(records: list[Path], out: Path) -> None:
    with open(sorted(out.glob("rows/*.parquet"))[2], "ab") as file:
        file.write(b"x")


def lose_the_scores(records: list[Path], out: Path) -> None:
    next(out.glob("phases/score-*/rows/*.parquet")).unlink()


def damage_the_selection(records: list[Path], out: Path) -> None:
    shutil.rmtree(out / "shards")
    next(out.glob("phases/select-*/selection.json")).write_text("[]")


def lose_the_selected_rows(records: list[Path], out: Path) -> None:
    shutil.rmtree(out / "shards")
    next(out.glob("phases/select-*/train.parquet")).unlink()


def cut_the_selected_rows(records: list[Path], out: Path) -> None:
    shutil.rmtree(out / "shards")
    path = next(out.glob("phases/select-*/train.parquet"))
    path.write_bytes(path.read_bytes()[:50])


def lose_the_bank(records: list[Path], out: Path) -> None:
    shutil.rmtree(out / "shards")
    next(out.glob("phases/bank-*/text/dfn/*.npy")).unlink()


def lose_the_manifest(records: list[Path], out: Path) -> None:
    (out / "manifest.json").unlink()


@pytest.mark.parametrize(
    "harm",
    [
        damage_records,
        swap_records,
        cut_a_vector_file,
        lengthen_rows,
        lose_the_scores,
        damage_the_selection,
        lose_the_selected_rows,
        cut_the_selected_rows,
        lose_the_bank,
        lose_the_manifest,
    ],
)
def test_what_was_harmed_is_made_again(built: tuple[Path, Manifest], tmp_path: Path, harm: Any) -> None:
    recipe, undisturbed = built
    out = tmp_path / "out"
    shutil.copytree(recipe.parent / "out", out)
    records = sorted((out / "shards" / str(undisturbed.provenance["phase"])[:12]).glob("*.json"))
    assert len(records) == 4
    harm(records, out)
    assert build(recipe, out, device="cpu").digest == undisturbed.digest
    assert verify(str(out)).ok
    assert_nothing_half_written(out)


def test_a_folder_with_a_manifest_of_something_else_is_never_swept(tmp_path: Path) -> None:
    out = tmp_path / "site"
    (out / "image").mkdir(parents=True)
    (out / "manifest.json").write_text('{"name": "a web site"}')
    (out / "image" / "logo.png").write_bytes(b"precious")
    for replace in (False, True):
        with pytest.raises(FormatError, match="Choose another --out"):
            build(write_recipe(tmp_path / "recipe"), out, device="cpu", replace=replace)
    assert {path.name for path in out.rglob("*")} == {"image", "logo.png", "manifest.json"}


def test_a_file_of_ones_own_among_a_datasets_files_is_left_alone(built: tuple[Path, Manifest], tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(built[0].parent / "out", out)
    (out / "image" / "logo.png").write_bytes(b"precious")
    (out / "rows" / "train-00099-00000000.parquet").write_bytes(b"of an earlier build")
    build(built[0], out, device="cpu")
    assert (out / "image" / "logo.png").exists()
    assert not (out / "rows" / "train-00099-00000000.parquet").exists()


@pytest.mark.parametrize("out", ["", "x" * 300, "/proc/dfndr", "/dev/null/x"])
def test_an_output_folder_that_cannot_be_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    recipe = write_recipe(tmp_path / "recipe")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert command("build", recipe, "--out", out) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "unexpected" not in line
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.parametrize("part", ["score", "embed", "bank", "device"])
def test_what_a_later_phase_needs_is_looked_for_before_anything_is_scored(tmp_path: Path, part: str) -> None:
    later = RECIPE.partition("[[embed]]")[2]
    changes = {
        "score": ('name = "dfn"\nmodel = "tiny.json"', 'name = "dfn"\nmodel = "gone.json"'),
        "embed": (later, later.replace("random:0", "gone.pt")),
        "bank": ("bank.txt", "gone.txt"),
        "device": ("seed = 7", "seed = 7"),
    }
    recipe = write_recipe(tmp_path, changes[part])
    with pytest.raises((DataError, UsageError), match="abacus" if part == "device" else "gone"):
        build(recipe, tmp_path / "out", device="abacus" if part == "device" else "cpu")
    assert not (tmp_path / "out" / "phases").exists()


def test_a_build_into_a_remote_folder_is_the_same_dataset(
    built: tuple[Path, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFNDR_CACHE", str(tmp_path))
    recipe, undisturbed = built
    for _ in range(2):
        assert build(recipe, "memory://built-remotely", device="cpu").digest == undisturbed.digest
    remote = open_dataset("memory://built-remotely")
    assert remote.rows() == open_dataset(recipe.parent / "out").rows()
    assert (remote.vectors("image/tiny") == open_dataset(recipe.parent / "out").vectors("image/tiny")).all()


def test_a_pattern_that_stands_for_too_many_paths_is_refused_at_once() -> None:
    for pattern in ("pool/{0..99999999999}.tar", "{0..99999}{0..99999}{0..99999}"):
        with pytest.raises(UsageError, match="at most 1,000,000 paths"):
            expand(pattern)
    assert expand("gone/{0..\u00b2}.tar") == expand("gone/{" + "9" * 200 + "..1}") == []


@pytest.mark.parametrize("path", ["nosuch://bucket/x.tar", "nosuch://bucket/*.tar"])
def test_a_path_of_an_unknown_file_system_is_said(path: str) -> None:
    with pytest.raises(UsageError, match="Install the file system it names"):
        expand(path)


def test_an_empty_root_is_the_present_folder_and_never_the_top_of_the_disk() -> None:
    assert storage.join("", "rows/a.parquet") == "rows/a.parquet"
    assert storage.join("/", "rows") == "/rows"
    assert storage.join("s3://bucket/", "rows", "/a/") == "s3://bucket/rows/a"
