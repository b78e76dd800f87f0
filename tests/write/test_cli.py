"""The command line as its user meets it: what it prints where, and what it ends with; never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from dfndr_builders.build import build
from dfndr_builders.pools.glyphs import GlyphsPool
from support.models import tiny_config
from support.tiny import write_dataset

import dfndr.cli
from dfndr.dataset import open_dataset
from dfndr.format.manifest import read_manifest
from dfndr.search import Index

RECIPE = """
name = "small"
license = "mit"

[[pool]]
kind = "glyphs"
count = 60

[[score]]
name = "dfn"
model = "tiny.json"
pretrained = "random:0"

[select]
by = "dfn"
top_fraction = 0.5

[[embed]]
encoder = "tiny"
model = "tiny.json"
pretrained = "random:1"

[output]
validation = 0.3

[compute]
batch_size = 8
threads = 1
"""


@dataclass(frozen=True)
class Said:
    """What a command printed to each stream, and what it ended with."""

    status: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Run the command line in this process; whatever it is given, it ends with 0, 1 or 2 and prints no traceback."""

    def command(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["dfndr", *map(str, words)])
        capsys.readouterr()
        try:
            dfndr.cli.main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        said = Said(status, *capsys.readouterr())
        assert said.status in (0, 1, 2)
        assert "Traceback" not in said.err and "unexpected" not in said.err, said.err
        if said.status and said.err.startswith("error:"):
            assert not said.out
        return said

    return command


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("command-line")
    tiny_config(folder)
    (folder / "recipe.toml").write_text(RECIPE)
    return folder / "recipe.toml"


@pytest.fixture(scope="module")
def dataset(recipe: Path) -> Path:
    build(recipe, recipe.parent / "out", device="cpu")
    return recipe.parent / "out"


def texts_and_uids(dataset: Path) -> dict[str, str]:
    rows = open_dataset(dataset).rows(["uid", "text"]).to_pylist()
    return {row["text"]: row["uid"] for row in rows}


def test_build_prints_the_dataset_to_stdout_and_its_progress_to_stderr(run, recipe: Path, tmp_path: Path) -> None:
    said = run("build", recipe, "--out", tmp_path / "out", "--device", "cpu")
    assert said.status == 0
    assert said.out.startswith("small: 30 rows in ")
    assert "60 in          60 out" in said.out and "30 dropped: not_selected" in said.out
    assert [line.partition(":")[0] for line in said.err.splitlines()] == ["score", "select", "build"]
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


def test_search_by_words_finds_the_brute_force_neighbours(run, dataset: Path) -> None:
    from dfndr.nearest import encoder_of

    opened = open_dataset(dataset)
    query = encoder_of(opened, opened.space("image/tiny"), device="cpu").encode_texts(["greek letter"]).vectors[0]
    scores = opened.vectors("image/tiny")[:, 0].astype("float32") @ query
    rows = opened.rows(["uid", "text"]).to_pylist()
    wanted = sorted(range(len(rows)), key=lambda row: -scores[row])[:4]
    said = run("search", dataset, "greek letter", "-k", "4", "--json", "--device", "cpu")
    assert (said.status, said.err) == (0, "")
    found = json.loads(said.out)
    assert [row["uid"] for row in found] == [rows[place]["uid"] for place in wanted]
    assert [row["text"] for row in found] == [rows[place]["text"] for place in wanted]
    assert [row["score"] for row in found] == pytest.approx([float(scores[place]) for place in wanted], abs=1e-3)
    lines = run("search", dataset, "greek letter", "-k", "4", "--device", "cpu").out.splitlines()
    assert [line.split()[2] for line in lines] == [row["uid"] for row in found]


def test_search_by_a_picture_finds_that_picture_and_by_uid_leaves_it_out(run, dataset: Path, tmp_path: Path) -> None:
    pool = GlyphsPool(count=60)
    rows = [row for shard in pool.shards() for table in pool.read(shard) for row in table.to_pylist()]
    uid = next(iter(texts_and_uids(dataset).values()))
    (tmp_path / "query.png").write_bytes(next(row["image"] for row in rows if row["uid"] == uid))
    by_image = run("search", dataset, "--image", tmp_path / "query.png", "-k", "5", "--json", "--device", "cpu")
    found = json.loads(by_image.out)
    assert found[0]["uid"] == uid and found[0]["score"] == pytest.approx(1, abs=1e-3)
    by_uid = json.loads(run("search", dataset, "--uid", uid, "-k", "4", "--json").out)
    assert [row["uid"] for row in by_uid] == [row["uid"] for row in found if row["uid"] != uid]
    assert len(json.loads(run("search", dataset, "--uid", uid, "-k", "999", "--json").out)) == 29


