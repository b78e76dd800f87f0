"""The command line run in this process, and a small recipe and its dataset for it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from dfndr_builders.build import build

import dfndr.cli
from support.models import tiny_config

__all__ = ["RECIPE", "Said", "dataset", "recipe", "run"]

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
