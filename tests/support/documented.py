"""What the pages of the documentation take for granted: pictures with texts, and a model that need not be fetched."""

import re
import shlex
from pathlib import Path

from dfndr_builders.pools.glyphs import GlyphsPool

from support.models import tiny_config

ROOT = Path(__file__).parents[2]


def blocks(page: str, language: str) -> list[str]:
    """Return a page's code blocks of a language, "" for those without one."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    return [block for its_language, block in found if its_language == language]


def commands(page: str, program: str) -> list[list[str]]:
    """Return the words after the program's name of every line of a shell block that runs it."""
    whole = [block.replace("\\\n", " ") for block in blocks(page, "sh")]
    lines = [shlex.split(line, comments=True) for block in whole for line in block.splitlines()]
    return [words[1:] for words in lines if words and words[0] == program]


def write_pictures(folder: Path, count: int) -> None:
    """Write so many glyphs as `000.png`, ... with their texts beside them."""
    folder.mkdir()
    pool = GlyphsPool(count=count)
    for table in (table for shard in pool.shards() for table in pool.read(shard)):
        for number, row in enumerate(table.to_pylist()):
            (folder / f"{number:03d}.png").write_bytes(row["image"])
            (folder / f"{number:03d}.txt").write_text(row["text"])


def with_a_tiny_model(recipe: str, folder: Path) -> str:
    """Return a recipe with a model of one layer and random weights in the place of one that has to be fetched."""
    return recipe.replace('"ViT-B-32"', f'"{tiny_config(folder).name}"').replace(
        '"datacomp_xl_s13b_b90k"', '"random:0"'
    )
