"""What docs/training.md says is true: its code and commands run on a small dataset, its recipes are recipes."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dfndr_builders.recipe import Recipe
from support.tiny import write_dataset
from support.verbs import run

from dfndr import open_dataset
from dfndr.format.schema import Space

DOCS = Path(__file__).parents[2] / "docs"
TRAINING, CURATION = ((DOCS / name).read_text(encoding="utf-8") for name in ("training.md", "curation.md"))
ROWS = 300
MADE = {"train-scorer": "scorer.json", "train-head": "head.json"}


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the dataset and the list of uids that docs/training.md takes for granted."""
    root = tmp_path_factory.mktemp("training")
    encoders = ("vit-b-32", "small", "other", "large-a", "large-b")
    spaces = [space for name in encoders for space in (Space("image", name, 8), Space("caption", name, 8, per_row=2))]
    columns = {"dfn_decile": np.random.default_rng(0).permutation(ROWS) % 10, "safe": np.arange(ROWS) % 3 > 0}
    write_dataset(root / "my-dataset", (200, 100), spaces, columns=columns)
    uids = open_dataset(str(root / "my-dataset")).rows(["uid"])["uid"].to_pylist()
    (root / "good-uids.txt").write_text("\n".join(uids[::4]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


@pytest.fixture(scope="module")
def names(folder: Path) -> dict[str, Any]:
    """What the page's Python code leaves behind, run from its top to its end."""
    found: dict[str, Any] = {}
    for number, block in enumerate(_blocks(TRAINING, "python")):
        exec(compile(block, f"docs/training.md, block {number}", "exec"), found)
    return found


def test_the_curriculum_of_the_page_holds_what_its_comments_say(names: dict[str, Any]) -> None:
    train = open_dataset("my-dataset").split("train")
    deciles = {row["uid"]: row["dfn_decile"] for row in train.rows(["uid", "dfn_decile"]).to_pylist()}
    loader, seen = names["loader"], {}
    for epoch in (0, 4, 5):
        loader.set_epoch(epoch)
        seen[epoch] = [deciles[uid] for batch in loader for uid in batch["uid"]]
    assert sorted(seen[0]) == sorted(decile for decile in deciles.values() if decile >= 5)
    assert sorted(seen[4]) == sorted(decile for decile in deciles.values() if decile >= 8)
    assert len(seen[5]) == len(seen[4]), "weights leave an epoch as long as it is"
    assert (seen[5].count(8), seen[5].count(9)) != (30, 30) == (seen[4].count(8), seen[4].count(9))
    assert abs(seen[5].count(9) - 60 * 9 / 17) < 5, "a row comes as often as its decile says"


def test_the_scorer_of_the_page_scores_every_row(names: dict[str, Any]) -> None:
    assert names["scores"].shape == (ROWS,) and names["scores"].dtype == np.float32
    assert ((names["scores"] > 0) & (names["scores"] < 1)).all()


def test_the_commands_of_the_page_train_what_they_say(folder: Path) -> None:
    lines = [shlex.split(line, comments=True) for block in _blocks(TRAINING, "sh") for line in block.splitlines()]
    for words in lines:
        if words[1] in MADE:
            result = run(words[1:])
            assert result.exit_code == 0, f"{words}: {result.output}{result.exception!r}"
            assert (folder / words[words.index("--out") + 1] / MADE[words[1]]).is_file()
    assert [words[1] for words in lines if words[1] in MADE] == 2 * ["train-head"] + 2 * ["train-scorer"]


BASE = """
name = "base"
license = "CC0-1.0"

[[pool]]
kind = "glyphs"

[select]
by = "luck"
top_fraction = 1.0

[[score]]
name = "luck"
kind = "random"
"""


@pytest.mark.parametrize("block", [*_blocks(TRAINING, "toml"), *_blocks(CURATION, "toml")])
def test_every_piece_of_a_recipe_in_the_pages_is_valid(block: str) -> None:
    given: dict[str, Any] = tomllib.loads(block)
    base = tomllib.loads(BASE)
    scores = {"score": [*base["score"], *given.get("score", [])]}
    Recipe.model_validate(given if "name" in given else base | given | scores)
