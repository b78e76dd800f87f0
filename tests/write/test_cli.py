"""The command line as its user meets it: what it prints where, and what it ends with; never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import command_line
from support.tiny import write_dataset

import dfndr.cli
from dfndr.dataset import open_dataset
from dfndr.format.manifest import read_manifest

run, recipe, dataset = command_line.run, command_line.recipe, command_line.dataset


def test_build_prints_the_dataset_to_stdout_and_its_progress_to_stderr(run, recipe: Path, tmp_path: Path) -> None:
    said = run("build", recipe, "--out", tmp_path / "out", "--device", "cpu")
    assert said.status == 0
    assert said.out.startswith("small: 30 rows in ")
    assert "60 in          60 out" in said.out and "30 dropped: not_selected" in said.out
    phases = dict.fromkeys(line.partition(":")[0] for line in said.err.splitlines())
    assert list(phases) == ["score", "select", "build"], "a slow one says more than once where it is"
    again = run("build", recipe, "--out", tmp_path / "out", "--device", "cpu", "--json")
    assert again.status == 0 and not again.err, "nothing is left to do"
    assert json.loads(again.out)["digest"] == read_manifest(str(tmp_path / "out")).digest


def test_info_says_it_in_words_and_in_json(run, dataset: Path) -> None:
    words, as_json = run("info", dataset), run("info", dataset, "--json")
    given, manifest = json.loads(as_json.out), read_manifest(str(dataset))
    assert (words.status, words.err, as_json.status, as_json.err) == (0, "", 0, "")
    assert given["digest"] == manifest.digest and given["rows"] == 30
    assert given["splits"] == {name: len(open_dataset(dataset, split=name)) for name in ("train", "validation")}
    assert given["size_bytes"]["image/tiny"] == sum(shard.files["image/tiny"].size_bytes for shard in manifest.shards)
    for wanted in (manifest.digest, "image/tiny", "1 x 16 float16", manifest.encoders["tiny"].weights_sha256, "mit"):
        assert wanted in words.out


def test_verify_says_that_all_is_well_or_what_is_not(run, dataset: Path, tmp_path: Path) -> None:
    fine = run("verify", dataset)
    assert fine.status == 0 and "30 rows" in fine.out and "every promise of the format is kept" in fine.out
    assert fine.err.startswith("verify: ")
    harmed = tmp_path / "harmed"
    shutil.copytree(dataset, harmed)
    victim = next(harmed.glob("image/tiny/train-*.npy"))
    victim.write_bytes(victim.read_bytes()[:-2] + b"\0\0")
    said, as_json = run("verify", harmed), run("verify", harmed, "--json")
    assert said.status == as_json.status == 1
    assert f"error: image/tiny/{victim.name}: altered" in said.out
    given = json.loads(as_json.out)
    assert not given["ok"] and given["findings"][0]["file"] == f"image/tiny/{victim.name}"


@pytest.mark.parametrize("verb", ["info", "verify", "search", "eval", "train-head", "card"])
@pytest.mark.parametrize("what", ["gone", "a file", "a folder", "no name", "long", "remote", "odd"])
def test_a_dataset_that_is_not_one_is_said(run, tmp_path: Path, dataset: Path, verb: str, what: str) -> None:
    (tmp_path / "file").write_text("no dataset")
    (tmp_path / "folder").mkdir()
    path = {
        "gone": tmp_path / "gone",
        "a file": tmp_path / "file",
        "a folder": tmp_path / "folder",
        "no name": "",
        "long": "x" * 5000,
        "remote": "nosuch://bucket/x",
        "odd": "a\0b",
    }[what]
    more = {"search": ["words"], "train-head": ["--out", tmp_path / "head"]}.get(verb, [])
    said = run(verb, path, *more)
    assert said.status == (2 if what == "remote" else 1), said
    told = said.err + said.out
    assert "expected" in told and "found" in told
    if what == "a file":
        assert "found a file" in told
    if what == "a folder":
        assert "a folder without one" in told
    assert not (tmp_path / "head").exists()


def test_a_head_is_trained_and_evaluated(run, dataset: Path, tmp_path: Path) -> None:
    command = ("--epochs", "2", "--batch-size", "8", "--device", "cpu")
    said = run("train-head", dataset, "--out", tmp_path / "head", *command, "--json")
    assert said.status == 0
    assert json.loads(said.out)["steps"] == 2 * (len(open_dataset(dataset, split="train")) // 8)
    assert "train head" in said.err
    assert {path.name for path in (tmp_path / "head").iterdir()} == {
        "head.safetensors",
        "head.json",
        "curve.csv",
        "curve.png",
    }
    plain, with_head = run("eval", dataset, "--json"), run("eval", dataset, "--head", tmp_path / "head", "--json")
    assert (plain.status, plain.err, with_head.status) == (0, "", 0)
    before, after = json.loads(plain.out), json.loads(with_head.out)
    assert before["before"] == after["before"] and before["after"] is None
    assert after["after"]["images"] == len(open_dataset(dataset, split="validation"))
    assert run("eval", dataset).out and run("eval", dataset, "--split", "train").status == 0


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["eval", "--split", "all"], 2, "expected one of ['train', 'validation']"),
        (["eval", "--head", "gone"], 1, "expected a folder with head.json"),
        (["eval", "--head", "recipe.toml"], 1, "expected a folder with head.json"),
        (["eval", "--image", "image/other"], 2, "image/other"),
        (["train-head"], 2, "--out"),
        (["train-head", "--out", "head", "--kind", "round"], 2, "round"),
        (["train-head", "--out", "head", "--learning-rate", "nan"], 2, "learning"),
        (["train-head", "--out", "head", "--learning-rate", "0"], 2, "learning_rate"),
        (["train-head", "--out", "head", "--batch-size", "1"], 2, "--batch-size"),
        (["train-head", "--out", "head", "--image", "text/tiny"], 2, "text/tiny"),
        (["train-head", "--out", "head", "--device", "abacus"], 2, "device 'abacus'"),
        (["train-head", "--out", "recipe.toml", "--epochs", "1"], 2, "a new folder, or one with a head"),
    ],
)
def test_a_head_that_cannot_be_says_why(run, dataset: Path, monkeypatch, words, status: int, said: str) -> None:
    monkeypatch.chdir(dataset.parent)
    got = run(words[0], dataset, *words[1:])
    assert (got.status, got.out) == (status, "")
    assert said in got.err
    assert not (dataset.parent / "head").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["build", "gone.toml", "--out", "x"], "No such file"),
        (["build", ".", "--out", "x"], "Is a directory"),
        (["build", "recipe.toml"], "--out"),
        (["build", "recipe.toml", "--out", "recipe.toml"], "found a file"),
        (["build", "recipe.toml", "--out", "."], "in it"),
        (["plan", "tiny.json"], "Mend that line"),
        (["train-dfn", "recipe.toml", "--out", "x"], "expected a [dfn] section"),
        (["frobnicate"], "frobnicate"),
        (["info"], "DATASET"),
    ],
)
def test_a_wrong_command_ends_with_two(run, recipe: Path, dataset: Path, monkeypatch, words, said: str) -> None:
    monkeypatch.chdir(recipe.parent)
    before = sorted(recipe.parent.iterdir())
    got = run(*words)
    assert got.status == 2 and said in got.err and not got.out
    assert sorted(recipe.parent.iterdir()) == before


def test_a_fault_of_ours_is_one_line_too_and_a_traceback_only_for_whoever_asks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, dataset: Path
) -> None:
    def broken(manifest: object) -> str:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("dfndr.describe.describe", broken)
    monkeypatch.setattr(sys, "argv", ["dfndr", "info", str(dataset)])
    with pytest.raises(SystemExit) as end:
        dfndr.cli.main()
    assert end.value.code == 1
    assert capsys.readouterr().err == (
        "error: unexpected ZeroDivisionError: a fault. Please report it, with DFNDR_DEBUG=1.\n"
    )
    monkeypatch.setenv("DFNDR_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        dfndr.cli.main()


def test_the_installed_command_prints_utf_8_anywhere_and_stops_quietly_when_nobody_reads(tmp_path: Path) -> None:
    write_dataset(tmp_path / "words", (3000,), columns={"text": ["Käse \U0001f9c0"] * 3000})
    uid = open_dataset(tmp_path / "words").rows(["uid"])["uid"][0].as_py()
    command = [str(Path(sys.executable).with_name("dfndr")), "search", str(tmp_path / "words"), "--uid", uid]
    plain = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([*command, "-k", "2"], env=plain, capture_output=True, timeout=100)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout.count(b"\n") == 2 and b"K" in done.stdout
    with subprocess.Popen([*command, "-k", "2999"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reader:
        assert reader.stdout is not None and reader.stderr is not None
        reader.stdout.close()
        assert reader.stderr.read() == b""
    assert reader.returncode in (0, 1)
