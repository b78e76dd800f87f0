"""Class names as captions: which template a row gets, and what is refused."""

from __future__ import annotations

import pytest
from dfndr_builders.pools.base import uid_of
from dfndr_builders.pools.glyphs import GlyphsPool
from dfndr_builders.pools.templated import OPENAI_IMAGENET, Templated

from dfndr.errors import RecipeError

POOL = GlyphsPool(count=300)


def rows(pool) -> list[dict]:
    return [row for shard in pool.shards() for table in pool.read(shard) for row in table.to_pylist()]


def test_every_text_stands_in_one_of_the_templates_and_the_rest_stays():
    given, made = rows(POOL), rows(Templated(POOL, ("a {}.", "the {} here"), 0))
    assert len(given) == len(made) == 300
    for before, after in zip(given, made, strict=True):
        assert after["text"] in (f"a {before['text']}.", f"the {before['text']} here")
        assert {**before, "uid": 0, "text": 0} == {**after, "uid": 0, "text": 0}
        assert after["uid"] == uid_of(after["image"], after["text"].encode())
    assert 100 < sum(row["text"].startswith("a ") for row in made) < 200


def test_the_draw_depends_on_the_seed_and_the_row_alone():
    texts = [[row["text"] for row in rows(Templated(POOL, ("a {}", "b {}"), seed))] for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]
    fewer = [row["text"] for row in rows(Templated(GlyphsPool(count=300, keep=("face",)), ("a {}", "b {}"), 0))]
    assert fewer == texts[0]


def test_the_templates_of_open_clip_go_by_name():
    texts = [row["text"] for row in rows(Templated(POOL, OPENAI_IMAGENET, 0))]
    names = [row["text"] for row in rows(POOL)]
    assert all(name in text for name, text in zip(names, texts, strict=True))
    assert len({text.replace(name, "{}") for name, text in zip(names, texts, strict=True)}) > 60


def test_braces_in_a_text_mean_nothing():
    class Braces(GlyphsPool):
        def read(self, shard):
            for table in super().read(shard):
                place = table.schema.get_field_index("text")
                yield table.set_column(place, table.schema.field("text"), [["{0} {} {x"] * len(table)])

    assert {row["text"] for row in rows(Templated(Braces(count=3), ("a {}",), 0))} == {"a {0} {} {x"}


@pytest.mark.parametrize(
    ("templates", "said"),
    [
        ("openai_imagenet", "did you mean 'openai-imagenet'"),
        (("a photo",), "'a photo' has 0"),
        (("{} and {}",), "has 2"),
        ((), "templates with one {} each"),
    ],
)
def test_templates_that_are_none_are_refused(templates, said):
    with pytest.raises(RecipeError, match="expected .*" + said.replace("{", r"\{")):
        Templated(POOL, templates, 0)
