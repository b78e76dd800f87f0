"""From the [[caption]] sections of a recipe to the stage that captions, and the records of what it asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dfndr.format.captioner import CaptionerRecord
from dfndr_builders.captions.stage import Captions, CaptionStage
from dfndr_builders.context import Context
from dfndr_builders.scorer import OpenModel
from dfndr_builders.site import BuildSite

__all__ = ["captions_of"]


def captions_of(
    context: Context, models: Mapping[str, OpenModel]
) -> tuple[CaptionStage | None, dict[str, CaptionerRecord]]:
    """Return the stage, None where the recipe asks for no captions, and the captioners' records by their names.

    Banks of captions are embedded now. A record holds all that its captions depend on, but for the recipe's seed and
    the model that scores them, which has a record of its own: equal ones mean equal captions.
    """
    recipe, site = context.recipe, BuildSite(context)
    asked: list[Captions] = []
    records: dict[str, CaptionerRecord] = {}
    for given in recipe.caption:
        scorer = models[given.scorer or recipe.clips[0].name]
        captioner = given.open(site, scorer)
        records[given.name] = replace(captioner.record(), asked=given.asked(scorer.record.name))
        best_of = given.best_of or given.per_image
        asked.append(
            Captions(captioner, scorer.spec, given.per_image, best_of, given.attempts, given.rules, recipe.seed)
        )
    keeps = any(given.on_failure == "keep" for given in recipe.caption)
    return (CaptionStage(tuple(asked), keeps) if asked else None), records
