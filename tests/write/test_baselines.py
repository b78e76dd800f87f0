"""The baselines of DataComp as docs/filters.md writes them: recipes that are valid, and rows that they keep or drop."""

import re
import tomllib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dfndr_builders.recipe import Recipe
from dfndr_builders.select import Rule, select
from support.tiny import write_dataset

from dfndr.dataset import Dataset

PAGE = (Path(__file__).parents[2] / "docs" / "filters.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```toml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
BASE = """
name = "base"
license = "mit"
pool = [{ kind = "glyphs" }]
score = [{ name = "clip", model = "ViT-B-32", pretrained = "random:0" }]
select = { by = "clip", top_fraction = 0.5 }
"""


def _recipe(block: str) -> Recipe:
    return Recipe.model_validate(tomllib.loads(BASE) | tomllib.loads(block))


@pytest.mark.parametrize("block", BLOCKS)
def test_every_recipe_of_the_page_is_valid(block):
    _recipe(block)


def _scores(root: Path, **columns: pa.Array) -> Dataset:
    count = len(next(iter(columns.values())))
    uids = [f"{number:032x}" for number in range(count)]
    return write_dataset(root, [count], (), columns={"uid": uids, **columns})


def _kept(root: Path) -> list[int]:
    tables = [pq.read_table(root / f"{split}.parquet") for split in ("train", "validation")]
    return sorted(row for table in tables for row in table["row"].to_pylist())


def test_the_basic_filter_decides_datacomps_examples_as_datacomp_does(tmp_path):
    block = next(block for block in BLOCKS if "odd_aspect" in block)
    rows = [
        # width, height, aspect, words, characters, language
        (980, 405, 980 / 405, 2, 14, "en"),  # "untitled image"
        (82, 81, 82 / 81, 9, 50, "en"),  # a phone case
        (600, 450, 600 / 450, 5, 30, "en"),  # a print's title
        (399, 600, 600 / 399, 4, 26, "en"),  # another one
        (600, 200, 3.0, 3, 6, "en"),  # every limit just met
        (601, 200, 601 / 200, 3, 6, "en"),
        (600, 450, 600 / 450, 5, 30, "vi"),
        (600, 450, 600 / 450, 3, 5, "en"),
    ]
    width, height, aspect, words, characters, language = zip(*rows, strict=True)
    scores = _scores(
        tmp_path / "scores",
        dfn=pa.array([0.5] * len(rows), pa.float32()),
        width=pa.array(width, pa.int32()),
        height=pa.array(height, pa.int32()),
        aspect=pa.array(aspect, pa.float32()),
        words=pa.array(words, pa.int32()),
        characters=pa.array(characters, pa.int32()),
        language=pa.array(language, pa.string()),
    )
    drop = _recipe(block).drop_rules
    chosen = select(scores, Rule("dfn", top_fraction=1.0, drop=drop), str(tmp_path / "out"))
    assert _kept(tmp_path / "out") == [2, 3, 4]
    dropped = {reason: count for reason, count in chosen.step.dropped.items() if count}
    assert dropped == {"few_words": 1, "narrow_image": 1, "odd_aspect": 1, "other_language": 1, "few_characters": 1}


@pytest.mark.parametrize(("fraction", "ours", "datacomp", "threshold"), [(0.3, 3, 4, 0.7), (0.15, 1, 2, 0.8)])
def test_a_share_is_exact_where_datacomp_keeps_one_more_and_all_ties(tmp_path, fraction, ours, datacomp, threshold):
    values = [0.9, 0.8, 0.7, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    ranked = sorted(values, reverse=True)
    assert ranked[int(len(values) * fraction)] == threshold  # the (n + 1)-th largest, as DataComp's script takes it
    scores = _scores(tmp_path / "scores", dfn=pa.array(values, pa.float32()))
    select(scores, Rule("dfn", top_fraction=fraction), str(tmp_path / "share"))
    select(scores, Rule("dfn", threshold=threshold), str(tmp_path / "threshold"))
    assert len(_kept(tmp_path / "share")) == ours
    assert len(_kept(tmp_path / "threshold")) == datacomp == sum(value >= threshold for value in values)
