"""The recipes of reinforced datasets, planned: nothing of them runs on a small machine."""

from pathlib import Path

from dfndr_builders.plan import plan
from dfndr_builders.recipe_file import read_recipe

RECIPES = Path(__file__).parents[2] / "builders" / "recipes"


def test_apples_preset_has_thirty_views_five_captions_and_scales_of_seventy_and_sixty() -> None:
    recipe, _ = read_recipe(RECIPES / "dfndr-12m.toml")
    assert (recipe.per_row("image"), recipe.per_row("caption"), recipe.select.count) == (30, 5, 12_800_000)
    assert [(one.pretrained, one.distillation_scale) for one in recipe.embed] == [
        ("hf-hub:apple/DFN2B-CLIP-ViT-L-14", 70.0),
        ("hf-hub:apple/DFN2B-CLIP-ViT-L-14-39B", 60.0),
    ]


def test_plans_tell_licences_forward_passes_and_the_network() -> None:
    told = str(plan(RECIPES / "dfndr-12m.toml"))
    assert "768,000,000 in all for 12,800,000 rows" in " ".join(told.split())
    assert "apple-amlr" in told and "hf-hub:apple/DFN2B-CLIP-ViT-L-14-39B" in told
    small = " ".join(str(plan(RECIPES / "reinforced-small.toml")).split())
    assert "10,000,000 in all for 1,000,000 rows" in small and "as int8" in small and "apple" not in small
