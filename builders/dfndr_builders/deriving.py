"""The second phase: what is made of the whole table of scores, each kind under a digest of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from dfndr.errors import PoolError
from dfndr.format.schema import Space
from dfndr_builders.context import Context, listing
from dfndr_builders.derived import Columns, Derive, derive, read_derived
from dfndr_builders.duplicates import clusters, contaminated, exact, near, semantic
from dfndr_builders.embed import Embed
from dfndr_builders.inspect import Inspect
from dfndr_builders.measure.image import MeasureImage
from dfndr_builders.opened import open_pools
from dfndr_builders.phase import content_digest, phase_digest
from dfndr_builders.pools.base import Pool
from dfndr_builders.pools.pictures import Pictures
from dfndr_builders.scoring import Scored
from dfndr_builders.sections import curation
from dfndr_builders.stage import Chain, Stage
from dfndr_builders.vectors import vectors_of

__all__ = ["REASONS", "Derivation", "derive_all"]


@dataclass(frozen=True)
class Derivation:
    """Derived columns: how they were made, where they are, and the digest of what they depend on."""

    made: Derive
    columns: Columns
    digest: str

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [field.name for field in self.made.fields()]


REASONS = {
    "same_image": "same_image_group",
    "same_text": "same_text_group",
    "near_duplicate": "near_duplicate_group",
    "semantic_duplicate": "semantic_duplicate_group",
}
"""By reason to drop, the column that names a row's group of duplicates."""


def derive_all(context: Context, scored: Scored) -> list[Derivation]:
    """Make every derived column of the recipe that is not there yet."""
    scores, made = scored.dataset(), []
    for asked in _asked(context, scored):
        digest = phase_digest(asked.kind, scores=content_digest(scored.manifest), told=asked.told)
        root = context.phase(asked.kind, digest)
        is_new = read_derived(root) is None
        with context.timings.timed(asked.kind, digest) as timing:
            columns = derive(asked.made, scores, root, progress=context.progress)
            timing.rows, timing.units = len(scores) * is_new, len(scores.shards)
        made.append(Derivation(asked.made, columns, digest))
    return made


@dataclass(frozen=True)
class _Asked:
    """One thing that a recipe asks for, and all that its columns depend on besides the scores."""

    kind: str
    made: Derive
    told: object


def _asked(context: Context, scored: Scored) -> Iterator[_Asked]:
    recipe, seed = context.recipe, context.recipe.seed
    for scorer in scored.derived:
        yield _Asked(scorer.kind, scorer.derive, scorer.depends)
    if recipe.cluster is not None:
        told = [recipe.cluster.model_dump(mode="json"), seed]
        yield _Asked("cluster", clusters.Clusters(recipe.cluster.space, recipe.cluster.count, seed), told)
    for given in recipe.duplicates:
        yield _Asked("duplicates", _duplicates(given, seed), [given.model_dump(mode="json"), seed])
    for one in recipe.decontaminate:
        yield _contaminated(one, context, scored)


def _duplicates(given: curation.DuplicatesRecipe, seed: int) -> Derive:
    if isinstance(given, curation.SameImage):
        return exact.SameImage()
    if isinstance(given, curation.SameText):
        return exact.SameText()
    if isinstance(given, curation.NearDuplicates):
        return near.NearDuplicates(given.radius)
    return semantic.SemanticDuplicates(given.space, given.cosine, given.clusters, seed)


def _contaminated(given: curation.DecontaminateRecipe, context: Context, scored: Scored) -> _Asked:
    """Hash or embed the evaluation images, which are few, and say what they are compared by."""
    pool = Pictures(open_pools(given.pool, context.folder, context.recipe.seed))
    told: list[object] = [given.model_dump(mode="json"), listing(pool), context.recipe.seed]
    if isinstance(given, curation.NearContamination):
        table, failed = _through(pool, Chain((Inspect(), MeasureImage())), ("key", "phash"))
        hashed = table.filter(pc.is_valid(table["phash"]))
        table, failed = _some(hashed), failed + len(table) - len(hashed)  # blank pictures have no hash
        keys, hashes = _keys(table), table["phash"].to_numpy()
        made: Derive = contaminated.NearContaminated(keys, hashes, given.radius)
    else:
        model = scored.models[given.space.partition("/")[2]]
        told.append(model.record.to_json())
        space = Space("image", model.record.name, model.record.dim, dtype="float32")
        table, failed = _through(pool, Chain((Inspect(), Embed(space, model.spec))), ("key", space.name))
        keys, vectors = _keys(table), vectors_of(table, space)[:, 0]
        made = contaminated.SemanticContaminated(keys, vectors, given.space, given.cosine)
    context.progress.say(f"decontaminate: {len(keys):,} evaluation images, {failed:,} rows of theirs could not be used")
    return _Asked("contaminated", made, told)


def _keys(table: pa.Table) -> tuple[str, ...]:
    return tuple(table["key"].to_pylist())


def _through(pool: Pool, stage: Stage, columns: Sequence[str]) -> tuple[pa.Table, int]:
    """Return columns of a pool's good rows after a stage, and how many other rows there were."""
    step, schema = stage.open(), stage.schema(pool.schema())
    parts, failed = [schema.empty_table().select(columns)], 0
    for shard in pool.shards():
        for table in pool.read(shard):
            done = step(table)
            good = pc.is_null(done["problem"])
            parts.append(done.filter(good).select(columns))
            failed += len(done) - len(parts[-1])
    return _some(pa.concat_tables(parts).combine_chunks()), failed


def _some(images: pa.Table) -> pa.Table:
    """Return the table; raises PoolError where it is empty: nothing would be kept out, and nobody would know."""
    if not len(images):
        do = "Check [[decontaminate]] pool."
        raise PoolError("decontaminate", expected="evaluation images", found="none that can be used", do=do)
    return images
