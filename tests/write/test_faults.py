"""What goes wrong around a build: full and read-only disks, no memory, Ctrl-C, damage, pools that change under it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from dfndr_builders.build import build
from dfndr_builders.pools.patterns import expand
from dfndr_builders.select.database import interruptible, open_database
from PIL import Image
from support.models import TINY_CONFIG, tiny_config
from support.pairs import jpeg
from support.pools import tar_of

import dfndr.cli
import dfndr.console
from dfndr import storage
from dfndr.dataset import open_dataset
from dfndr.encoder import EncoderSpec, open_encoder
from dfndr.errors import DataError, FormatError, ModelError, StorageError, UsageError
from dfndr.format.manifest import Manifest, read_manifest
from dfndr.models import load_model
from dfndr.verify import verify

RECIPE = """
name = "small"
license = "mit"
seed = 7

[[pool]]
kind = "glyphs"
count = 40

[[score]]
name = "dfn"
model = "tiny.json"
pretrained = "random:0"

[select]
by = "dfn"
top_fraction = 0.5

[[caption]]
kind = "retrieval"
bank = "bank.txt"

[[embed]]
encoder = "tiny"
model = "tiny.json"
pretrained = "random:0"
of = ["image", "caption"]

[output]
rows_per_shard = 5
thumbnail = 16
validation = 0.0

[compute]
batch_size = 8
threads = 1
"""
POOL = 'kind = "glyphs"\ncount = 40'


def write_recipe(folder: Path, *replaced: tuple[str, str]) -> Path:
    """Write the recipe with some of its text replaced, the model's config and the caption bank."""
    folder.mkdir(exist_ok=True)
    tiny_config(folder)
    (folder / "bank.txt").write_text("a letter\na number\nan arrow\n")
    text = RECIPE
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new)
    (folder / "recipe.toml").write_text(text)
    return folder / "recipe.toml"


def command(*words: object) -> int:
    """Run the command line here, and return its exit status."""
    before, sys.argv = sys.argv, ["dfndr", *map(str, words)]
    try:
        dfndr.cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0


def assert_nothing_half_written(root: Path) -> None:
    """Every file with a hash in its name has it, every JSON is whole, and nothing temporary is left."""
    for path in root.rglob("*"):
        assert not path.name.startswith(".tmp-")
        if (named := re.search(r"-([0-9a-f]{8})\.(parquet|npy|json)$", path.name)) is not None:
            assert hashlib.sha256(path.read_bytes()).hexdigest()[:8] == named.group(1)
        elif path.suffix == ".json":
            json.loads(path.read_bytes())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """The recipe, and the manifest of a build of it that nothing disturbed, into `out` beside it."""
    recipe = write_recipe(tmp_path_factory.mktemp("undisturbed"))
    return recipe, build(recipe, recipe.parent / "out", device="cpu")


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
        assert said[-1].startswith("error: ") and "The disk is full: free some room and run the same" in said[-1]
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


