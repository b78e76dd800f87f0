"""Lists, labels and pairs as editors and other tools leave them: read as meant, or refused where they mislead."""

from __future__ import annotations

from pathlib import Path

import pytest
from dfndr_builders.agreement.evaluate import agreement_of
from dfndr_builders.agreement.pairs import Pairs, read_pairs
from dfndr_builders.agreement.scorers import named_scorer
from dfndr_builders.bank import _lines as bank_lines
from dfndr_builders.opened import _lines as banned_lines
from dfndr_builders.pools.joined import Joined
from dfndr_builders.pools.webdataset import WebDatasetPool
from dfndr_builders.recipe_file import read_recipe
from dfndr_builders.score.text_based import read_words
from dfndr_builders.zero_shot.classification import classification_of
from dfndr_builders.zero_shot.retrieval import retrieval_of
from dfndr_builders.zero_shot.sets import CaptionedSet, labelled_set, open_set, read_classnames, read_templates
from support.models import tiny_config, tiny_spec
from support.pools import picture, tar_of

from dfndr.encoder import open_encoder
from dfndr.errors import DataError, FormatError, ModelError, PoolError, UsageError

MARK = "\ufeff"
"""What Windows puts before a text in UTF-8."""
RECIPE = """name = "marked"
license = "mit"
pool = [{ kind = "glyphs" }]
score = [{ name = "r", kind = "random" }]
select = { by = "r", count = 1 }
"""


def written(path: Path, text: str) -> str:
    path.write_bytes(text.encode())
    return str(path)


@pytest.mark.parametrize(
    "read",
    [read_words, lambda path: set(banned_lines(path)), lambda path: set(bank_lines(path)), read_classnames],
    ids=["words", "ban", "bank", "classnames"],
)
def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path, read):
    assert sorted(read(written(tmp_path / "list.txt", f"{MARK}cat\r\ndog\r\n"))) == ["cat", "dog"]


def test_a_recipe_and_a_template_may_have_a_byte_order_mark(tmp_path):
    assert read_recipe(written(tmp_path / "recipe.toml", MARK + RECIPE))[0].name == "marked"
    assert read_templates(written(tmp_path / "templates.txt", f"{MARK}{{}}\n")) == ("{}",)


def test_a_blank_line_among_classnames_is_refused_since_it_would_shift_the_labels(tmp_path):
    with pytest.raises(PoolError, match=r"names.txt, line 2: expected the name of a class"):
        read_classnames(written(tmp_path / "names.txt", "cat\n \ndog\n"))
    assert read_classnames(written(tmp_path / "names.txt", "cat\ndog\n\n \n")) == ["cat", "dog"]


@pytest.mark.parametrize("said", ["0", "-1", "1e3", "9" * 12, "9" * 5000, "\u0663", "1 2", ""])
def test_a_number_of_tars_that_is_none_is_refused_and_nothing_is_listed(tmp_path, said):
    (tmp_path / "test").mkdir()
    written(tmp_path / "test" / "nshards.txt", said)
    written(tmp_path / "classnames.txt", "cat\ndog\n")
    with pytest.raises(PoolError, match="the number of tars"):
        open_set(str(tmp_path))


def test_a_set_of_which_nothing_can_be_used_is_an_error_with_the_reasons_counted(tmp_path):
    (tmp_path / "0.tar").write_bytes(tar_of([("a.png", picture()), ("b.png", picture("blue"))]))
    path = str(tmp_path / "0.tar")
    with pytest.raises(PoolError, match="the names of their classes, found text_missing 2"):
        open_set(path)
    given = open_set(path, task="retrieval")
    assert isinstance(given, CaptionedSet)
    with pytest.raises(DataError, match="pictures with captions, found text_missing 2"):
        retrieval_of(open_encoder(tiny_spec(tmp_path)), given)


def test_classes_of_one_name_keep_their_recalls_apart(tmp_path):
    colors = ["red", "lime", "blue"]
    parts = [[(f"{n}.png", picture(colors[n], size=(8, 8 + n))), (f"{n}.cls", str(n))] for n in range(3)]
    (tmp_path / "0.tar").write_bytes(tar_of([member for part in parts for member in part]))
    pool = WebDatasetPool((str(tmp_path / "0.tar"),), text="cls")
    given = labelled_set("birds", pool, ["crane", "dove", "crane"], numbered=True)
    found = classification_of(open_encoder(tiny_spec(tmp_path)), given)
    assert list(found.recalls) == ["crane (0)", "dove", "crane (2)"]
    assert found.mean_per_class_recall == pytest.approx(sum(found.recalls.values()) / 3)


