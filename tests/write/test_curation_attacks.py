"""Recipes, lists and folders made to break curation: each is refused in words that help, or counted, never lost."""

import re

import pytest
from dfndr_builders.recipe import Recipe
from dfndr_builders.recipe_file import parse_recipe

from dfndr.errors import RecipeError
from dfndr.format.schema import DROPPED, FAILED

BASE = """
name = "attacked"
license = "mit"
select = { by = "dfn", top_fraction = 0.5 }
pool = [{ kind = "glyphs", keep = ["face"] }]

[[score]]
name = "dfn"
model = "ViT-B-32"
pretrained = "random:0"
vectors = ["image"]
"""
MADE = ["contaminated", "contaminated_by", "near_duplicate_group", "same_image_group", "semantic_duplicate_group"]


def recipe(more: str, base: str = BASE) -> Recipe:
    return parse_recipe(base + more, "recipe.toml")


def fusion(how: str, of: str, name: str = "mix") -> str:
    return f'[[score]]\nname = "{name}"\nkind = "fusion"\nhow = "{how}"\nof = {{ {of} }}\n'


@pytest.mark.parametrize("reason", [*DROPPED, *FAILED])
def test_a_rule_may_not_be_called_what_the_funnel_counts_other_rows_under(reason: str):
    with pytest.raises(RecipeError, match=rf"rule\[0\].reason: expected a name of its own: '{reason}' is what"):
        recipe(f'[[rule]]\nreason = "{reason}"\ncolumn = "dfn"\nlowest = 0.1\n')


def test_two_rules_may_share_a_reason():
    rule = '[[rule]]\nreason = "odd"\ncolumn = "dfn"\n{} = 0.1\n'
    drops = recipe(rule.format("lowest") + rule.format("highest")).drop_rules
    assert [(drop.reason, drop.comparison) for drop in drops] == [("odd", "lowest"), ("odd", "highest")]


@pytest.mark.parametrize("name", MADE)
def test_no_score_and_no_kept_column_may_be_called_what_curation_makes_beside_them(name: str):
    says = re.escape(f"another name: '{name}' is a column of duplicates or of contamination")
    with pytest.raises(RecipeError, match=rf"score\[1\].*{says}"):
        recipe(f'[[score]]\nname = "{name}"\nkind = "random"\n')
    with pytest.raises(RecipeError, match=rf"pool\[0\].*{says}"):
        recipe("", BASE.replace("face", name))


@pytest.mark.parametrize(
    ("how", "of", "says"),
    [
        ("z", "dfn = 0.0", "none below 0 and one above is, and not [0.0]"),
        ("rank", "dfn = -1.0", "none below 0 and one above is, and not [-1.0]"),
        ("rank", "dfn = 2.0, luck = -1.0", "none below 0 and one above is, and not [2.0, -1.0]"),
        ("weighted", "dfn = 0.0", "one other than 0 is, and not [0.0]"),
        ("weighted", "dfn = 1e300", "less than 1000000000"),
        ("weighted", "dfn = nan", "finite number"),
    ],
)
def test_weights_that_make_no_score_are_refused_before_anything_is_scored(how: str, of: str, says: str):
    luck = '[[score]]\nname = "luck"\nkind = "random"\n'
    with pytest.raises(RecipeError, match=re.escape(says)):
        recipe(luck + fusion(how, of))


def test_a_weighted_fusion_may_take_a_score_off():
    assert recipe(fusion("weighted", "dfn = -1.0")).selection().fusions[0].of == (("dfn", -1.0),)


@pytest.mark.parametrize("name", ["row", "score", "shard"])
def test_a_fusion_may_not_be_called_what_a_selection_calls_its_own_columns(name: str):
    with pytest.raises(RecipeError, match=re.escape(f"a selection has a column {name!r} of its own")):
        recipe(fusion("z", "dfn = 1.0", name))