def test_an_index_is_saved_loaded_and_refused_on_another_dataset(run, dataset: Path, tmp_path: Path) -> None:
    uid = next(iter(texts_and_uids(dataset).values()))
    command = ("--uid", uid, "--json", "--index", tmp_path / "index")
    first = run("search", dataset, *command)
    assert (tmp_path / "index" / "index.json").is_file()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "index").iterdir()}
    assert run("search", dataset, *command).out == first.out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "index").iterdir()} == before
    other_space = run("search", dataset, *command, "--space", "text/tiny")
    assert other_space.status == 2 and "found image/tiny" in other_space.err
    write_dataset(tmp_path / "other")
    other = run("search", tmp_path / "other", *command)
    assert other.status == 2 and "Build the index again from this dataset" in other.err
    (tmp_path / "index" / "vectors.npy").write_bytes(b"harmed")
    harmed = run("search", dataset, *command)
    assert harmed.status == 1 and "vectors.npy" in harmed.err
    assert run("search", dataset, "--uid", uid, "--index", tmp_path).status == 1
    assert run("search", dataset, "--uid", uid, "--index", tmp_path / "other" / "manifest.json").status == 1


def test_an_index_is_chosen_by_kind_or_by_a_budget_and_says_what_it_finds(run, dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    command = ("--uid", next(iter(texts_and_uids(dataset).values())), "--json")
    exact = run("search", dataset, *command)
    graph = run("search", dataset, *command, "--index", tmp_path / "graph", "--kind", "hnsw")
    assert graph.out == exact.out and "kind='hnsw', recall@10=1.000" in graph.err
    chosen = run("search", dataset, *command, "--max-latency-ms", 10_000, "--max-memory-mb", 100)
    assert chosen.out == exact.out and "index image/tiny: exact: recall@10=1.000, about 0 MB" in chosen.err
    refused = run("search", dataset, *command, "--index", tmp_path / "graph", "--max-memory-mb", 100)
    assert refused.status == 2 and "no index yet" in refused.err
    assert run("search", dataset, *command, "--max-memory-mb", 0.0001).status == 2


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, "found none. Give just one"),
        (["words", "--uid", "0" * 32], 2, "found more than one"),
        (["--uid", "0" * 32], 2, "found no such row"),
        (["--uid", "no uid"], 2, "found no such row"),
        (["--uid", ""], 2, "found no such row"),
        (["   "], 2, "found a blank text"),
        (["--image", "gone.jpg"], 1, "No such file"),
        (["--image", "."], 1, "this is a folder"),
        (["--image", "recipe.toml"], 1, "image_unreadable"),
        (["words", "--space", "image/other"], 2, "expected one of: image/tiny, text/tiny"),
        (["words", "-k", "0"], 2, "-k"),
        (["words", "-k", "many"], 2, "-k"),
        (["words", "--device", "abacus"], 2, "device 'abacus'"),
        (["words", "--pretrained", "random:5"], 1, "other weights"),
        (["words", "--pretrained", "gone.pt"], 1, "no file there"),
        (["words", "--nonsense"], 2, "--nonsense"),
    ],
)
def test_a_search_that_cannot_be_says_why(run, dataset: Path, monkeypatch, words, status: int, said: str) -> None:
    monkeypatch.chdir(dataset.parent)
    got = run("search", dataset, *words)
    assert (got.status, got.out) == (status, "")
    assert said in got.err


@pytest.mark.parametrize("query", ["a\0b", "caf\udce9", "\U0001f9c0" * 3000, "<end_of_text>"])
def test_a_search_takes_any_words(run, dataset: Path, query: str) -> None:
    assert len(run("search", dataset, query, "-k", "3", "--device", "cpu").out.splitlines()) == 3


def test_texts_of_strangers_do_not_steer_the_terminal(run, tmp_path: Path) -> None:
    texts = ["\x1b[2Jgone", "two\nlines", "back\rwards", "r\u202eight", "plain"]
    opened = write_dataset(tmp_path / "strange", (5,), columns={"text": texts})
    uid = opened.rows(["uid"])["uid"][4].as_py()
    said = run("search", tmp_path / "strange", "--uid", uid)
    assert len(said.out.splitlines()) == 4
    assert said.out.replace("\n", "").isprintable()
    as_json = json.loads(run("search", tmp_path / "strange", "--uid", uid, "--json").out)
    assert {row["text"] for row in as_json} == set(texts[:4]), "JSON keeps them to the letter"


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


