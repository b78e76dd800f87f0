"""What a recipe may say of curation, and what is said of one that is wrong."""

import re
from pathlib import Path

import pytest
from dfndr_builders.measure.text_rules import TEXT_RULES
from dfndr_builders.recipe import Recipe, default_rules
from dfndr_builders.recipe_file import parse_recipe, read_recipe
from dfndr_builders.rules import DropRule
from dfndr_builders.select import Fusion, Limit, Quota

from dfndr.errors import RecipeError

BASE = """
name = "mine"
license = "mit"
pool = [{ kind = "glyphs", keep = ["face"] }]
select = { by = "dfn", top_fraction = 0.5 }

[[score]]
name = "dfn"
model = "ViT-B-32"
pretrained = "random:0"
vectors = ["image"]
"""
TEXT = '[[measure]]\nkind = "text"\n'
IMAGE = '[[measure]]\nkind = "image"\n'


def recipe(more: str, base: str = BASE) -> Recipe:
    return parse_recipe(base + more, "mine.toml")


def test_rules_keep_the_order_of_the_recipe_and_families_that_of_the_page():
    more = (
        '[[rule]]\nreason = "sans"\ncolumn = "face"\none_of = ["sans"]\n'
        '[[rule]]\nuse = "text"\nleave_out = ["url", "digits"]\n'
    )
    rules = recipe(TEXT + more).drop_rules
    assert rules[0] == DropRule("sans", "face", "one_of", ("sans",))
    names = [default.rule.reason for default in TEXT_RULES]
    assert [rule.reason for rule in rules[1:]] == [name for name in names if name not in ("url", "digits")]


def test_a_default_rule_takes_a_limit_of_the_recipe():
    (rule,) = recipe(TEXT + '[[rule]]\nuse = "few_words"\nbelow = 5\n').drop_rules
    assert rule == DropRule("few_words", "words", "below", 5)
    assert default_rules()["few_words"].rule.value == 3


