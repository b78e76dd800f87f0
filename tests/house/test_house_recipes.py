"""docs/recipes.md says of every key what it is, and nothing of keys that are not there."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from dfndr_builders.plan import plan
from dfndr_builders.recipe import Recipe, default_rules
from dfndr_builders.recipe_file import read_recipe
from dfndr_builders.rules import DropRule
from dfndr_builders.sections import captions, curation, dfn, models, pools, scores, trained, views, weighed
from pydantic import BaseModel

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
RECIPES = sorted((ROOT / "builders" / "recipes").glob("*.toml"))
POOLS = "`[[pool]]`"
SECTIONS = [
    (Recipe, ["At the top"]),
    (pools.WebDataset, [POOLS, "`webdataset` and `folder`"]),
    (pools.Folder, [POOLS, "`webdataset` and `folder`"]),
    (pools.Parquet, [POOLS, "`parquet`"]),
    (pools.Hf, [POOLS, "`hf`"]),
    (pools.Glyphs, [POOLS, "`glyphs`"]),
    (dfn.Dfn, ["`[dfn]`", "Keys of every training"]),
    (dfn.Finetune, ["`[dfn.finetune]`", "Keys of every training"]),
    (dfn.Averaging, ["`[dfn.averaging]`"]),
    (dfn.InducedClip, ["`[clip]`", "Keys of every training"]),
    (trained.TextQualityTraining, ["`[text_quality]`"]),
    (trained.ImageClassifierTraining, ["`[image_classifier]`"]),
    (trained.M3aeTraining, ["`[m3ae]`"]),
    (scores.Clip, ["`clip`"]),
    (weighed.TextQuality, ["`text-quality`"]),
    (weighed.ImageClassifier, ["`image-classifier`"]),
    (weighed.M3ae, ["`m3ae`"]),
    (scores.Column, ["`column`"]),
    (scores.ImageBased, ["`image-based`"]),
    (scores.TextBased, ["`text-based`"]),
    (scores.Head, ["`head`"]),
    (scores.Fusion, ["`fusion`"]),
    (scores.Random, ["`random`"]),
    (captions.Retrieval, ["`[[caption]]`", "`retrieval`"]),
    (captions.Endpoint, ["`[[caption]]`", "`endpoint`"]),
    (captions.Transformers, ["`[[caption]]`", "Where words are drawn", "`transformers`"]),
    (captions.Coca, ["`[[caption]]`", "Where words are drawn", "`coca`"]),
    (views.Views, ["`[views]`"]),
    (models.Embed, ["`[[embed]]`"]),
    (models.Output, ["`[output]`"]),
    (models.Compute, ["`[compute]`"]),
    (curation.MeasureImage, ["Pictures: `image`"]),
    (curation.MeasureText, ["Texts: `text`"]),
    (curation.MeasureLanguage, ["Languages: `language`"]),
    (curation.SameImage, ["`same_image`"]),
    (curation.SameText, ["`same_text`"]),
    (curation.NearDuplicates, ["`near`"]),
    (curation.SemanticDuplicates, ["`semantic`"]),
    (curation.NearContamination, ["By perceptual hash"]),
    (curation.SemanticContamination, ["By vectors"]),
    (curation.Cluster, ["`[cluster]`"]),
    (curation.Rule, ["`[[rule]]`"]),
    (curation.Limit, ["`[[select.also]]`"]),
    (curation.Quota, ["`[select.quota]`"]),
    (curation.Select, ["`[select]`"]),
]


def _keys_under(heading: str) -> dict[str, str]:
    """Return the keys of the tables of keys under a heading, each with what stands in its column of defaults."""
    parts = re.split(r"^#{2,3} (.+)$", PAGE, flags=re.MULTILINE)
    text = dict(zip(parts[1::2], parts[2::2], strict=True))[heading]
    tables = re.findall(r"^\| key \|.*\n((?:\|.*\n)+)", text + "\n", flags=re.MULTILINE)
    return dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|", "".join(tables), flags=re.MULTILINE))


def _default(model: type[BaseModel], key: str) -> object:
    field = model.model_fields[key]
    if field.is_required():
        return "required"
    value = field.get_default()
    if isinstance(value, BaseModel):
        return "its own defaults"
    return "none" if value is None else json.loads(json.dumps(value))


def _read(cell: str) -> object:
    return tomllib.loads(f"value = {cell[1:-1]}")["value"] if cell.startswith("`") else cell


@pytest.mark.parametrize(("model", "headings"), SECTIONS, ids=lambda given: getattr(given, "__name__", ""))
def test_every_key_of_a_section_is_explained_with_its_default(model: type[BaseModel], headings: list[str]) -> None:
    explained: dict[str, str] = {}
    for heading in headings:
        explained |= _keys_under(heading)
    assert {key: _read(cell) for key, cell in explained.items()} == {
        key: _default(model, key) for key in model.model_fields
    }


def test_every_section_that_a_recipe_may_have_is_compared_with_the_page() -> None:
    modules = (pools, dfn, models, captions, scores, trained, views, weighed, curation)
    named = {getattr(module, name) for module in modules for name in module.__all__}
    sections = {one for one in named if isinstance(one, type) and issubclass(one, BaseModel)}
    assert sections | {Recipe} == {model for model, _ in SECTIONS}


BASE = """
name = "base"
license = "mit"
pool = [{ kind = "glyphs" }]
score = [{ name = "clip", model = "ViT-B-32", pretrained = "random:0" }]
select = { by = "clip", top_fraction = 0.5 }
"""


@pytest.mark.parametrize("block", re.findall(r"^```toml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL))
def test_every_example_of_the_page_is_valid(block: str) -> None:
    given: dict[str, Any] = tomllib.loads(block)
    Recipe.model_validate(given if "name" in given else tomllib.loads(BASE) | given)


def test_every_default_rule_has_a_row_with_its_limit_source_and_examples() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE, flags=re.MULTILINE)
    on_the_page = {reason: (column, where.strip(), *map(str.strip, rest)) for reason, column, where, *rest in rows}
    assert on_the_page == {
        reason: (
            default.rule.column,
            _in_words(default.rule),
            default.source,
            *map(_cell, (default.drops, default.keeps)),
        )
        for reason, default in default_rules().items()
    }


def _in_words(rule: DropRule) -> str:
    if isinstance(rule.value, tuple):
        return "one of " + ", ".join(f"`{value}`" for value in rule.value)
    if isinstance(rule.value, bool):
        return f"is {str(rule.value).lower()}"
    return f"{rule.comparison} {rule.value:,}"


def _cell(example: str) -> str:
    """Return an example as it stands in a table: long ones are cut."""
    return example if len(example) <= 100 else f"{example[:40]}… ({len(example.split())} words)"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid_planned_offline_and_named_in_the_docs(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("POOLS", str(tmp_path))
    assert f"`{path.name}`" in PAGE
    recipe, _ = read_recipe(path)
    assert plan(path).digest == recipe.digest


def test_links_between_the_docs_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text(encoding="utf-8")):
            path, _, anchor = target.partition("#")
            there = (page.parent / path) if path else page
            assert there.exists(), f"{page.name} links to {target}"
            assert not anchor or anchor in _anchors(there), f"{page.name} links to {target}"


def _anchors(page: Path) -> set[str]:
    """Return the names that a page's headings and anchors go by, as GitHub makes them."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([\w-]+)">', text))
