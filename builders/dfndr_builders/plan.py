"""What a build would do and take, found out without opening an image or writing a file; with a probe, measured."""

from __future__ import annotations

import json
import os
import textwrap
from dataclasses import dataclass
from pathlib import Path

from dfndr import storage
from dfndr.describe import rule_in_words
from dfndr.errors import PoolError
from dfndr.models import EncoderSpec
from dfndr.progress import SILENT, Progress
from dfndr_builders.dfn.cost import cost_of
from dfndr_builders.estimate.reckoning import Asked, Estimate, estimate
from dfndr_builders.estimate.words import told
from dfndr_builders.opened import open_pool
from dfndr_builders.output import claimed
from dfndr_builders.recipe import Recipe, default_rules
from dfndr_builders.recipe_file import fetched, read_recipe
from dfndr_builders.rules import DropRule
from dfndr_builders.sections.dfn import Dfn, Finetune
from dfndr_builders.sections.pools import PoolRecipe
from dfndr_builders.sections.views import Views

__all__ = ["PLAN", "Plan", "keep", "plan"]

PLAN = "phases/plan.json"
"""Where a plan is kept below the output folder."""

_WIDTH = 110
_DUPLICATES = ("same_image", "same_text", "near", "semantic")
"""The kinds of duplicates in the order in which selection drops them."""


@dataclass(frozen=True)
class Plan:
    """A recipe's phases in order, its pools, its models, what it needs from the network, and what it would take."""

    name: str
    digest: str
    license: str
    phases: tuple[str, ...]
    pools: tuple[str, ...]
    models: tuple[str, ...]
    network: tuple[str, ...]
    estimate: Estimate

    def to_json(self) -> dict[str, object]:
        """Return what `dfndr plan --json` prints."""
        given = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}
        return {**given, "estimate": self.estimate.to_json()}

    def __str__(self) -> str:
        lines = [f"{self.name}: recipe digest {self.digest}", f"license of the result: {self.license}"]
        for title in ("phases", "pools", "models", "network"):
            entries = getattr(self, title) or ("nothing",)
            lines += ["", title, *map(_wrapped, entries)]
        return "\n".join([*lines, "", "estimate", *map(_wrapped, told(self.estimate))])


def plan(path: str | os.PathLike[str], asked: Asked | None = None, *, progress: Progress = SILENT) -> Plan:
    """Plan the recipe at a path; raises RecipeError. A pool that is not there yet is said, and no error.

    No model is loaded, unless a probe is asked for.
    """
    recipe, _ = read_recipe(path)
    folder = Path(path).resolve().parent
    specs = [one.spec(name, recipe.compute, "cpu", one.pretrained) for name, one in recipe.models]
    models = [f"{spec.name}: {_weights(spec)}, {spec.precision}, license {spec.license}" for spec in specs]
    models += [line for score in recipe.score if (line := score.planned())]
    models += [f"captions by {one.name}: {one.told()}, license {one.license}" for one in recipe.caption]
    return Plan(
        name=recipe.name,
        digest=recipe.digest,
        license=recipe.license,
        phases=tuple(_phases(recipe)),
        pools=tuple(_pool(pool, folder, recipe.seed) for pool in recipe.pool),
        models=tuple(dict.fromkeys(models)),
        estimate=estimate(recipe, folder, asked or Asked(), progress=progress),
        network=fetched(recipe, folder),
    )


def keep(plan: Plan, out: str) -> None:
    """Keep a plan in the folder that its recipe will be built into; raises UsageError as a build there would."""
    with claimed(out, plan.digest):
        storage.put(out, PLAN, (json.dumps(plan.to_json(), indent=1) + "\n").encode())


def _weights(spec: EncoderSpec) -> str:
    """Return the model and where its weights are from; just the second where that names the model."""
    return spec.pretrained if spec.pretrained.startswith(f"{spec.model}:") else f"{spec.model}, {spec.pretrained}"