def test_what_selection_is_told_is_what_the_recipe_says():
    select = (
        'by = "mix"\ncount = 9\ndeciles = ["mix", "dfn"]\nalso = [{ by = "dfn", top_fraction = 0.5 }]\n'
        '[select.quota]\ncolumn = "source"\nshares = { web = 0.7, book = 0.2 }\n'
    )
    mix = '[[score]]\nname = "mix"\nkind = "fusion"\nhow = "z"\nof = { dfn = 2.0, luck = 1 }\n'
    luck = '[[score]]\nname = "luck"\nkind = "random"\n'
    base = BASE.replace('select = { by = "dfn", top_fraction = 0.5 }\n', "")
    rule = recipe(f"{mix}{luck}[select]\n{select}", base).selection()
    assert rule.by == "mix" and rule.count == 9 and rule.deciles == ("mix", "dfn")
    assert rule.fusions == (Fusion("mix", "z", (("dfn", 2.0), ("luck", 1.0))),)
    assert rule.also == (Limit("dfn", 0.5),)
    assert rule.quota == Quota("source", shares=(("web", 0.7), ("book", 0.2)))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('[[rule]]\nuse = "few_words"\n', "rule 'few_words' looks at 'words', but the columns are"),
        (
            TEXT + '[[rule]]\nuse = "few_word"\n',
            "'few_word' is none of the default rules here; did you mean 'few_words'?",
        ),
        (TEXT + '[[rule]]\nuse = "text"\nleave_out = ["dark_image"]\n', "'dark_image' is none of the default rules"),
        (TEXT + '[[rule]]\nuse = "text"\nbelow = 5\n', "a limit of its own needs one default rule"),
        (TEXT + '[[rule]]\nuse = "few_words"\nabove = 5\n', "its own comparison (below)"),
        ('[[rule]]\nreason = "x"\ncolumn = "face"\n', 'either use = "...", or a reason, a column and a comparison'),
        ('[[rule]]\nreason = "x"\ncolumn = "face"\nbelow = 1\nabove = 2\n', "one comparison, and there are"),
        ('[[rule]]\nreason = "No Name"\ncolumn = "face"\nbelow = 1\n', "rule[0].reason"),
        ('[[rule]]\nreason = "x"\ncolumn = "fase"\nbelow = 1\n', "looks at 'fase', but the columns are"),
        ('[[rule]]\nreason = "x"\ncolumn = "dfn"\nlowest = 1.5\n', "rule[0].lowest: expected less than or equal to 1"),
        ('[[duplicates]]\nkind = "near"\n', 'near duplicates need a [[measure]] of kind = "image"'),
        ('[[duplicates]]\nkind = "nearly"\n', "duplicates[0].kind: expected one of 'same_image', 'same_text', 'near'"),
        ('[[duplicates]]\nkind = "same_text"\n' * 2, "one [[duplicates]] section of each kind"),
        (IMAGE + '[[duplicates]]\nkind = "near"\nradius = 40\n', "less than or equal to 16"),
        (
            '[[duplicates]]\nkind = "semantic"\nspace = "text/dfn"\ncosine = 0.9\n',
            "the pool's spaces are ['image/dfn']",
        ),
        ('[cluster]\nspace = "image/other"\ncount = 3\n', "space = 'image/other'"),
        ('[[measure]]\nkind = "image"\n' * 2, "every measure needs a name of its own"),
        ('[[score]]\nname = "q"\nkind = "text-quality"\nweights = "recipe:text-quality"\n', "need a [text_quality]"),
        ('[[score]]\nname = "q"\nkind = "head"\nhead = "x"\n', "score[1].space: expected this key, found nothing"),
        ('[[score]]\nname = "q"\nkind = "taste"\n', "score[1].kind: expected one of 'clip', 'column', 'fusion'"),
        ('[[score]]\nname = "q"\nkind = "fusion"\nhow = "z"\nof = { dnf = 1.0 }\n', "'q' is made of ['dnf']"),
        ('[[score]]\nname = "words"\nkind = "random"\n' + TEXT, "'words' is the name of a column"),
        (
            '[[score]]\nname = "phash"\nkind = "random"\nknd = 1\n',
            "expected a known key, found 'knd'. Did you mean 'kind'",
        ),
    ],
)
def test_a_wrong_recipe_is_refused_in_words_that_help(more, says):
    with pytest.raises(RecipeError, match=re.escape(says)):
        recipe(more)


@pytest.mark.parametrize(
    ("select", "says"),
    [
        ('by = "dfn"\n', "exactly one of top_fraction, threshold and count"),
        ('by = "dnf"\ncount = 1\n', "[select] by = 'dnf', but the scores are ['dfn']"),
        ('by = "dfn"\ncount = 1\nalso = [{ by = "x", count = 1 }]\n', "[[select.also]] by = 'x'"),
        ('by = "dfn"\ncount = 1\ndeciles = ["x"]\n', "[select] deciles = 'x'"),
        ('by = "dfn"\ncount = 1\nquota = { column = "dfn" }\n', "exactly one of most, most_share, shares and balanced"),
        ('by = "dfn"\ncount = 1\nquota = { column = "x", most = 1 }\n', "[select.quota] column = 'x'"),
        ('by = "dfn"\ncount = 1\nquota = { column = "face", shares = { a = 0.6, b = 0.6 } }\n', "add up to at most 1"),
    ],
)
def test_a_wrong_selection_is_refused_in_words_that_help(select, says):
    with pytest.raises(RecipeError, match=re.escape(says)):
        recipe("[select]\n" + select, BASE.replace('select = { by = "dfn", top_fraction = 0.5 }\n', ""))


def test_the_shipped_recipe_of_curation_uses_every_kind_of_it():
    shipped, _ = read_recipe(Path(__file__).parents[2] / "builders" / "recipes" / "curated-web.toml")
    assert {measure.kind for measure in shipped.measure} == {"image", "text", "language"}
    assert {score.kind for score in shipped.score} == {"clip", "text-quality", "fusion"}
    assert shipped.decontaminate and shipped.cluster and shipped.select.quota and shipped.text_quality
