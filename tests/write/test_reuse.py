"""Rebuilding in the folder of a dataset: what depends on nothing that changed is taken over, to the same digest."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dfndr_builders.build import build
from dfndr_builders.output import LOCK
from open_clip.transformer import VisionTransformer
from support.builds import RECIPE, Told, write_recipe

from dfndr.dataset import open_dataset
from dfndr.format.manifest import Manifest
from dfndr.verify import verify

SMALL = RECIPE.replace("count = 2_500\n", "count = 60\n").replace("swap_texts = 0.3\n", "")
SMALL = SMALL.replace("count = 200 }}", "count = 12 }}").replace("rows_per_shard = 60", "rows_per_shard = 5")
SMALL = SMALL.replace("batch_size = 64", "batch_size = 16")
VIEWS = "\n[views]\ncount = 3\nplain_first = true\n"


def teacher(name: str, seed: int, **more: str) -> str:
    lines = "".join(f"{key} = {value}\n" for key, value in more.items())
    return f'\n[[embed]]\nencoder = "{name}"\nmodel = "{{model}}"\npretrained = "random:{seed}"\n{lines}'


@pytest.fixture
def passes() -> Iterator[list[int]]:
    """How many pictures each forward pass of a vision tower really held, padding included."""
    seen: list[int] = []

    def note(module: torch.nn.Module, given: Any, _: Any) -> None:
        if isinstance(module, VisionTransformer):
            seen.append(len(given[0]))

    handle = torch.nn.modules.module.register_module_forward_hook(note)
    yield seen
    handle.remove()


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished dataset with views and captions."""
    folder = tmp_path_factory.mktemp("before")
    build(write_recipe(folder, text=SMALL + VIEWS), folder / "out", device="cpu")
    return folder / "out"


def from_scores(before: Path, recipe: Path) -> Manifest:
    """Build where there is no dataset to take anything from, only the scores and the bank of one."""
    shutil.copytree(before / "phases", recipe.parent / "new" / "phases")
    shutil.copy(before / LOCK, recipe.parent / "new")
    return build(recipe, recipe.parent / "new", device="cpu")


def rebuilt(before: Path, folder: Path, text: str) -> tuple[Manifest, Manifest, list[str]]:
    """Build a recipe over a copy of the dataset, and from no dataset but the same scores; return both."""
    shutil.copytree(before, folder / "over")
    told, recipe = Told(), write_recipe(folder, text=text)
    over = build(recipe, folder / "over", device="cpu", replace=True, progress=told)
    assert verify(folder / "over").findings == ()
    return (
        over,
        from_scores(before, recipe),
        [line for line in told.said if "over" in line or "anew" in line],
    )


def test_a_teacher_that_is_added_is_all_that_is_computed(before: Path, tmp_path: Path, passes: list[int]) -> None:
    text = SMALL + VIEWS + teacher("second", 2, of='["image"]', dtype='"int8"')
    shutil.copytree(before, tmp_path / "over")
    told, recipe = Told(), write_recipe(tmp_path, text=text)
    over = build(recipe, tmp_path / "over", device="cpu", replace=True, progress=told)
    rows, batch = len(over), 16
    shards = [shard.rows for shard in over.shards]
    assert sum(passes) == sum(-(-3 * count // batch) * batch for count in shards)
    assert told.said == [
        "image/second: computed anew: the dataset here has no such space",
        f"captions of {rows:,} of {rows:,} rows taken over",
        *(f"{kind}/tiny: vectors of {rows:,} of {rows:,} rows taken over" for kind in ("image", "text", "caption")),
    ]
    assert over.digest == from_scores(before, recipe).digest
    assert verify(tmp_path / "over").findings == ()


@pytest.mark.parametrize(
    ("changed", "anew", "kept"),
    [
        (('top_fraction = 0.2', 'top_fraction = 0.3'), [], ["captions", "image", "text", "caption"]),
        (('per_image = 2', 'per_image = 3'), ["captions", "caption/tiny"], ["image", "text"]),
        (('count = 3\nplain', 'count = 2\nplain'), ["image/tiny"], ["captions", "text", "caption"]),
    ],
)  # fmt: skip
def test_what_changed_is_computed_and_nothing_else(
    before: Path, tmp_path: Path, changed: tuple[str, str], anew: list[str], kept: list[str]
) -> None:
    text = (SMALL + VIEWS).replace(*changed)
    assert text != SMALL + VIEWS
    over, new, told = rebuilt(before, tmp_path, text)
    assert over.digest == new.digest
    for name in anew:
        assert any(line.startswith(f"{name}: computed anew") for line in told), told
    for name in kept:
        line = next(line for line in told if line.startswith((f"{name} of", f"{name}/tiny: vectors of")))
        assert not line.split(" of ")[1].startswith("0"), line


def test_other_weights_under_the_same_name_are_told_and_never_mixed(before: Path, tmp_path: Path) -> None:
    over, new, told = rebuilt(before, tmp_path, (SMALL + VIEWS).replace('"random:1"', '"random:9"'))
    assert over.digest == new.digest
    old, now = open_dataset(before), open_dataset(tmp_path / "over")
    was, other = (manifest.encoders["tiny"].weights_sha256[:12] for manifest in (old.manifest, over))
    assert (
        f"image/tiny: computed anew: the encoder of that name had other weights (sha256 {was} before, {other} now)"
        in told
    )
    assert not np.isclose(old.vectors("text/tiny"), now.vectors("text/tiny"), atol=1e-3).all(axis=(1, 2)).any()


def test_a_file_that_was_altered_is_not_taken_over(before: Path, tmp_path: Path) -> None:
    shutil.copytree(before, tmp_path / "over")
    manifest = open_dataset(before).manifest
    path = tmp_path / "over" / manifest.shards[1].files["text/tiny"].path
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    told = Told()
    text = SMALL + VIEWS + teacher("second", 2, of='["text"]')
    over = build(write_recipe(tmp_path, text=text), tmp_path / "over", device="cpu", replace=True, progress=told)
    assert any(line.startswith("text/tiny: computed anew") and "altered" in line for line in told.said)
    assert verify(tmp_path / "over").findings == ()
    assert [shard.files["text/tiny"].sha256 for shard in over.shards] == [
        shard.files["text/tiny"].sha256 for shard in manifest.shards
    ]


def test_what_other_stages_made_is_not_taken_over(before: Path, tmp_path: Path) -> None:
    shutil.copytree(before, tmp_path / "over")
    path = tmp_path / "over" / "manifest.json"
    given = json.loads(path.read_text())
    given["provenance"]["stages"] -= 1
    path.write_text(json.dumps(given))
    told = Told()
    text = SMALL + VIEWS + teacher("second", 2, of='["text"]')
    build(write_recipe(tmp_path, text=text), tmp_path / "over", device="cpu", replace=True, progress=told)
    assert not any("taken over" in line for line in told.said)
