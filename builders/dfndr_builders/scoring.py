"""The first phase of a build: every row of the pool measured and scored, as a dataset of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dfndr.dataset import Dataset, open_dataset
from dfndr.errors import PoolError
from dfndr.format.manifest import Manifest, write_manifest
from dfndr_builders.context import Context
from dfndr_builders.inspect import Inspect
from dfndr_builders.opened import open_measures
from dfndr_builders.origins import names_in
from dfndr_builders.output import sweep
from dfndr_builders.phase import phase_digest, step_of
from dfndr_builders.pools.base import Pool
from dfndr_builders.rows import PoolRows
from dfndr_builders.scorer import OpenModel, RowScorer, TableScorer
from dfndr_builders.site import open_scorers
from dfndr_builders.sources import count_files, counts_by_source
from dfndr_builders.stage import Chain, Stage
from dfndr_builders.work import Job, Unit, records_folder

__all__ = ["Scored", "score"]


@dataclass(frozen=True)
class Scored:
    """The table of scores: where it is, its manifest, the models that gave scores, and what is still to be derived."""

    root: str
    manifest: Manifest
    models: Mapping[str, OpenModel]
    derived: tuple[TableScorer, ...]

    def dataset(self) -> Dataset:
        """Open it."""
        return open_dataset(self.root, check="size")


def score(context: Context, pool: Pool) -> Scored:
    """Measure and score what is not scored yet, and commit the table."""
    recipe = context.recipe
    with context.alone():
        opened = open_scorers(context)
    rows = [scorer for scorer in opened if isinstance(scorer, RowScorer)]
    models = {scorer.name: scorer.model for scorer in rows if scorer.model is not None}
    kept = tuple(space for scorer in rows for space in scorer.spaces)
    measures, content = open_measures(recipe.measure, context.folder)
    stages: list[Stage] = [Inspect(), *measures, *(scorer.stage for scorer in rows)]
    digest = phase_digest(
        "score",
        pools=[given.model_dump(mode="json") for given in recipe.pool],
        seed=recipe.seed,
        measures=content,
        scorers={scorer.name: scorer.depends for scorer in rows},
    )
    root, source = context.phase("score", digest), PoolRows(pool)
    job = Job(root, digest, source, Chain(tuple(stages)), kept, tuple(model.spec for model in models.values()))
    sizes = [shard.size_bytes for shard in pool.shards()]
    units = source.units()
    if not context.replace:
        _check_that_none_is_gone(root, digest, units)
    shards = context.run("score", job, units, sizes=sizes)
    counted = count_files(root, shards)
    sources = None if counted is None else counts_by_source(counted)
    manifest = context.manifest(
        digest,
        shards=shards,
        spaces=kept,
        encoders={scorer.name: scorer.model for scorer in rows if scorer.model and scorer.spaces},
        scorers=models,
        funnel=(step_of("score", shards, sources),),
    )
    write_manifest(root, manifest)
    if not context.engine.shared:  # what other tasks are about to record looks like what nobody needs any more
        sweep(root, manifest)
    return Scored(root, manifest, models, tuple(scorer for scorer in opened if isinstance(scorer, TableScorer)))


def _check_that_none_is_gone(root: str, digest: str, units: Sequence[Unit]) -> None:
    there = {unit.name for unit in units}
    gone = [name for name in names_in(records_folder(root, digest)) if name not in there]
    if gone:
        others = f" and {len(gone) - 1:,} others" if len(gone) > 1 else ""
        do = "Put it back, or pass --replace to build without it."
        expected = "every shard that was scored before"
        raise PoolError("the pool", expected=expected, found=f"that {gone[0]}{others} is gone", do=do)
