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
from dfndr_builders.pools.glyphs import GlyphsPool
from support.models import tiny_config
from support.tiny import write_dataset
from support.verbs import parsed, run, verbs

import dfndr
from dfndr.format.manifest import read_manifest
from dfndr.format.schema import Space

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = README + "".join(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md")))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _blocks(language: str) -> list[str]:
    """Return the code blocks of a language, "" for those without one."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    return [block for its_language, block in blocks if its_language == language]


def _commands(program: str) -> list[list[str]]:
    """Return the words after the program's name of every line of a shell block that runs it."""
    lines = [shlex.split(line, comments=True) for block in _blocks("sh") for line in block.splitlines()]
    return [words[1:] for words in lines if words and words[0] == program]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what README.md takes for granted: 60 pictures with texts, and what the quickstart leaves."""
    root = tmp_path_factory.mktemp("readme")
    (root / "pictures").mkdir()
    pool = GlyphsPool(count=60)
    for table in (table for shard in pool.shards() for table in pool.read(shard)):
        for number, row in enumerate(table.to_pylist()):
            (root / "pictures" / f"{number:03d}.png").write_bytes(row["image"])
            (root / "pictures" / f"{number:03d}.txt").write_text(row["text"])
    spaces = [Space("image", "glyphs-vit", 128), Space("caption", "glyphs-vit", 128, per_row=2)]
    write_dataset(root / "quickstart" / "dataset", (300, 200), spaces)
    (block,) = _blocks("toml")
    # The only change: a model of one layer and random weights in the place of one that has to be fetched.
    recipe = block.replace('"ViT-B-32"', f'"{tiny_config(root).name}"').replace('"datacomp_xl_s13b_b90k"', '"random:0"')
    (root / "recipe.toml").write_text(recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


@pytest.fixture(scope="module")
def outputs(folder: Path) -> dict[str, str]:
    """What each command of README.md on one's own pictures printed, run in the order they are shown."""
    found = {}
    for words in _commands("dfndr"):
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


@pytest.mark.parametrize("number", range(len(_blocks("python"))))
def test_the_python_code_runs_and_its_comments_are_true(outputs: dict[str, str], number: int) -> None:
    names: dict[str, Any] = {}
    exec(compile(_blocks("python")[number], f"README.md, block {number}", "exec"), names)
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
    assert {words[0] for words in _commands("make")} == {"quickstart", "test"} <= set(targets)


def test_the_extras_are_those_of_the_project() -> None:
    table = README.partition("| extra |")[2].partition("\n\n")[0]
    named = {
        name
        for row in table.splitlines()
        for name in re.findall(r"`([a-z-]+)`", row.partition("| ")[2].partition("|")[0])
    }
    assert named == set(PROJECT["optional-dependencies"]) - {"dev"}


def test_the_first_screen_is_a_sentence_a_short_read_two_commands_and_the_tree() -> None:
    first = README.partition("\n## ")[0]
    assert first.startswith("# dfndr\n\n`dfndr` turns a pool")
    assert re.findall(r"^```(\w*)$", first, flags=re.MULTILINE)[::2] == ["python", "sh", ""]
    assert len([line for line in _blocks("python")[0].splitlines() if line]) <= 5


def test_the_tree_in_the_readme_names_every_folder_of_a_dataset(outputs: dict[str, str]) -> None:
    there = {stored.path.split("/")[0] for shard in read_manifest("my-set").shards for stored in shard.files.values()}
    (tree,) = [block for block in _blocks("") if block.startswith("my-set/")]
    assert there <= set(re.findall(r"^  (\w+)/", tree, flags=re.MULTILINE))
