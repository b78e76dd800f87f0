"""What a recipe trains itself before anything else: a data filtering network."""

from __future__ import annotations

from dfndr import storage
from dfndr_builders.context import Context, listing
from dfndr_builders.dfn.train import train_filter_model
from dfndr_builders.opened import open_filter
from dfndr_builders.phase import phase_digest

__all__ = ["train_filter"]


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
