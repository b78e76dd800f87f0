"""A recipe with every kind of score, what it reads, and what it builds."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dfndr_builders.build import build
from dfndr_builders.recipe_file import read_recipe
from dfndr_builders.site import train_section

from dfndr.dataset import Dataset, open_dataset
from support.models import TINY_CONFIG
from support.pairs import glyph_table

__all__ = ["RECIPE", "built", "folder"]

RECIPE = """
name = "scored"
license = "mit"
seed = 7

[[pool]]
kind = "parquet"
path = "pool-*.parquet"
keep = ["similarity", "rating"]

[image_classifier]
good = [{ kind = "parquet", path = "good.parquet" }]
raw = [{ kind = "parquet", path = "pool-*.parquet" }]
network = "conv"
image_size = 16
width = 4
samples_seen = 512
batch_size = 32

[m3ae]
pool = [{ kind = "parquet", path = "good.parquet" }]
image_size = 16
width = 16
layers = 1
heads = 2
words = 6
samples_seen = 512
batch_size = 32

[[score]]
name = "clip"
model = "tiny.json"
pretrained = "random:0"
vectors = ["image"]

[[score]]
name = "looks"
kind = "image-classifier"
weights = "recipe:image-classifier"

[[score]]
name = "frozen"
kind = "image-classifier"
weights = "linear"
features = { model = "tiny.json", pretrained = "random:3", license = "mit" }

[[score]]
name = "restored"
kind = "m3ae"
weights = "recipe:m3ae"
masks = 2

[[score]]
name = "given"
kind = "column"
column = "similarity"

[[score]]
name = "rated"
kind = "column"
column = "rating"

[[score]]
name = "like-evaluation"
kind = "image-based"
space = "image/clip"
clusters = 6
pool = [{ kind = "parquet", path = "references.parquet" }]

[[score]]
name = "named"
kind = "text-based"
words = "words.txt"

[[score]]
name = "mix"
kind = "fusion"
how = "z"
of = { clip = 1.0, given = 1.0 }

[[decontaminate]]
kind = "semantic"
pool = [{ kind = "parquet", path = "references.parquet" }]
space = "image/clip"
cosine = 0.99999

[select]
by = "mix"
top_fraction = 0.5

[[select.also]]
by = "named"
threshold = 1.0

[compute]
batch_size = 16
threads = 1
"""
LINEAR = """
name = "linear"
license = "mit"
seed = 7
pool = [{ kind = "glyphs" }]
score = [{ name = "chance", kind = "random" }]
select = { by = "chance", count = 1 }
compute = { batch_size = 16, threads = 1 }

[image_classifier]
good = [{ kind = "parquet", path = "good.parquet" }]
raw = [{ kind = "parquet", path = "pool-*.parquet" }]
features = { model = "tiny.json", pretrained = "random:3", license = "mit" }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the recipe names, also the weights of a classifier that was trained before."""
    folder = tmp_path_factory.mktemp("scorers")
    glyphs, good = glyph_table(120), glyph_table(100, seed=1)
    similarity = [None if row == 5 else float("nan") if row == 6 else row / 200 for row in range(120)]
    rating = ["many" if row == 9 else f" {row}.5" for row in range(120)]
    columns = {"image": glyphs["image"], "text": glyphs["text"], "similarity": similarity, "rating": rating}
    table = pa.table(columns)
    pq.write_table(table.slice(0, 50), folder / "pool-0.parquet")
    pq.write_table(table.slice(50), folder / "pool-1.parquet")
    references = {"image": table["image"].slice(20, 3), "text": pa.nulls(3, pa.string())}  # pictures without a word
    pq.write_table(pa.table(references), folder / "references.parquet")
    pq.write_table(good.select(["image", "text"]), folder / "good.parquet")
    words = {text.split()[-1].lower() for text in glyphs["text"].to_pylist()[:30]}
    (folder / "words.txt").write_text("\n".join(sorted(words)) + "\n\n")
    (folder / "tiny.json").write_text(json.dumps(TINY_CONFIG))
    (folder / "linear.toml").write_text(LINEAR)
    train_section(
        read_recipe(folder / "linear.toml")[0], "image_classifier", folder, str(folder / "linear"), device="cpu"
    )
    return folder


@pytest.fixture(scope="module")
def built(folder: Path) -> tuple[Path, Dataset, pa.Table]:
    """That folder with what was built in it, the dataset, and the table of scores with the columns derived of it."""
    (folder / "recipe.toml").write_text(RECIPE)
    build(folder / "recipe.toml", folder / "out", device="cpu")
    dataset = open_dataset(folder / "out")
    scores = open_dataset(folder / "out" / str(dataset.manifest.provenance["scores"]))
    derived = dataset.manifest.provenance["derived"]
    rows = scores.rows()
    for place in derived:
        parts = sorted((folder / "out" / str(place)).glob("*.parquet"))
        beside = pa.concat_tables([pq.read_table(part) for part in parts])
        for name in beside.column_names:
            rows = rows.append_column(name, beside[name])
    return folder, dataset, rows
