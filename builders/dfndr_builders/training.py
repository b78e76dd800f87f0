"""What a recipe trains itself, before anything else: a data filtering network, a text-quality classifier."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dfndr import storage
from dfndr.errors import RecipeError
from dfndr.progress import SILENT, Progress
from dfndr_builders.context import Context, listing
from dfndr_builders.dfn.train import train_filter_model
from dfndr_builders.opened import open_filter, open_pools
from dfndr_builders.phase import phase_digest
from dfndr_builders.pools.base import Pool
from dfndr_builders.recipe import Recipe
from dfndr_builders.sections.scores import TRAINED_QUALITY, TextQuality
from dfndr_builders.stage import good_rows
from dfndr_builders.text_quality import Training, train

__all__ = ["pool_texts", "text_quality_folder", "train_filter", "train_quality"]


def train_filter(context: Context) -> str:
    """Train the recipe's own filter; return its folder relative to the root, "" where there is none to train."""
    recipe = context.recipe
    if recipe.dfn is None:
        return ""
    training = open_filter(recipe, context.folder, context.device)
    said = recipe.dfn.model_dump(mode="json", exclude={"license"})
    listings = [listing(pool) for pool in training.pools]
    digest = phase_digest("dfn", dfn=said, seed=recipe.seed, threads=recipe.compute.threads, listings=listings)
    place = f"models/dfn-{digest[:12]}"
    folder = storage.join(context.root, place)
    is_new = not storage.exists(folder)
    with context.timings.timed("train the filter", digest) as timing:
        work = context.phase("dfn", digest)
        trained = train_filter_model(training, folder, work=work, digest=digest, progress=context.progress)
        timing.rows = trained.samples_seen * is_new
    context.keep(place)
    return place


def text_quality_folder(context: Context, given: TextQuality) -> str:
    """Return where a score's classifier is; the recipe's own is trained here, and goes with the dataset."""
    recipe = context.recipe
    if given.weights != TRAINED_QUALITY or recipe.text_quality is None:
        return context.resolve(given.weights)
    pools = _texts_of(recipe, context.folder)
    digest = phase_digest(
        "text-quality",
        training=recipe.text_quality.model_dump(mode="json"),
        listings=[listing(pool) for pool in pools],
        seed=recipe.seed,
    )
    place = f"models/text-quality-{digest[:12]}"
    folder = storage.join(context.root, place)
    if not storage.exists(storage.join(folder, "text_quality.json")):  # written last
        with context.timings.timed("train the text classifier", digest) as timing:
            trained = train_quality(recipe, context.folder, folder, progress=context.progress)
            timing.rows = trained.curated + trained.raw
    context.keep(place)
    return folder


def train_quality(recipe: Recipe, folder: Path, out: str, *, progress: Progress = SILENT) -> Training:
    """Train the classifier of a recipe's [text_quality] into `out`; raises RecipeError where there is no such section.

    `folder` is where the recipe lies.
    """
    with progress.task("train the text classifier", total=None):
        curated, raw = (pool_texts(pool) for pool in _texts_of(recipe, folder))
        trained = train(curated, raw, seed=recipe.seed)
    trained.save(out)
    about = trained.training
    progress.say(
        f"text quality: {about.curated:,} curated and {about.raw:,} raw texts; held out, AUC {about.auc:.4f}, "
        f"accuracy {about.accuracy:.1%}"
    )
    return about


def _texts_of(recipe: Recipe, folder: Path) -> tuple[Pool, Pool]:
    if recipe.text_quality is None:
        raise RecipeError(recipe.name, expected="a [text_quality] section", found="none", do="See docs/recipes.md.")
    given = recipe.text_quality
    return open_pools(given.curated, folder, recipe.seed), open_pools(given.raw, folder, recipe.seed)


def pool_texts(pool: Pool) -> Iterator[str]:
    """Yield the texts of a pool's good rows."""
    for shard in pool.shards():
        for table in pool.read(shard):
            yield from (table["text"][row].as_py() for row in good_rows(table))