def test_a_class_that_comes_twice_is_refused_where_labels_are_names(tmp_path):
    with pytest.raises(UsageError, match="each class once, found 'crane' again"):
        labelled_set("birds", WebDatasetPool((str(tmp_path / "0.tar"),)), ["crane", "dove", "crane"])


def test_a_long_caption_and_a_quote_are_plain_characters(tmp_path):
    caption = 'a "' + "word " * 40_000 + "end"
    pairs = read_pairs(written(tmp_path / "pairs.tsv", f"image\tcaption\tlabel\r\nk\t{caption}\tmatch\r\n"))
    assert (pairs.keys, pairs.captions) == (("k",), (caption,))


def test_a_column_of_no_rating_is_passed_over_and_said_to_be_missing(tmp_path):
    with pytest.raises(DataError, match="a column label"):
        read_pairs(written(tmp_path / "pairs.tsv", f"image\tcaption\trating{'9' * 5000}\nk\ta\t1\n"))


def test_a_key_that_two_pictures_have_is_refused_and_one_of_equal_pictures_is_not(tmp_path):
    pools = []
    for number, color in enumerate(["red", "blue", "red"]):
        (tmp_path / f"{number}.tar").write_bytes(tar_of([("k.png", picture(color)), ("k.txt", "a text")]))
        pools.append(WebDatasetPool((str(tmp_path / f"{number}.tar"),)))
    named = named_scorer("random:0", model=str(tiny_config(tmp_path)), batch_size=2, device="cpu")
    pairs = Pairs(("k", "k"), ("a", "b"), None, None)
    with pytest.raises(DataError, match="key 'k': expected one picture of each key"):
        agreement_of(named, Joined((pools[0], pools[1])), pairs, resamples=2)
    assert agreement_of(named, Joined((pools[0], pools[2])), pairs, resamples=2).pairs == 2


def test_a_tar_that_is_cut_off_is_counted_beside_the_keys_that_it_lacks(tmp_path):
    members = [(f"{name}.{kind}", picture() if kind == "png" else "a") for name in "kl" for kind in ("png", "txt")]
    whole = tar_of(members)
    (tmp_path / "0.tar").write_bytes(whole[:2600])
    named = named_scorer("random:0", model=str(tiny_config(tmp_path)), batch_size=2, device="cpu")
    pool = WebDatasetPool((str(tmp_path / "0.tar"),))
    found = agreement_of(named, pool, Pairs(("k", "l"), ("a", "b"), None, None), resamples=2)
    assert (found.pairs, found.problems["not_in_pool"]) == (1, ("l",))
    assert sorted(found.problems) == ["not_in_pool", "shard_truncated"]


@pytest.mark.parametrize("record", ["junk", "[]", "[" * 100_000, '{"sha256": 1, "sha256": 2}'])
def test_a_scorer_whose_record_is_none_is_refused(tmp_path, record):
    (tmp_path / "m3ae.json").write_text(record)
    with pytest.raises(FormatError, match=r"m3ae\.json: expected a JSON object"):
        named_scorer(str(tmp_path))


@pytest.mark.parametrize("side", ["-5", "0", "[32, 0]", '"32"', "null"])
def test_a_config_of_pictures_without_pixels_is_refused(tmp_path, side):
    config = tiny_config(tmp_path)
    config.write_text(config.read_text().replace('"image_size": 32', f'"image_size": {side}'))
    with pytest.raises(ModelError, match=r"a config with vision_cfg\.image_size"):
        named_scorer("random:0", model=str(config), device="cpu")


@pytest.mark.parametrize("deep", ["a." * 500 + "b = 1", "x = " + "[" * 200 + "]" * 200], ids=["tables", "lists"])
def test_a_recipe_that_is_nested_beyond_reason_is_refused(tmp_path, deep):
    with pytest.raises(UsageError, match="values in at most 32 others"):
        read_recipe(written(tmp_path / "recipe.toml", f"{RECIPE}{deep}\n"))
