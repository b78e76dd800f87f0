"""Scores that cannot be made: what does not fit is said before anything is trained."""

import pytest
from dfndr_builders.build import build
from dfndr_builders.score.text_based import read_words
from support import scored
from support.scored import RECIPE

from dfndr.errors import DfndrError, RecipeError

folder = scored.folder


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("recipe:image-classifier", "recipe:m3ae"), "what a recipe trains for it is recipe:image-classifier"),
        (('network = "conv"\n', ""), 'either features (a frozen encoder) or network = "conv"'),
        (("image_size = 16\nwidth = 16", "image_size = 17\nwidth = 16"), "patch divides side"),
        (('column = "similarity"', 'column = "absent"'), "column = 'absent'"),
        (('weights = "linear"', 'weights = "nowhere"'), "nowhere"),
        (('words = "words.txt"', 'words = "nowhere.txt"'), "nowhere.txt"),
        (('path = "references.parquet"', 'path = "nowhere.parquet"'), "nowhere.parquet"),
        (('features = { model = "tiny.json", pretrained = "random:3", license = "mit" }', ""), "features"),
        (('pretrained = "random:3"', 'pretrained = "random:4"'), "weights"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_trained(folder, tmp_path, change, says):
    path = folder / "wrong.toml"
    path.write_text(RECIPE.replace(*change))
    with pytest.raises(DfndrError, match=None) as caught:
        build(path, tmp_path / "out", device="cpu")
    assert says in str(caught.value)
    assert not list((tmp_path / "out").glob("models/*-*/*.safetensors"))


@pytest.mark.parametrize("text", ["", "two words\n"])
def test_a_list_without_words_or_with_phrases_is_refused(tmp_path, text):
    (tmp_path / "words.txt").write_text(text)
    with pytest.raises(RecipeError, match="words, one a line"):
        read_words(str(tmp_path / "words.txt"))
