"""A build: from a recipe to a dataset, phase by phase; running it again goes on where it stopped.

    train the filter -> measure and score the pool -> derive (duplicates, clusters, heads) -> select
        -> embed the caption bank -> build

Each phase lives under a digest of all it depends on, in `phases/` of the output folder, so scores survive a new
threshold and nothing stale is ever mixed in. The manifest is written last.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from dfndr import storage
from dfndr.encoder import pick_device
from dfndr.format.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from dfndr.format.schema import SPLITS, Space
from dfndr.models import load_model
from dfndr.progress import SILENT, Progress
from dfndr_builders.audit import write_audits
from dfndr_builders.captioning import captions_of
from dfndr_builders.captions.tally import SPENDING, read_tallies, told_of
from dfndr_builders.card import card
from dfndr_builders.choosing import Chosen, choose, read_lists
from dfndr_builders.context import Context
from dfndr_builders.deriving import Derivation, derive_all
from dfndr_builders.drift import check_drift
from dfndr_builders.embed import Embed
from dfndr_builders.engines.base import Engine
from dfndr_builders.engines.inline import Inline
from dfndr_builders.engines.strikes import forget
from dfndr_builders.opened import open_measures, open_pools
from dfndr_builders.output import claimed, sweep
from dfndr_builders.phase import content_digest, phase_digest, step_of
from dfndr_builders.pools.base import Pool
from dfndr_builders.recipe_file import fetched, read_recipe
from dfndr_builders.report.samples import choose as choose_samples
from dfndr_builders.report.samples import collect
from dfndr_builders.reuse import Made, taken_over, tell
from dfndr_builders.rows import SelectedRows
from dfndr_builders.scoring import Scored, score
from dfndr_builders.sections.base import TRAINED
from dfndr_builders.site import BuildSite, check_scorers
from dfndr_builders.sources import count_files, counts_by_source
from dfndr_builders.stage import Chain, Stage
from dfndr_builders.taken_out import TakenOut
from dfndr_builders.thumbnail import Thumbnail
from dfndr_builders.training import train_filter
from dfndr_builders.views import DrawViews
from dfndr_builders.work import Job, Unit, recorded

__all__ = ["build"]

_HERE = Inline()


def build(
    recipe: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    device: str = "auto",
    replace: bool = False,
    engine: Engine = _HERE,
    retry_failed: bool = False,
    progress: Progress = SILENT,
) -> Manifest:
    """Build the dataset that a recipe describes into the folder `out`, or finish a build that was stopped.

    `replace` allows `out` to hold a dataset of another recipe, which stays whole until the new manifest takes its
    place. `engine` does the units; the dataset is the same whichever it is. `retry_failed` has those done again over
    which too many workers died. Raises RecipeError, PoolError, ModelError, StorageError or UsageError; what was done
    stays done.
    """
    read, text = read_recipe(recipe)
    root = os.fspath(out)
    context = Context(read, text, Path(recipe).resolve().parent, root, device, progress, engine, replace=replace)
    with claimed(root, read.digest, replace=replace, shared=engine.shared) as context.still_held:
        if retry_failed:
            forget(root)
        return _run(context, TakenOut.of(root, read.digest))


def _run(context: Context, taken_out: TakenOut) -> Manifest:
    """Run every phase that is not finished and write the manifest."""
    _announce(context)
    pool = open_pools(context.recipe.pool, context.folder, context.recipe.seed)
    pool.shards()
    _look_ahead(context)
    with context.alone():
        context.filter = train_filter(context)
        check_drift(context, pool)
    scored = score(context, pool)
    with context.alone():
        derived = derive_all(context, scored)
        chosen = choose(context, scored, derived)
    taken_out.check(storage.join(chosen.root, f"{split}.parquet") for split in SPLITS)
    context.files.update(taken_out.files)
    return _build(context, pool, scored, derived, chosen)


def _announce(context: Context) -> None:
    needed = fetched(context.recipe, context.folder)
    if needed:
        context.progress.say(f"needs the network, unless they are cached: {', '.join(needed)}")


def _look_ahead(context: Context) -> None:
    """Raise now, and not after hours of training and scoring, where what comes later is not there."""
    pick_device(context.device)
    recipe = context.recipe
    for given in recipe.embed:
        if given.pretrained != TRAINED:
            load_model(context.model(given, given.encoder).spec)
    for caption in recipe.caption:
        caption.check(BuildSite(context))
    recipe.selection().check()
    read_lists(recipe, context.folder)
    for kept_out in recipe.decontaminate:
        open_pools(kept_out.pool, context.folder, recipe.seed).shards()
    for measure in open_measures(recipe.measure, context.folder)[0]:
        measure.open()
    check_scorers(context)


def _build(context: Context, pool: Pool, scored: Scored, derived: Sequence[Derivation], chosen: Chosen) -> Manifest:
    recipe, selection = context.recipe, chosen.selection
    captions, captioners = captions_of(context, scored.models)
    stages: list[Stage] = [captions] if captions else []
    told = [[name, record.to_json()] for name, record in captioners.items()]
    encoders = {given.encoder: context.model(given, given.encoder) for given in recipe.embed}
    if recipe.views is not None:
        stages.insert(0, DrawViews(recipe.views.sampler(), recipe.seed))
    if recipe.output.thumbnail:
        stages.insert(0, Thumbnail(recipe.output.thumbnail, recipe.compute.decode == "fast"))
    spaces: list[Space] = []
    for given in recipe.embed:
        for modality in given.of:
            space = Space(
                modality, given.encoder, encoders[given.encoder].record.dim, recipe.per_row(modality), given.dtype
            )
            spaces.append(space)
            views = modality == "image" and recipe.views is not None
            stages.append(Embed(space, encoders[given.encoder].spec, views))
    digest = phase_digest(
        "build",
        scores=content_digest(scored.manifest),
        derived=[one.digest for one in derived],
        selection=selection.step.to_json() | {"rows": selection.rows, "rule": repr(chosen.rule)},
        captions=[captions is not None and captions.keeps_uncaptioned, recipe.seed, told],
        encoders={name: model.record.to_json() for name, model in encoders.items()},
        spaces=[space.to_json() for space in spaces],
        output=recipe.output.model_dump(mode="json"),
        decode=recipe.compute.decode,
        **({} if recipe.views is None else {"views": [recipe.seed, recipe.views.model_dump(mode="json")]}),
    )
    units = _units(selection.rows, recipe.output.rows_per_shard)
    if len(recorded(context.root, digest, units)) < len(units):
        embedding, scoring = ({name: one.record for name, one in given.items()} for given in (encoders, scored.models))
        stages = taken_over(context, stages, Made(embedding, scoring, captioners))
    specs = tuple(model.spec for model in (*scored.models.values(), *encoders.values()))
    source = SelectedRows(pool, scored.root, chosen.root, chosen.beside)
    job = Job(context.root, digest, source, Chain(tuple(stages)), tuple(spaces), specs)
    if recipe.output.validation and selection.rows["train"] and not selection.rows["validation"]:
        context.progress.say("no row fell into the validation split: there are too few rows for its share")
    spending = storage.join(context.root, SPENDING)
    note = (lambda: told_of(read_tallies(spending))) if captions else None
    shards = context.run("build", job, units, note=note)
    with context.alone():
        if (finished := _finished(context, digest)) is not None:
            return finished
        tell(context, stages, shards)
        write_audits(context, scored, derived, chosen)
        _keep_samples(context, pool, scored, chosen)
        counted = count_files(context.root, shards)
        sources = None if counted is None else counts_by_source(counted, selection.step.sources)
        manifest = context.manifest(
            digest,
            shards=shards,
            spaces=tuple(spaces),
            encoders=encoders,
            scorers=scored.models,
            captioners=captioners,
            funnel=(*scored.manifest.funnel, selection.step, step_of("build", shards, sources)),
            files=context.files,
            more=_provenance(context, scored, derived, chosen),
        )
        context.still_held()
        storage.put(context.root, "README.md", card(manifest).encode())
        write_manifest(context.root, manifest)
        sweep(context.root, manifest)
    return manifest


def _finished(context: Context, digest: str) -> Manifest | None:
    """Return the manifest that another process, working at the same build, wrote a moment ago; None if none did."""
    if not context.engine.shared or not storage.exists(storage.join(context.root, MANIFEST)):
        return None
    there = read_manifest(context.root)
    return there if (there.provenance["phase"], there.recipe) == (digest, context.text) else None


def _keep_samples(context: Context, pool: Pool, scored: Scored, chosen: Chosen) -> None:
    """Read some of what was dropped from the pool once more, with small pictures, for the report."""
    collect(pool, scored.dataset(), choose_samples(chosen.root), chosen.root)


def _provenance(context: Context, scored: Scored, derived: Sequence[Derivation], chosen: Chosen) -> dict[str, object]:
    """Return where the phases are, below the dataset's root, and what was selected."""
    rule = context.recipe.select.model_dump(mode="json", exclude_defaults=True)
    return {
        "scores": context.relative(scored.root),
        "score_names": [given.name for given in context.recipe.score],
        "derived": [context.relative(one.columns.root) for one in derived],
        "selection": {
            "rule": rule,
            "rules": [asdict(drop) for drop in chosen.rule.drop],
            "cut": chosen.selection.cut,
            "samples": chosen.selection.samples,
            "phase": context.relative(chosen.root),
        },
    }


def _units(rows: Mapping[str, int], rows_per_shard: int) -> list[Unit]:
    """Cut each split into units of at most `rows_per_shard` rows, numbered through."""
    units: list[Unit] = []
    for split in SPLITS:
        for start in range(0, rows.get(split, 0), rows_per_shard):
            units.append(Unit(len(units), split, start, min(start + rows_per_shard, rows[split])))
    return units
