"""What README.md says is true: its code runs, its commands do what they say, on the recipe it shows."""

import re
import runpy
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.documented import ROOT, blocks, commands, with_a_tiny_model, write_pictures
from support.tiny import write_dataset
from support.verbs import parsed, run, verbs

import dfndr
from dfndr.format.manifest import read_manifest
from dfndr.format.schema import Space

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = README + "".join(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md")))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what README.md takes for granted: 60 pictures with texts, and what the quickstart leaves."""
    root = tmp_path_factory.mktemp("readme")
    write_pictures(root / "pictures", 60)
    spaces = [Space("image", "glyphs-vit", 128), Space("caption", "glyphs-vit", 128, per_row=2)]
    write_dataset(root / "quickstart" / "dataset", (300, 200), spaces)
    (block,) = blocks(README, "toml")
    (root / "recipe.toml").write_text(with_a_tiny_model(block, root))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


@pytest.fixture(scope="module")
def outputs(folder: Path) -> dict[str, str]:
    """What each command of README.md on one's own pictures printed, run in the order they are shown."""
    found = {}
    for words in commands(README, "dfndr"):
        result = run(words)
        assert result.exit_code == 0, f"{words}: {result.output}{result.exception!r}"
        found[words[0]] = result.stdout
    return found


def test_the_commands_on_ones_own_pictures_do_what_is_said(folder: Path, outputs: dict[str, str]) -> None:
    assert list(outputs) == ["plan", "build", "info", "verify", "search", "train-head", "eval", "report", "select"]
    manifest = read_manifest("my-set")
    assert (manifest.funnel[0].rows_in, len(manifest)) == (60, 30)
    assert len(outputs["search"].splitlines()) == 5
    assert all("R@1 " in outputs[verb] and "R@10" in outputs[verb] for verb in ("train-head", "eval"))
    assert "Funnel" in Path(outputs["report"].strip()).read_text(encoding="utf-8")
    assert re.search(r"dropped: width_below +0 +60 +\+60$", outputs["select"], re.MULTILINE)
    assert {"head.safetensors", "curve.png"} <= {path.name for path in (folder / "my-head").iterdir()}


@pytest.mark.parametrize("number", range(len(blocks(README, "python"))))
def test_the_python_code_runs_and_its_comments_are_true(outputs: dict[str, str], number: int) -> None:
    names: dict[str, Any] = {}
    exec(compile(blocks(README, "python")[number], f"README.md, block {number}", "exec"), names)
    if number == 0:
        assert names["images"].shape == names["captions"].shape == (500 - 256, 128)
    else:
        assert names["vectors"].shape == (10, 1, 128 // 8)
        assert names["vectors"].dtype == np.float16
        assert names["state"] == {"seed": 7, "epoch": 1, "position": 0}
        assert set(names["best"].column_names) == {"uid", "text", "clip"}
        assert names["found"].uids.shape == (1, 5)


def test_the_example_runs_and_goes_on_from_the_state_it_saved(
    outputs: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    example = runpy.run_path(str(ROOT / "examples" / "train_on_cached_vectors.py"))
    example["main"]("my-set", epochs=2)
    printed = capsys.readouterr().out
    assert re.findall(r"'epoch': (\d+), 'position': (\d+)", printed) == [("1", "0"), ("2", "0")]
    assert f"of {len(dfndr.open_dataset('my-set').split('validation'))} texts" in printed


def test_every_verb_is_in_the_readme_and_every_verb_in_it_exists() -> None:
    table = {
        words: re.split(r"\s+", words) for words in re.findall(r"^\| `dfndr ([^`]+)` \|", README, flags=re.MULTILINE)
    }
    assert {words[0] for words in table.values()} == set(verbs())
    for words in table.values():
        parsed(words)  # placeholders are words too: what is required is there, and every option exists


def test_every_dfndr_command_in_the_docs_parses() -> None:
    shown = re.findall(r"`dfndr ([a-z][a-z-]*(?: [^`]+)?)`", DOCS)
    assert len(shown) > 10
    for words in map(shlex.split, shown):
        verb = verbs()[words[0]]
        options = {name for parameter in verb.params for name in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if word.startswith("-")} <= options, words


def test_every_make_target_in_the_readme_is_in_the_makefile() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {words[0] for words in commands(README, "make")} == {"quickstart", "test"} <= set(targets)


def test_the_extras_are_those_of_the_project() -> None:
    table = README.partition("| extra |")[2].partition("\n\n")[0]
    named = {
        name
        for row in table.splitlines()
        for name in re.findall(r"`([a-z0-9-]+)`", row.partition("| ")[2].partition("|")[0])
    }
    assert named == set(PROJECT["optional-dependencies"]) - {"dev"}


def test_the_first_screen_is_a_sentence_a_short_read_two_commands_and_the_tree() -> None:
    first = README.partition("\n## ")[0]
    assert first.startswith("# dfndr\n\n`dfndr` turns a pool")
    assert re.findall(r"^```(\w*)$", first, flags=re.MULTILINE)[::2] == ["python", "sh", ""]
    assert len([line for line in blocks(README, "python")[0].splitlines() if line]) <= 5


def test_the_tree_in_the_readme_names_every_folder_of_a_dataset(outputs: dict[str, str]) -> None:
    there = {stored.path.split("/")[0] for shard in read_manifest("my-set").shards for stored in shard.files.values()}
    (tree,) = [block for block in blocks(README, "") if block.startswith("my-set/")]
    assert there <= set(re.findall(r"^  (\w+)/", tree, flags=re.MULTILINE))