def test_no_room_for_sorting_is_said_and_names_the_temporary_folder(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    recipe = write_recipe(tmp_path / "recipe")
    with pytest.raises(StorageError, match="TMPDIR"):
        build(recipe, tmp_path / "out", device="cpu")
    remount(small_disk, "size=8k,nr_inodes=1")
    with pytest.raises(StorageError, match="TMPDIR"):
        build(recipe, tmp_path / "out", device="cpu")


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
        assert "raise the limit" in str(caught.value) or "TMPDIR" in str(caught.value)
        assert_nothing_half_written(tmp_path / "out")
    assert build(recipe, tmp_path / "out", device="cpu").digest == undisturbed.digest


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


@pytest.fixture
def out_of_memory() -> Iterator[tuple[str, int]]:
    """A model that has memory for four rows at a time; its name, and that number."""
    name, most = "tiny-out-of-memory", 4
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{name}.json").write_text(json.dumps(TINY_CONFIG))
        open_clip.add_model_config(Path(folder) / f"{name}.json")
    model, _, _ = load_model(EncoderSpec("any", name, "random:0"))

    def refuse(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        if len(given[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    hooks = [part.register_forward_pre_hook(refuse) for part in (model.visual, model.token_embedding)]
    yield name, most
    for hook in hooks:
        hook.remove()
    open_encoder.cache_clear()


def test_out_of_memory_halves_the_batch_for_good_and_changes_no_vector(
    out_of_memory: tuple[str, int], tmp_path: Path
) -> None:
    name, most = out_of_memory
    plain = open_encoder(EncoderSpec("x", str(tiny_config(tmp_path)), "random:0", batch_size=16, device="cpu"))
    pictures = [jpeg(colour=(place * 10, 40, 90)) for place in range(21)]
    texts = [f"number {place}" for place in range(21)]
    encoder = open_encoder(EncoderSpec("x", name, "random:0", batch_size=16, device="cpu"))
    assert not encoder.notes
    np.testing.assert_allclose(
        encoder.encode_images(pictures).vectors, plain.encode_images(pictures).vectors, atol=1e-5
    )
    assert encoder.batch_size == most
    assert encoder.notes == {"batch_size": "halved to 4: the device ran out of memory"}
    np.testing.assert_allclose(encoder.encode_texts(texts).vectors, plain.encode_texts(texts).vectors, atol=1e-5)
    assert encoder.record.batch_size == 16, "the record says what was asked for, and the notes what was done"


def test_out_of_memory_is_noted_in_the_shards_of_a_build(
    out_of_memory: tuple[str, int], built: tuple[Path, Manifest], tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path / "recipe", ('"tiny.json"', f'"{out_of_memory[0]}"'))
    manifest = build(recipe, tmp_path / "out", device="cpu")
    assert all("tiny batch_size" in shard.notes for shard in manifest.shards[1:])
    assert "halved to 4" in manifest.shards[-1].notes["tiny batch_size"]
    assert verify(str(tmp_path / "out")).ok
    halved, whole = open_dataset(tmp_path / "out"), open_dataset(built[0].parent / "out")
    assert halved.rows(["uid"]) == whole.rows(["uid"])
    np.testing.assert_allclose(halved.vectors("image/tiny"), whole.vectors("image/tiny"), atol=1e-3)


def test_an_out_of_memory_that_halving_cannot_help_is_said(tmp_path: Path) -> None:
    spec = EncoderSpec("x", str(tiny_config(tmp_path)), "random:77", batch_size=4, device="cpu")
    model, _, _ = load_model(spec)

    def refuse(module: torch.nn.Module, given: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    hook = model.visual.register_forward_pre_hook(refuse)
    encoder = open_encoder(spec)
    with pytest.raises(ModelError, match=r"out of memory.*smaller model, or another device"):
        encoder.encode_images([jpeg()])
    hook.remove()


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


def pool_of(folder: Path, rows: list[tuple[bytes, str, dict[str, object]]]) -> Path:
    members: list[tuple[str, object]] = []
    for place, (image, text, about) in enumerate(rows):
        members += [(f"{place:03d}.jpg", image), (f"{place:03d}.txt", text), (f"{place:03d}.json", about)]
    (folder / "pool.tar").write_bytes(tar_of(members))
    return folder / "pool.tar"


TARS = 'kind = "webdataset"\npath = "pool.tar"\nuid = "json:uid"'


def pairs(count: int, *, own: bool = False) -> list[tuple[bytes, str, dict[str, object]]]:
    return [
        (jpeg(colour=(place * 12, 90, 200)), f"number {place:02d}", {"uid": f"{place:032x}"} if own else {})
        for place in range(count)
    ]


def test_a_pool_whose_rows_changed_since_they_were_scored_is_refused(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, (POOL, TARS))
    tar = pool_of(tmp_path, pairs(20))
    build(recipe, tmp_path / "out", device="cpu")
    size = tar.stat().st_size
    tar.write_bytes(tar.read_bytes().replace(b"number ", b"NUMBER "))
    assert tar.stat().st_size == size, "so nothing but its content tells"
    recipe = write_recipe(tmp_path, (POOL, TARS), ("0.5", "0.6"))
    with pytest.raises(DataError, match=r"pool shard pool\.tar: expected the 5 selected rows, found 5 of them missing"):
        build(recipe, tmp_path / "out", device="cpu", replace=True)
    assert verify(str(tmp_path / "out")).ok, "the dataset that was there is whole"


def test_a_picture_that_changed_under_the_uid_of_the_pool_is_refused(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, (POOL, TARS))
    rows = pairs(20, own=True)
    tar = pool_of(tmp_path, rows)
    size = tar.stat().st_size
    build(recipe, tmp_path / "out", device="cpu")
    swapped = [(rows[place ^ 1][0], text, about) for place, (_, text, about) in enumerate(rows)]
    pool_of(tmp_path, swapped)
    assert tar.stat().st_size == size
    recipe = write_recipe(tmp_path, (POOL, TARS), ("0.5", "0.6"))
    with pytest.raises(DataError, match="5 of them missing or with another picture, such as uid 0"):
        build(recipe, tmp_path / "out", device="cpu", replace=True)


def test_a_bad_row_never_lends_its_picture_to_a_good_one_of_the_same_uid(tmp_path: Path) -> None:
    uid = "ab" * 16
    rows = pairs(5, own=True)
    dot, red, blue = jpeg((1, 1)), jpeg(colour=(250, 0, 0)), jpeg(colour=(0, 0, 250))
    same = [(image, "the same", {"uid": uid}) for image in (dot, red, blue)]
    pool_of(tmp_path, [same[0], *rows, same[1], same[2]])
    manifest = build(write_recipe(tmp_path, (POOL, TARS), ("0.5", "1.0")), tmp_path / "out", device="cpu")
    score, select, last = manifest.funnel
    assert (score.failed, select.dropped["duplicate"], last.failed) == ({"image_too_small": 1}, 1, {})
    kept = {row["uid"]: row for row in open_dataset(tmp_path / "out").rows().to_pylist()}[uid]
    assert kept["sha256"] == hashlib.sha256(red).hexdigest()
    pixel = Image.open(io.BytesIO(kept["thumbnail"]["bytes"])).convert("RGB").getpixel((5, 5))
    assert pixel[0] > 240 and pixel[2] < 10


def test_a_picture_put_into_a_folder_later_is_scored_too(tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    folder.mkdir()
    recipe = write_recipe(tmp_path, (POOL, 'kind = "folder"\npath = "pool"'), ("0.5", "1.0"))
    for place, (image, text, _) in enumerate(pairs(4)):
        (folder / f"{place}.jpg").write_bytes(image)
        (folder / f"{place}.txt").write_text(text)
    assert len(build(recipe, tmp_path / "out", device="cpu")) == 4
    (folder / "new.jpg").write_bytes(jpeg())
    (folder / "new.txt").write_text("a new one")
    assert len(build(recipe, tmp_path / "out", device="cpu")) == 5


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
