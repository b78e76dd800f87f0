"""A dataset's card: true to the manifest, loadable by the Hub's own library, safe whatever the manifest says."""

import json
import re
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
from dfndr_builders.card import About, card
from dfndr_builders.card.columns import columns
from dfndr_builders.licenses import Accepted, Use
from support.tiny import write_dataset
from support.verbs import run

from dfndr.describe import facts
from dfndr.errors import FormatError
from dfndr.format.manifest import Counts, Manifest, Step, read_manifest

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
        "# golden", "## Loading it", "## Where it is from", "## From the pool to the dataset", "## Columns",
        "## Spaces", "## Models", "## Measured", "## Licences", "## Limitations and bias", "## Citation",
        "## The recipe",
    ]  # fmt: skip
    assert "`````toml\n```\n# heading\n````\n`````" in body


def test_the_verb_prints_the_card_and_says_where_there_is_no_dataset(tmp_path: Path) -> None:
    assert run(["card", str(GOLDEN)]).stdout == card(read_manifest(str(GOLDEN))) + "\n"
    assert isinstance(run(["card", str(tmp_path)]).exception, FormatError)


RECIPE = """
[[measure]]
kind = "text"
repair = true
[[score]]
name = "dfn"
[[score]]
name = "mix"
kind = "fusion"
how = "rank"
of = { dfn = 0.7, quality = 0.3 }
[cluster]
space = "image/dfn"
count = 32
[[caption]]
kind = "retrieval"
scorer = "dfn"
bank = "bank.txt"
[select]
by = "mix"
deciles = ["mix"]
"""


def test_a_card_tells_how_each_column_was_made() -> None:
    manifest = replace(read_manifest(str(GOLDEN)), recipe=RECIPE)
    told = dict(columns(manifest))
    assert told["mix"] == "the weighted mean of the ranks of dfn (weight 0.7), quality (weight 0.3)"
    assert told["dfn"].startswith("cosine of the picture's and the text's features")
    assert told["cluster"] == "the nearest of 32 centres of k-means in image/dfn"
    assert (
        "retrieved from a bank of texts, best first, by the cosine of dfn"
        in told["captions, caption_models, caption_seeds, caption_scores"]
    )
    assert "boilerplate was taken out" in told["original_text"]
    assert any("words" in names and "has_url" in names for names in told)
    assert {"mix_decile", "thumbnail", "image/tiny (.npy)", "caption/tiny (.npy)"} <= set(told)
    text = card(manifest)
    assert all(f"| {name} |" in text for name in told)


@pytest.mark.parametrize(
    "recipe", ["", "no [ toml", "score = 3", "[[score]]\nof = 1\n[select]\ndeciles = 5", "x = " + "[" * 9000]
)
def test_a_recipe_that_cannot_be_understood_is_still_shown(recipe: str) -> None:
    text = card(replace(read_manifest(str(GOLDEN)), recipe=recipe))
    assert recipe.strip() in text and "| uid |" in text


def test_a_card_tells_rules_in_words_and_the_funnel_source_by_source() -> None:
    manifest = read_manifest(str(GOLDEN))
    first, last = manifest.funnel[0], manifest.funnel[-1]
    dropped = {"few_words": first.rows_in - last.rows_out}
    sources = {"al|bum": Counts(first.rows_in, last.rows_out, dropped)}
    funnel = (Step("all", first.rows_in, last.rows_out, dropped, {}, sources),)
    rules = [{"reason": "few_words", "column": "words", "comparison": "below", "value": 3.0}, "nonsense", {"reason": 4}]
    selection = {"rule": {"by": "dfn", "top_fraction": 0.5}, "rules": rules}
    text = card(replace(manifest, funnel=funnel, provenance={"selection": selection}))
    assert "| al\\|bum | 11 | 6 | few_words 5 |" in text
    assert "| few_words | words is below 3 |" in text
    assert "Selected by dfn: top_fraction 0.5." in text


def test_what_is_known_when_it_is_published_stands_in_the_card() -> None:
    about = About(
        "someone/golden",
        uses=(Use("samples from", "album", None, rows=6),),
        accepted=(Accepted("album", "our <b>own</b>"),),
        pictures=(("card/scores.png", "Scores"),),
    )
    text = card(read_manifest(str(GOLDEN)), about)
    assert 'open_dataset("hf://datasets/someone/golden")' in text
    assert "| samples from | album | none stated | 6 |" in text
    assert "| album | our \\<b\\>own\\</b\\> |" in text
    assert "![Scores](card/scores.png)" in text
    assert "url = {https://huggingface.co/datasets/someone/golden}" in text
