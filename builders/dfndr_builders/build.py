"""A build: from a recipe to a dataset, phase by phase; running it again goes on where it stopped.

    train the filter (if the recipe has a [dfn]) -> score the pool -> select -> embed the caption bank -> build

Each phase lives under a digest of all it depends on, in `phases/` of the output folder, so scores survive a new
threshold and nothing stale is ever mixed in. The manifest is written last.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dfndr import storage
from dfndr.dataset import open_dataset
from dfndr.encoder import pick_device
from dfndr.format.manifest import Manifest, Shard, Step, write_manifest
from dfndr.format.schema import SPLITS, Space
from dfndr.models import load_model
from dfndr.progress import SILENT, Progress
from dfndr.storage import Stored
from dfndr_builders import recipe as told
from dfndr_builders.bank import BankRows, count_texts, write_texts
from dfndr_builders.caption import CaptionStage, Retrieval
from dfndr_builders.card import card
from dfndr_builders.dfn import train_dfn
from dfndr_builders.embed import Embed
from dfndr_builders.inspect import Inspect
from dfndr_builders.opened import open_filter, open_pool, open_pools
from dfndr_builders.output import claimed, sweep
from dfndr_builders.phase import Model, content_digest, made_with, phase_digest, run_phase, step_of
from dfndr_builders.pools.base import Pool
from dfndr_builders.recipe import TRAINED, Recipe
from dfndr_builders.recipe_file import read_recipe, resolve, resolve_weights
from dfndr_builders.rows import PoolRows, SelectedRows
from dfndr_builders.score.clip import ClipScore
from dfndr_builders.select import Selection, read_selection, select
from dfndr_builders.stage import Chain, Stage
from dfndr_builders.thumbnail import Thumbnail
from dfndr_builders.work import Job, Unit

__all__ = ["Build", "build"]


def build(
    recipe: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    device: str = "auto",
    replace: bool = False,
    progress: Progress = SILENT,
) -> Manifest:
    """Build the dataset that a recipe describes into the folder `out`, or finish a build that was stopped.

    `replace` allows `out` to hold a dataset of another recipe, which stays whole until the new manifest takes its
    place. Raises RecipeError, PoolError, ModelError, StorageError or UsageError; what was done stays done.
    """
    read, text = read_recipe(recipe)
    root = os.fspath(out)
    with claimed(root, read.digest, replace=replace):
        return Build(read, text, Path(recipe).resolve().parent, root, device, progress).run()


@dataclass
class Build:
    """One build in progress: the recipe, where it lies and where it goes."""

    recipe: Recipe
    text: str
    folder: Path
    root: str
    device: str
    progress: Progress
    files: dict[str, Stored] = field(default_factory=dict)
    """Files of the dataset that belong to no shard, by path: a filter trained on the way, configs of models."""

    def run(self) -> Manifest:
        """Run every phase that is not finished and write the manifest."""
        self._announce()
        pool = open_pools(self.recipe.pool, self.folder, self.recipe.seed)
        pool.shards()
        self._look_ahead()
        self.filter = self._train()
        scorers = {score.name: self._model(score, score.name) for score in self.recipe.score}
        scores, scored = self._score(pool, scorers)
        chosen = self._select(scores, scored)
        return self._build(pool, scorers, scores, scored, chosen)

    def _look_ahead(self) -> None:
        """Raise now, and not after hours of training and scoring, where what comes later is not there."""
        pick_device(self.device)
        scorers = [self._model(given, given.name) for given in self.recipe.score if given.pretrained != TRAINED]
        encoders = [self._model(given, given.encoder) for given in self.recipe.embed if given.pretrained != TRAINED]
        for model in (*scorers, *encoders):
            load_model(model.spec)
        for caption in self.recipe.caption:
            self._bank_given(caption)

    def _announce(self) -> None:
        given = [*self.recipe.score, *self.recipe.embed]
        specs = [
            one.spec("", self.recipe.compute, self.device, resolve_weights(one.pretrained, self.folder))
            for one in given
        ]
        fetched = sorted({spec.pretrained for spec in specs if spec.needs_network and spec.pretrained != TRAINED})
        if fetched:
            self.progress.say(f"needs the network, unless they are cached: {', '.join(fetched)}")

    def _model(self, given: told.Score | told.Embed, name: str) -> Model:
        pretrained, written = resolve_weights(given.pretrained, self.folder), given.pretrained
        if given.pretrained == TRAINED:
            pretrained, written = "local-dir:" + storage.join(self.root, self.filter), f"local-dir:{self.filter}"
        config = ""
        if given.model.endswith(".json"):  # a config of the recipe's own goes with the dataset, for search to find
            path = resolve(given.model, self.folder)
            content = storage.read_bytes(path)
            stored = storage.put(self.root, f"models/{name}-{{hash8}}.json", content)
            self.files[stored.path], config = stored, stored.path
            given = given.model_copy(update={"model": path})
        return Model(given.spec(name, self.recipe.compute, self.device, pretrained), written, config)

    def _phase(self, kind: str, digest: str) -> str:
        return storage.join(self.root, "phases", f"{kind}-{digest[:12]}")

    def _train(self) -> str:
        """Train the recipe's own filter; return its folder relative to the root, "" where there is none to train."""
        if self.recipe.dfn is None:
            return ""
        spec, pool = open_filter(self.recipe, self.folder, self.device)
        given = {"dfn": self.recipe.dfn.model_dump(mode="json"), "seed": spec.seed, "threads": spec.threads}
        digest = phase_digest("dfn", **given, listing=_listing(pool))
        place = f"models/dfn-{digest[:12]}"
        work = self._phase("dfn", digest)
        folder = storage.join(self.root, place)
        train_dfn(spec, pool, folder, work=work, digest=digest, progress=self.progress)
        for name in storage.list_files(folder):
            path = storage.join(folder, name)
            self.files[f"{place}/{name}"] = Stored(f"{place}/{name}", storage.size_of(path), storage.sha256_of(path))
        return place

    def _score(self, pool: Pool, scorers: Mapping[str, Model]) -> tuple[str, Manifest]:
        source = PoolRows(pool)
        digest = phase_digest(
            "score",
            pools=[given.model_dump(mode="json") for given in self.recipe.pool],
            listing=_listing(pool),
            seed=self.recipe.seed,
            scorers={name: model.record.to_json() for name, model in scorers.items()},
        )
        root = self._phase("score", digest)
        stage = Chain((Inspect(), *(ClipScore(name, model.spec) for name, model in scorers.items())))
        job = Job(root, digest, source, stage, encoders=tuple(model.spec for model in scorers.values()))
        sizes = [shard.size_bytes for shard in pool.shards()]
        shards = run_phase("score", job, source.units(), self.progress, sizes=sizes)
        manifest = self._manifest(digest, shards=shards, scorers=scorers, funnel=(step_of("score", shards),))
        write_manifest(root, manifest)
        return root, manifest

    def _select(self, scores: str, scored: Manifest) -> tuple[str, Selection]:
        rule = self.recipe.rule()
        root = self._phase("select", phase_digest("select", scores=content_digest(scored), rule=repr(rule)))
        chosen = read_selection(root)
        if chosen is None:
            with self.progress.task("select", total=None) as task:
                chosen = select(open_dataset(scores), rule, root)
                task.advance(chosen.step.rows_in)
        return root, chosen

    def _bank_given(self, given: told.Caption) -> tuple[Pool | str, object]:
        """Return the bank's pool, or its file, and what its phase remembers of it."""
        if isinstance(given.bank, str):
            path = resolve(given.bank, self.folder)
            return path, storage.sha256_of(path)
        pool = open_pool(given.bank, self.folder, self.recipe.seed)
        return pool, [given.bank.model_dump(mode="json"), _listing(pool)]

    def _bank(self, given: told.Caption, scorer: Model) -> str:
        """Embed the caption bank; return its root."""
        bank, content = self._bank_given(given)
        record = scorer.record
        digest = phase_digest("bank", bank=content, seed=self.recipe.seed, scorer=record.to_json())
        root = self._phase("bank", digest)
        count = count_texts(root)
        if count is None:
            count, seen = write_texts(root, bank)
            self.progress.say(f"caption bank: {count:,} distinct texts of {seen:,}")
        space, source = Space("text", record.name, record.dim), BankRows(root)
        job = Job(root, digest, source, Embed(space, scorer.spec), (space,), (scorer.spec,))
        shards = run_phase("bank", job, source.units(count), self.progress)
        encoders = {record.name: scorer}
        funnel = (step_of("bank", shards),)
        write_manifest(root, self._manifest(digest, shards=shards, spaces=(space,), encoders=encoders, funnel=funnel))
        return root

    def _build(
        self, pool: Pool, scorers: Mapping[str, Model], scores: str, scored: Manifest, selected: tuple[str, Selection]
    ) -> Manifest:
        selection, chosen = selected
        stages: list[Stage] = []
        told_captions: list[object] = []
        for caption in self.recipe.caption:
            scorer = scorers[caption.scorer or self.recipe.score[0].name]
            bank = self._bank(caption, scorer)
            told_captions.append([caption.model_dump(mode="json"), content_digest(open_dataset(bank).manifest)])
            stages.append(CaptionStage(Retrieval(bank, scorer.spec, caption.per_image, self.recipe.seed)))
        encoders = {given.encoder: self._model(given, given.encoder) for given in self.recipe.embed}
        spaces: list[Space] = []
        for given in self.recipe.embed:
            for modality in given.of:
                per_row = self.recipe.caption[0].per_image if modality == "caption" else 1
                space = Space(modality, given.encoder, encoders[given.encoder].record.dim, per_row, given.dtype)
                spaces.append(space)
                stages.append(Embed(space, encoders[given.encoder].spec))
        if self.recipe.output.thumbnail:
            stages.append(Thumbnail(self.recipe.output.thumbnail))
        digest = phase_digest(
            "build",
            scores=content_digest(scored),
            selection=chosen.step.to_json() | {"rows": chosen.rows, "rule": repr(self.recipe.rule())},
            captions=told_captions,
            encoders={name: model.record.to_json() for name, model in encoders.items()},
            spaces=[space.to_json() for space in spaces],
            output=self.recipe.output.model_dump(mode="json"),
        )
        specs = tuple(model.spec for model in (*scorers.values(), *encoders.values()))
        job = Job(self.root, digest, SelectedRows(pool, scores, selection), Chain(tuple(stages)), tuple(spaces), specs)
        if self.recipe.output.validation and chosen.rows["train"] and not chosen.rows["validation"]:
            self.progress.say("no row fell into the validation split: there are too few rows for its share")
        units = _units(chosen.rows, self.recipe.output.rows_per_shard)
        shards = run_phase("build", job, units, self.progress)
        manifest = self._manifest(
            digest,
            shards=shards,
            spaces=tuple(spaces),
            encoders=encoders,
            scorers=scorers,
            funnel=(*scored.funnel, chosen.step, step_of("build", shards)),
            files=self.files,
            more={
                "scores": scores.removeprefix(self.root).lstrip("/"),
                "selection": {
                    "rule": self.recipe.select.model_dump(exclude_none=True),
                    "cut": chosen.cut,
                    "samples": chosen.samples,
                },
            },
        )
        storage.put(self.root, "README.md", card(manifest).encode())
        write_manifest(self.root, manifest)
        sweep(self.root, manifest)
        return manifest

    def _manifest(
        self,
        digest: str,
        *,
        shards: tuple[Shard, ...],
        funnel: tuple[Step, ...],
        spaces: tuple[Space, ...] = (),
        encoders: Mapping[str, Model] | None = None,
        scorers: Mapping[str, Model] | None = None,
        files: Mapping[str, Stored] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> Manifest:
        pools = [given.model_dump(mode="json", exclude_defaults=True) for given in self.recipe.pool]
        return Manifest(
            name=self.recipe.name,
            license=self.recipe.license,
            recipe=self.text,
            recipe_digest=self.recipe.digest,
            seed=self.recipe.seed,
            spaces=spaces,
            encoders={name: model.record for name, model in (encoders or {}).items()},
            scorers={name: model.record for name, model in (scorers or {}).items()},
            shards=shards,
            funnel=funnel,
            provenance={"phase": digest, "pools": pools, "made_with": made_with(), **(more or {})},
            files=files or {},
        )


def _listing(pool: Pool) -> list[list[object]]:
    """Return what a phase remembers of a pool's shards: each one's base name and size."""
    return [[shard.name.rsplit("/", 1)[-1], shard.size_bytes] for shard in pool.shards()]


def _units(rows: Mapping[str, int], rows_per_shard: int) -> list[Unit]:
    """Cut each split into units of at most `rows_per_shard` rows, numbered through."""
    units: list[Unit] = []
    for split in SPLITS:
        for start in range(0, rows.get(split, 0), rows_per_shard):
            units.append(Unit(len(units), split, start, min(start + rows_per_shard, rows[split])))
    return units
