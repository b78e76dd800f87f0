"""The recipe: pool + stages + seed + output shape, in TOML, validated strictly; its digest names the build.

What changes bytes is in here; what does not (device, workers, retries) is a flag. An unknown key is an error that
names the nearest known one. `docs/recipes.md` shows every key; `sections/` holds them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Annotated

from pydantic import Field, model_validator

from dfndr.format.manifest import canonical
from dfndr.format.shard import row_types
from dfndr_builders.measure.image_rules import IMAGE_RULES
from dfndr_builders.measure.text_rules import TEXT_RULES
from dfndr_builders.pools.private import HAS_FACE
from dfndr_builders.rules import Default, DropRule
from dfndr_builders.sections import curation
from dfndr_builders.sections.base import TRAINED, Misfit, Name, Strict
from dfndr_builders.sections.captions import CaptionRecipe
from dfndr_builders.sections.dfn import Dfn, InducedClip
from dfndr_builders.sections.models import Compute, Embed, Model, Output
from dfndr_builders.sections.pools import PoolRecipe
from dfndr_builders.sections.scores import Clip, Column, Fusion, ScoreRecipe
from dfndr_builders.sections.trained import (
    ImageClassifierTraining,
    M3aeTraining,
    TextQualityTraining,
    TrainingSection,
)
from dfndr_builders.sections.views import Views
from dfndr_builders.select import Limit, Rule
from dfndr_builders.stage import HAPPENED, POOL_SCHEMA

__all__ = ["Recipe", "default_rules"]


@cache
def default_rules() -> Mapping[str, Default]:
    """Return the rules that come with dfndr, by name."""
    return {default.rule.reason: default for default in (*IMAGE_RULES, *TEXT_RULES)}


class Recipe(Strict):
    """The whole recipe."""

    name: Name
    license: str
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    pool: Annotated[list[PoolRecipe], Field(min_length=1)]
    dfn: Dfn | None = None
    text_quality: TextQualityTraining | None = None
    image_classifier: ImageClassifierTraining | None = None
    m3ae: M3aeTraining | None = None
    measure: list[curation.MeasureRecipe] = []
    score: Annotated[list[ScoreRecipe], Field(min_length=1)]
    duplicates: list[curation.DuplicatesRecipe] = []
    decontaminate: list[curation.DecontaminateRecipe] = []
    cluster: curation.Cluster | None = None
    rule: list[curation.Rule] = []
    select: curation.Select
    views: Views | None = None
    caption: list[CaptionRecipe] = []
    embed: list[Embed] = []
    output: Output = Output()
    compute: Compute = Compute()
    clip: InducedClip | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        scores = [score.name for score in self.score]
        encoders = [embed.encoder for embed in self.embed]
        measures, captioners = [one.kind for one in self.measure], [one.name for one in self.caption]
        named = {"score": scores, "encoder": encoders, "measure": list(map(str, measures)), "captioner": captioners}
        for kind, names in named.items():
            if len(set(names)) != len(names):
                raise Misfit(f"every {kind} needs a name of its own, and {names} has one twice")
        self._select_names(scores)
        if len({one.kind for one in self.duplicates}) != len(self.duplicates):
            raise Misfit("one [[duplicates]] section of each kind is read, and there are more")
        if len(self.decontaminate) > 1:
            raise Misfit("one [[decontaminate]] section is read so far, and there are more")
        models = [score.name for score in self.clips]
        for caption in self.caption:
            if not models or (caption.scorer is not None and caption.scorer not in models):
                raise Misfit(f"[[caption]] scorer = {caption.scorer!r}, but the clip scores are {models}")
        if not self.caption and any("caption" in embed.of for embed in self.embed):
            raise Misfit('an [[embed]] asks for "caption", and there is no [[caption]] section')
        if self.dfn is None and any(model.pretrained == TRAINED for _, model in self.models):
            raise Misfit(f"pretrained = {TRAINED!r} needs a [dfn] section")
        for score in self.score:
            if score.trained_by and score.trained_by not in self.trainings:
                raise Misfit(f"[[score]] {score.name!r}: its weights need a [{score.trained_by}] section")
        self._columns_differ(scores)
        self._columns_are_there()
        return self

    def _select_names(self, scores: list[str]) -> None:
        """Raise where selection names a score that is not there."""
        asked = [("[select] by", self.select.by), *(("[[select.also]] by", limit.by) for limit in self.select.also)]
        asked += [("[select] deciles", name) for name in self.select.deciles]
        single = [score.name for score in self.score if not isinstance(score, Fusion)]
        for where, name in asked:
            if name not in scores:
                raise Misfit(f"{where} = {name!r}, but the scores are {scores}")
        for score in self.score:
            missing = sorted(set(score.of) - set(single)) if isinstance(score, Fusion) else []
            if missing:
                raise Misfit(f"[[score]] {score.name!r} is made of {missing}, but the scores are {single}")

    def _columns_differ(self, scores: list[str]) -> None:
        """Raise where two columns of the rows would have one name."""
        taken = {*POOL_SCHEMA.names, HAPPENED.name, *row_types(), *self._made_by_pools}
        taken |= {name for measure in self.measure for name in measure.columns()}
        deciles = [f"{name}_decile" for name in self.select.deciles]
        ours = [*scores, *(["cluster"] if self.cluster else []), *deciles]
        if len(set(ours)) != len(ours):
            raise Misfit(f"every score and cluster needs a name of its own, and {ours} has one twice")
        for kind, names in (("[[score]] name", ours), *(("[[pool]] keep", pool.keep) for pool in self.pool)):
            for name in names:
                if name in taken:
                    raise Misfit(f"{kind} {name!r} is the name of a column that every build makes itself")
            taken |= set(names) if kind == "[[score]] name" else set()

    def _columns_are_there(self) -> None:
        """Raise where a rule, a quota, a head or a search for duplicates needs what nothing makes."""
        kept = {name for pool in self.pool for name in pool.keep} | self._made_by_pools
        there = {*POOL_SCHEMA.names, "sha256", "width", "height", *kept}
        there |= {name for measure in self.measure for name in measure.columns()}
        there |= {score.name for score in self.score if not isinstance(score, Fusion)}
        there |= {"cluster"} if self.cluster else set()
        there -= {"image", "problem", "detail"}
        for rule in self.drop_rules:
            if rule.column not in there:
                raise Misfit(f"rule {rule.reason!r} looks at {rule.column!r}, but the columns are {sorted(there)}")
        if self.select.quota is not None and self.select.quota.column not in there:
            column = self.select.quota.column
            raise Misfit(f"[select.quota] column = {column!r}, but the columns are {sorted(there)}")
        for score in self.score:
            if isinstance(score, Column) and score.column not in kept:
                raise Misfit(f"[[score]] column = {score.column!r}, but [[pool]] keep has the columns {sorted(kept)}")
        spaces = [f"{modality}/{clip.name}" for clip in self.clips for modality in clip.vectors]
        for given in (*self.score, *self.duplicates, *self.decontaminate, *([self.cluster] if self.cluster else [])):
            space = getattr(given, "space", None)
            if space is not None and space not in spaces:
                do = 'give the [[score]] that makes it vectors = ["image"]'
                raise Misfit(f"space = {space!r}, but the pool's spaces are {spaces}: {do}")
            if getattr(given, "radius", None) is not None and "phash" not in there:
                raise Misfit('near duplicates need a [[measure]] of kind = "image"')

    @property
    def _made_by_pools(self) -> set[str]:
        """The columns that pools make of what they read."""
        swapped = {"swapped"} if any(pool.swap_texts for pool in self.pool) else set()
        return swapped | ({HAS_FACE} if any(pool.drop_faces for pool in self.pool) else set())

    @property
    def trainings(self) -> dict[str, TrainingSection]:
        """The sections that train a model for a score, by their keys."""
        given = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: section for name, section in given.items() if isinstance(section, TrainingSection)}

    @property
    def clips(self) -> list[Clip]:
        """The scores that a CLIP model gives."""
        return [score for score in self.score if isinstance(score, Clip)]

    def per_row(self, modality: str) -> int:
        """Return how many vectors a row has in a space of a modality."""
        if modality == "caption":
            return sum(caption.per_image for caption in self.caption)
        return self.views.count if modality == "image" and self.views is not None else 1

    @property
    def models(self) -> list[tuple[str, Model]]:
        """Every encoder that the recipe names: of scores, of spaces, and those whose features something looks at."""
        given: list[tuple[str, Model]] = [(score.name, score) for score in self.clips]
        given += [(embed.encoder, embed) for embed in self.embed]
        looking = [*((score.name, score) for score in self.score), *self.trainings.items()]
        features = [(name, getattr(one, "features", None)) for name, one in looking]
        given += [(caption.name, caption) for caption in self.caption if isinstance(caption, Model)]
        return [*given, *((name, model) for name, model in features if isinstance(model, Model))]

    @property
    def drop_rules(self) -> tuple[DropRule, ...]:
        """The rules in their order, faces first; raises ValueError for a default rule that is not there."""
        faces = [DropRule(HAS_FACE, HAS_FACE, "is", True)] if any(pool.drop_faces for pool in self.pool) else []
        return (*faces, *(drop for rule in self.rule for drop in rule.rules(default_rules())))

    def selection(self) -> Rule:
        """Return the selection's rule, but for the groups of duplicates."""
        chosen = self.select
        return Rule(
            chosen.by,
            chosen.top_fraction,
            chosen.threshold,
            chosen.count,
            self.output.validation,
            drop=self.drop_rules,
            fusions=tuple(score.rule() for score in self.score if isinstance(score, Fusion)),
            also=tuple(Limit(one.by, one.top_fraction, one.threshold, one.count) for one in chosen.also),
            quota=chosen.quota.rule() if chosen.quota else None,
            deciles=tuple(chosen.deciles),
        )

    @property
    def digest(self) -> str:
        """The sha256 of all that the recipe says, defaults included, comments and order of keys left out.

        So is [clip], of which no build depends.
        """
        return hashlib.sha256(canonical(self.model_dump(mode="json", exclude={"clip"}))).hexdigest()
