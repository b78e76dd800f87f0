"""Recipes: what is read, what is refused, and in which words."""

import re
from pathlib import Path

import pytest
from dfndr_builders.recipe_file import read_recipe, resolve, shipped_recipe

from dfndr.errors import RecipeError

GOOD = """
name = "mine"
license = "mit"
seed = 3

[[pool]]
kind = "glyphs"
count = 100

[[score]]
name = "dfn"
model = "ViT-B-32"
pretrained = "random:0"

[select]
by = "dfn"
top_fraction = 0.15

[output]
rows_per_shard = 50
"""

EMBED = """
[[embed]]
encoder = "tiny"
model = "ViT-B-32"
pretrained = "random:0"
of = {of}

[output]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rows_per_shard", "rows_per_shards", "mine.toml, output.rows_per_shards: .*Did you mean 'rows_per_shard'"),
        ("seed = 3", "sede = 3", "Did you mean 'seed'"),
        ("top_fraction = 0.15", "top_frac = 0.15", "Did you mean 'top_fraction'"),
        ("count = 100", "cuont = 100", r"pool\[0\].cuont: .*Did you mean 'count'"),
        ("0.15", "1.5", "less than or equal to 1, found 1.5"),
        ("0.15", "0", "greater than 0, found 0"),
        ("0.15", "nan", "found nan"),
        ("0.15", '"some"', "valid number, found 'some'"),
        ("top_fraction = 0.15", "top_fraction = 0.1\ncount = 3", "exactly one of top_fraction, threshold and count"),
        ("top_fraction = 0.15", "", "exactly one of top_fraction, threshold and count"),
        ('by = "dfn"', 'by = "clip"', "the scores are \\['dfn'\\]"),
        ('"glyphs"', '"glyph"', "webdataset"),
        ('license = "mit"', "", "mine.toml, license: expected this key"),
        ('name = "mine"', 'name = "../mine"', "mine.toml, name"),
        ('name = "mine"', 'name = "a..b"', "mine.toml, name"),
        ('name = "mine"', 'name = "' + "a" * 65 + '"', "at most 64"),
        ("random:0", "recipe:dfn", "needs a \\[dfn\\] section"),
        ("[output]", "[output", "Mend that line"),
        ("count = 100", "count = 0", "greater than 0"),
        ("count = 100", "count = 1.5", "valid integer"),
        ("seed = 3", "seed = 4294967296", "less than 4294967296"),
        ("seed = 3", "seed = " + "9" * 5000, "Mend that line"),
        ("seed = 3", "seed = " + "[" * 5000, "Mend that line"),
        ("top_fraction = 0.15", "threshold = 1e300", "select.threshold: expected less than 1000000000"),
        ('kind = "glyphs"', "", r"pool\[0\].kind: expected one of 'webdataset', .*, found 'nothing'"),
        ("[[pool]]", "[pool]", "pool: expected a valid list, found this section"),
        ('model = "ViT-B-32"', "", "pretrained = 'random:0' needs a model"),
        ("[output]", "[compute]\nbatch_size = 99999999\n[output]", "less than or equal to 65536"),
        ('"dfn"', '"width"', "'width' is the name of a column that every build makes itself"),
        ("count = 100", 'count = 100\nkeep = ["sha256"]', "'sha256' is the name of a column"),
        ("count = 100", 'count = 100\nkeep = ["dfn"]', "'dfn' is the name of a column"),
        ("[output]", EMBED.format(of='["image", "image"]'), "names one thing twice"),
        ('"glyphs"\ncount = 100', '"folder"\npath = ""', r"pool\[0\]: expected a path that names something"),
        ('"glyphs"\ncount = 100', '"folder"\npath = ["x", ""]', r"pool\[0\]: expected a path that names something"),
        ("[output]", EMBED.format(of="[]"), "at least 1 item"),
    ],
)
def test_a_wrong_recipe_is_refused_in_words_that_help(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(RecipeError) as caught:
        read_recipe(written(tmp_path, GOOD.replace(old, new)))
    assert re.search(said, str(caught.value)), str(caught.value)
    assert caught.value.exit_code == 2


def test_a_folder_or_nothing_in_a_recipes_place_is_said(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="Is a directory"):
        read_recipe(tmp_path)
    with pytest.raises(RecipeError, match="No such file"):
        read_recipe(tmp_path / "gone.toml")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff\xfe name")
    with pytest.raises(RecipeError, match="TOML in UTF-8"):
        read_recipe(path)


def test_the_digest_changes_with_a_value_and_not_with_a_comment_or_the_order(tmp_path: Path) -> None:
    digest = read_recipe(written(tmp_path, GOOD))[0].digest
    lines = GOOD.strip().splitlines()
    reordered = "\n".join(["# a comment", lines[2], lines[1], lines[0], *lines[3:]])
    assert read_recipe(written(tmp_path, reordered))[0].digest == digest
    assert read_recipe(written(tmp_path, GOOD.replace("0.15", "0.150")))[0].digest == digest
    assert read_recipe(written(tmp_path, GOOD.replace("0.15", "0.16")))[0].digest != digest


def test_paths_are_relative_to_the_recipe_and_variables_are_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_POOLS", "/data/pools")
    monkeypatch.delenv("NO_SUCH_POOLS", raising=False)
    assert resolve("../pool/{000..009}.tar", tmp_path / "recipes") == str(tmp_path / "pool/{000..009}.tar")
    assert resolve("$SOME_POOLS/x.tar", tmp_path) == "/data/pools/x.tar"
    assert resolve("s3://bucket/x.tar", tmp_path) == "s3://bucket/x.tar"
    with pytest.raises(RecipeError, match="NO_SUCH_POOLS"):
        resolve("$NO_SUCH_POOLS/x.tar", tmp_path)


def test_every_recipe_that_ships_is_valid() -> None:
    names = sorted(path.stem for path in shipped_recipe("quickstart").parent.glob("*.toml"))
    assert "quickstart" in names
    for name in names:
        read_recipe(shipped_recipe(name))