def test_plan_says_what_a_build_would_do_and_writes_nothing(run, recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "planned"
    folder.mkdir()
    text = RECIPE.replace('model = "tiny.json"\npretrained = "random:1"', 'pretrained = "hf-hub:someone/model"')
    text = text.replace('kind = "glyphs"\ncount = 60', 'kind = "webdataset"\npath = "later/*.tar"')
    (folder / "recipe.toml").write_text(text.replace("random:0", "weights/dfn.pt"))
    said, as_json = run("plan", folder / "recipe.toml"), run("plan", folder / "recipe.toml", "--json")
    assert (said.status, said.err, as_json.status, as_json.err) == (0, "", 0, "")
    given = json.loads(as_json.out)
    assert given["network"] == ["hf-hub:someone/model"], "a file of weights needs no network"
    assert "not there yet" in given["pools"][0]
    assert given["phases"][0].startswith("score by dfn")
    assert [path.name for path in folder.iterdir()] == ["recipe.toml"]
    assert all(line in said.out for line in given["phases"])


CURATED = """
[[measure]]
kind = "image"

[[measure]]
kind = "text"

[[rule]]
use = "text"
leave_out = ["few_words"]

[[rule]]
use = "few_words"
below = 5

[[rule]]
reason = "other_source"
column = "source"
not_one_of = ["glyphs", "web"]

[[duplicates]]
kind = "near"

[[duplicates]]
kind = "same_image"

[[score]]
name = "quality"
kind = "text-quality"
weights = "my-classifier"
"""


def test_plan_says_in_short_lines_what_drops_rows_and_in_which_order(run, recipe: Path) -> None:
    curated = recipe.parent / "curated.toml"
    curated.write_text(recipe.read_text() + CURATED)
    given = json.loads(run("plan", curated, "--json").out)
    phases = given["phases"]
    assert "quality: text quality, my-classifier" in given["models"]
    (rules,) = (phase for phase in phases if phase.startswith("drop by rule"))
    assert rules.startswith("drop by rule: file_name, boilerplate,")
    assert rules.endswith(", few_words (words below 5), other_source (source not one of glyphs, web)")
    assert phases[phases.index(rules) + 1 :][:2] == ["drop duplicates: same_image", "drop duplicates: near"]
    shown = run("plan", curated).out
    assert max(map(len, shown.splitlines())) <= 110
    assert " ".join(rules.split()) in " ".join(shown.split())


@pytest.mark.parametrize("verb", ["plan", "build"])
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("top_fraction", "top_fractoin", "Did you mean 'top_fraction'?"),
        ("top_fraction = 0.5", 'top_fraction = "half"', "expected a valid number, found 'half'"),
        ("top_fraction = 0.5", "top_fraction = 1.5", "less than or equal to 1, found 1.5"),
        ("[select]", "[select", "Mend that line"),
        ("count = 60", "count = -1", "greater than 0"),
    ],
)
def test_a_wrong_recipe_is_a_wrong_command(run, tmp_path: Path, verb: str, old: str, new: str, said: str) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE.replace(old, new))
    got = run(verb, tmp_path / "recipe.toml", *(["--out", tmp_path / "out"] if verb == "build" else []))
    assert got.status == 2 and said in got.err
    assert len(got.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


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


def test_a_dataset_that_was_moved_away_from_its_recipe_is_still_searched(run, recipe: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    tiny_config(made)
    shutil.copy(recipe, made / "recipe.toml")
    first = build(made / "recipe.toml", made / "out", device="cpu")
    shutil.move(made / "out", tmp_path / "moved")
    shutil.rmtree(made)
    assert len(run("search", tmp_path / "moved", "words", "-k", "3", "--device", "cpu").out.splitlines()) == 3
    assert str(tmp_path) not in (tmp_path / "moved" / "manifest.json").read_text()
    assert first.digest == build(recipe, tmp_path / "again", device="cpu").digest, "wherever the recipe lies"


def test_an_index_of_the_library_and_the_command_line_agree(run, dataset: Path, tmp_path: Path) -> None:
    opened = open_dataset(dataset)
    Index.build(opened, "image/tiny").save(str(tmp_path / "index"))
    uid = next(iter(texts_and_uids(dataset).values()))
    assert run("search", dataset, "--uid", uid, "--json", "--index", tmp_path / "index") == run(
        "search", dataset, "--uid", uid, "--json"
    )


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
