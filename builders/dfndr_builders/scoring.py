"""The first phase of a build: every row of the pool measured and scored, as a dataset of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dfndr import storage
from dfndr.dataset import Dataset, open_dataset
from dfndr.format.manifest import Manifest, write_manifest
from dfndr.format.schema import Space
from dfndr_builders.context import Context, listing
from dfndr_builders.inspect import Inspect
from dfndr_builders.opened import open_measures
from dfndr_builders.phase import Model, phase_digest, run_phase, step_of
from dfndr_builders.pools.base import Pool
from dfndr_builders.rows import PoolRows
from dfndr_builders.score.clip import ClipScore
from dfndr_builders.score.text_quality import TextQualityScore
from dfndr_builders.sections.scores import TextQuality
from dfndr_builders.sources import count_files, counts_by_source
from dfndr_builders.stage import Chain, Stage
from dfndr_builders.training import text_quality_folder
from dfndr_builders.work import Job

__all__ = ["Scored", "score"]


@dataclass(frozen=True)
class Scored:
    """The table of scores: where it is, its manifest, and the models that gave the scores."""

    root: str
    manifest: Manifest
    models: Mapping[str, Model]

    def dataset(self) -> Dataset:
        """Open it."""
        return open_dataset(self.root, check="size")


def score(context: Context, pool: Pool) -> Scored:
    """Measure and score what is not scored yet, and commit the table."""
    recipe = context.recipe
    models = {given.name: context.model(given, given.name) for given in recipe.clips}
    spaces = {
        given.name: tuple(Space(modality, given.name, models[given.name].record.dim) for modality in given.vectors)
        for given in recipe.clips
    }
    measures, content = open_measures(recipe.measure, context.folder)
    stages: list[Stage] = [Inspect(), *measures]
    stages += [ClipScore(name, model.spec, spaces[name]) for name, model in models.items()]
    qualities = {
        given.name: text_quality_folder(context, given) for given in recipe.score if isinstance(given, TextQuality)
    }
    stages += [TextQualityScore(name, folder) for name, folder in qualities.items()]
    digest = phase_digest(
        "score",
        pools=[given.model_dump(mode="json") for given in recipe.pool],
        listing=listing(pool),
        seed=recipe.seed,
        measures=content,
        scorers={name: model.record.to_json() for name, model in models.items()},
        spaces=[space.to_json() for name in models for space in spaces[name]],
        qualities={name: _sha256s(folder) for name, folder in qualities.items()},
    )
    root, source = context.phase("score", digest), PoolRows(pool)
    kept = tuple(space for name in models for space in spaces[name])
    job = Job(root, digest, source, Chain(tuple(stages)), kept, tuple(model.spec for model in models.values()))
    sizes = [shard.size_bytes for shard in pool.shards()]
    shards = run_phase("score", job, source.units(), context.progress, sizes=sizes, timings=context.timings)
    counted = count_files(root, shards)
    sources = None if counted is None else counts_by_source(counted)
    manifest = context.manifest(
        digest,
        shards=shards,
        spaces=kept,
        encoders={name: model for name, model in models.items() if spaces[name]},
        scorers=models,
        funnel=(step_of("score", shards, sources),),
    )
    write_manifest(root, manifest)
    return Scored(root, manifest, models)


def _sha256s(folder: str) -> list[str]:
    return [storage.sha256_of(storage.join(folder, name)) for name in sorted(storage.list_files(folder))]
