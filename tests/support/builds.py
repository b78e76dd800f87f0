"""Small real builds: a recipe over the built-in pool with a one-layer model of random weights."""

import multiprocessing
from pathlib import Path

from dfndr_builders.build import build

from dfndr.progress import Silent
from support.models import tiny_config

RECIPE = """
name = "small"
license = "mit"
seed = 7

[[pool]]
kind = "glyphs"
count = 2_500
swap_texts = 0.3

[[score]]
name = "dfn"
model = "{model}"
pretrained = "random:0"

[select]
by = "dfn"
top_fraction = 0.2

[[caption]]
kind = "retrieval"
per_image = 2
bank = {{ kind = "glyphs", count = 200 }}

[[embed]]
encoder = "tiny"
model = "{model}"
pretrained = "random:1"
of = ["image", "text", "caption"]

[output]
rows_per_shard = 60
thumbnail = 16
validation = 0.1

[compute]
batch_size = 64
threads = 1
"""


class Told(Silent):
    """Keeps what a build says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text)

    @property
    def said(self) -> list[str]:
        """What was said of taking over."""
        return [line for line in self.lines if "taken over" in line or "computed anew" in line]


def write_recipe(folder: Path, *, text: str = RECIPE, **replaced: str) -> Path:
    """Write the recipe and its model's config; `replaced` puts one line's value in another's place."""
    text = text.format(model=tiny_config(folder).name)
    for key, value in replaced.items():
        lines = [f"{key} = {value}" if line.startswith(f"{key} =") else line for line in text.splitlines()]
        text = "\n".join(lines) + "\n"
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def forkserver() -> multiprocessing.context.ForkServerContext:
    """Return a context whose processes start with the heavy modules loaded, and nothing run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dfndr_builders.build", "open_clip", "duckdb", "pandas", "matplotlib.font_manager"])
    return context


def run_build(recipe: str, out: str) -> None:
    """Build, in a process of its own."""
    build(recipe, out, device="cpu")
