"""A dataset's card: true to the manifest, loadable by the Hub's own library, safe whatever the manifest says."""

import json
import re
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
from dfndr_builders.card import card
from support.tiny import write_dataset
from support.verbs import run

from dfndr.describe import facts
from dfndr.errors import FormatError
from dfndr.format.manifest import Manifest, read_manifest

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "dfndr-1"
NUMBER = r"\d[\d,]*(?:\.\d+)?"


def _numbers(text: str) -> set[str]:
    return {number.replace(",", "") for number in re.findall(NUMBER, text)}


def _rows(manifest: Manifest, count: int) -> Manifest:
    """Return a manifest of one shard that claims so many rows."""
    shard = replace(manifest.shards[0], rows=count, rows_in=count + 1)
    return replace(manifest, shards=(shard,), funnel=())


def test_every_number_of_a_card_is_in_the_manifest() -> None:
    manifest = read_manifest(str(GOLDEN))
    template = (ROOT / "cards" / "dataset.md").read_text()
    assert not _numbers(template), "the template states a number"
    body = card(manifest).partition("\n---\n")[2]
    known = _numbers(json.dumps(facts(manifest)) + manifest.recipe)
    assert _numbers(body) and _numbers(body) <= known


def test_a_card_states_rows_funnel_spaces_models_and_the_whole_recipe() -> None:
    manifest = read_manifest(str(GOLDEN))
    text = card(manifest)
    for said in (
        "6 rows (train 4, validation 2)",
        "1 failed: image_unreadable",
        "| caption/tiny | 3 | 16 | float16 | one |",
        manifest.encoders["tiny"].weights_sha256,
        manifest.recipe.strip(),
        manifest.digest,
    ):
        assert said in text
    assert "$" not in text


def test_another_manifest_gives_other_numbers() -> None:
    manifest = read_manifest(str(GOLDEN))
    assert "1,234 rows (train 1,234)" in card(_rows(manifest, 1234))


def test_with_its_card_a_dataset_loads_by_split_with_load_dataset(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "set", (5, 3, 2), splits=["train", "train", "validation"])
    (tmp_path / "set" / "README.md").write_text(card(dataset.manifest))
    loaded = datasets.load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    assert {split: rows["uid"][:] for split, rows in loaded.items()} == {
        split: dataset.split(split).rows(["uid"])["uid"].to_pylist() for split in ("train", "validation")
    }


@pytest.mark.parametrize(
    ("license", "header"),
    [
        ("CC-BY-4.0", "license: cc-by-4.0"),
        ("research-only", 'license: other\nlicense_name: "research-only"'),
        ('x"\nevil: [', 'license: other\nlicense_name: "x-evil"'),
        ("", 'license: other\nlicense_name: "unknown"'),
    ],
)
def test_a_licence_that_the_hub_does_not_know_goes_by_its_name(license: str, header: str) -> None:
    text = card(replace(read_manifest(str(GOLDEN)), license=license))
    assert f"\n{header}\nsize_categories:" in text
    assert "evil: [" not in text.partition("\n---\n")[0]


@pytest.mark.parametrize(
    ("rows", "size"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (12_800_000, "10M<n<100M"), (10**12, "n>1T")],
)
def test_the_size_category_is_the_power_of_ten(rows: int, size: str) -> None:
    assert f'- "{size}"' in card(_rows(read_manifest(str(GOLDEN)), rows))


def test_nothing_that_a_manifest_says_is_markup() -> None:
    manifest = read_manifest(str(GOLDEN))
    hostile = "![x](http://a.b) <script> | `"
    record = replace(manifest.encoders["tiny"], model=hostile, license="a\n\n# b")
    text = card(replace(manifest, recipe="```\n# heading\n````", license=hostile, encoders={"tiny": record}))
    body = text.partition("\n---\n")[2]
    outside = re.sub(r"^(`{3,}).*?^\1$", "", body, flags=re.MULTILINE | re.DOTALL)
    assert "<script>" not in outside and "![x]" not in outside
    assert re.findall(r"^#+ .*$", outside, flags=re.MULTILINE) == [
        "# golden", "## Loading it", "## Where it is from", "## From the pool to the dataset", "## Columns", "## Spaces",
        "## Models", "## Licences", "## Limitations and bias", "## Citation", "## The recipe",
    ]  # fmt: skip
    assert "`````toml\n```\n# heading\n````\n`````" in body


def test_the_verb_prints_the_card_and_says_where_there_is_no_dataset(tmp_path: Path) -> None:
    assert run(["card", str(GOLDEN)]).stdout == card(read_manifest(str(GOLDEN))) + "\n"
    assert isinstance(run(["card", str(tmp_path)]).exception, FormatError)