def _phases(recipe: Recipe) -> list[str]:
    phases = []
    if recipe.dfn is not None:
        phases += _training(recipe.dfn)
    phases += [section.planned() for section in recipe.trainings.values()]
    if recipe.measure:
        phases.append("measure " + ", ".join(measure.kind for measure in recipe.measure))
    phases.append("score by " + ", ".join(f"{score.name} ({score.kind})" for score in recipe.score))
    if recipe.cluster is not None:
        phases.append(f"cluster {recipe.cluster.space} into {recipe.cluster.count}")
    phases += [f"drop what matches an evaluation set: {one.kind}" for one in recipe.decontaminate]
    if recipe.drop_rules:
        phases.append("drop by rule: " + ", ".join(map(_rule, recipe.drop_rules)))
    kinds = sorted((duplicates.kind for duplicates in recipe.duplicates), key=_DUPLICATES.index)
    phases += [f"drop duplicates: {kind}" for kind in kinds]
    phases.append("select " + rule_in_words(recipe.select.model_dump(exclude_defaults=True)))
    phases += [f"caption by {caption.kind}: {caption.per_image} per image" for caption in recipe.caption]
    if recipe.views is not None:
        phases.append("draw " + _views(recipe.views))
    phases += [f"embed {', '.join(embed.of)} by {embed.encoder} as {embed.dtype}" for embed in recipe.embed]
    if recipe.views is not None and (encoders := [one.encoder for one in recipe.embed if "image" in one.of]):
        each = f"{recipe.views.count} forward passes for each row"
        phases.append(f"cost of the views: {each} by {', '.join(encoders)}, {_passes(recipe)}")
    if recipe.clip is not None:
        seen, epochs = recipe.clip.samples_seen, recipe.clip.epochs
        length = f"{epochs} epochs" if seen is None else str(cost_of(recipe.clip.model, seen))
        phases.append(f"by `dfndr train-clip` alone, train a CLIP model on what is kept: {length}")
    return phases


def _views(views: Views) -> str:
    """Return what is drawn, as a recipe says it."""
    plain = ", the first of them plain" if views.plain_first else ""
    return f"{views.count} views of each picture: a crop and {views.operations} operation(s)" + plain


def _passes(recipe: Recipe) -> str:
    """Return how many forward passes the views take, as far as the recipe alone says how many rows there will be."""
    encoders = sum("image" in one.of for one in recipe.embed)
    passes = encoders * recipe.per_row("image")
    if recipe.select.count is not None:
        return f"{recipe.select.count * passes:,} in all for {recipe.select.count:,} rows"
    return f"{passes:,} million for a million rows"


def _training(dfn: Dfn) -> list[str]:
    """Return the trainings of a filter, with what they cost where the samples seen are given."""
    stages: list[tuple[str, Dfn | Finetune]] = [("train a filter", dfn)]
    stages += [("fine-tune it", dfn.finetune)] if dfn.finetune else []
    told = []
    for what, stage in stages:
        seen = stage.samples_seen
        length = f"{stage.epochs} epochs" if seen is None else str(cost_of(dfn.model, seen))
        told.append(f"{what}: {length} over {len(stage.pool)} pool(s)")
    if dfn.averaging:
        told.append(f"average its weights: the best of {len(dfn.averaging.alphas)} alphas")
    return told


def _rule(rule: DropRule) -> str:
    """Return the name of a default rule; of another one also what it looks at, as the recipe says it."""
    default = default_rules().get(rule.reason)
    if default is not None and default.rule == rule:
        return rule.reason
    value = ", ".join(rule.value) if isinstance(rule.value, tuple) else str(rule.value).removesuffix(".0")
    return f"{rule.reason} ({rule.column} {rule.comparison.replace('_', ' ')} {value})"


def _wrapped(entry: str) -> str:
    return textwrap.fill(
        entry,
        _WIDTH,
        initial_indent="  ",
        subsequent_indent="      ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _pool(given: PoolRecipe, folder: Path, seed: int) -> str:
    name = given.kind + " " + ", ".join(f"{key}={value}" for key, value in _source(given).items())
    name += "" if given.license is None else f", license {given.license}"
    if given.kind == "hf":
        return f"{name}: listed when the build starts"
    try:
        shards = open_pool(given, folder, seed).shards()
    except PoolError as error:
        return f"{name}: not there yet ({error.found})"
    sizes = [shard.size_bytes for shard in shards if shard.size_bytes is not None]
    size = f", {sum(sizes) / 1e6:,.1f} MB" if sizes else ""
    return f"{name}: {len(shards)} shard(s){size}"


def _source(given: PoolRecipe) -> dict[str, object]:
    return {
        key: value for key, value in given.model_dump(exclude_defaults=True).items() if key in ("path", "name", "count")
    }
