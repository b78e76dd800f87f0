"""A small build for tests of what goes wrong around one: its recipe, the command, and what it may never leave."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path

import pytest
from dfndr_builders.build import build

import dfndr.cli
from dfndr.format.manifest import Manifest
from support.models import tiny_config

__all__ = ["POOL", "RECIPE", "assert_nothing_half_written", "built", "command", "write_recipe"]

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
