"""The build as the sections of scores see it, and the models that a recipe trains for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from dfndr import storage
from dfndr.dataset import open_dataset
from dfndr.encoder import pick_device
from dfndr.errors import RecipeError, UsageError
from dfndr.progress import SILENT, Progress
from dfndr_builders.bank import embed_bank
from dfndr_builders.captions.tally import SPENDING
from dfndr_builders.context import Context, listing
from dfndr_builders.opened import open_pools
from dfndr_builders.phase import Model, content_digest, phase_digest
from dfndr_builders.pools.base import Pool
from dfndr_builders.recipe import Recipe
from dfndr_builders.recipe_file import resolve, resolve_weights
from dfndr_builders.scorer import OpenModel, Runs, Scorer, Trained, TrainingSite
from dfndr_builders.sections.captions import Retrieval
from dfndr_builders.sections.models import Model as ModelRecipe
from dfndr_builders.sections.pools import PoolRecipe
from dfndr_builders.sections.trained import TrainingSection

__all__ = ["BuildSite", "check_scorers", "open_scorers", "train_section"]


@dataclass(frozen=True)
class BuildSite:
    """A build in progress, as a `Site`."""

    context: Context

    @property
    def seed(self) -> int:
        """The recipe's."""
        return self.context.recipe.seed

    @property
    def runs(self) -> Runs:
        """How networks are run."""
        return _runs(self.context.recipe, self.context.device)

    def resolve(self, path: str) -> str:
        """Return a path of the recipe as an absolute one."""
        return self.context.resolve(path)

    def model(self, given: ModelRecipe, name: str) -> Model:
        """Return the model that a section names."""
        return self.context.model(given, name)

    def model_of(self, space: str) -> Model:
        """Return the model of the [[score]] that keeps a space."""
        name = space.partition("/")[2]
        return self.context.model(next(clip for clip in self.context.recipe.clips if clip.name == name), name)

    def pools(self, given: Sequence[PoolRecipe]) -> tuple[Pool, object]:
        """Return the pools of some sections as one, and what a phase remembers of it."""
        pool = open_pools(given, self.context.folder, self.seed)
        return pool, listing(pool)

    def bank(self, given: Retrieval, scorer: OpenModel) -> tuple[str, str]:
        """Return the root of a bank of captions, which is embedded now if it is not there, and its content's digest."""
        root = embed_bank(self.context, given, scorer)
        return root, content_digest(open_dataset(root).manifest)

    def spending(self) -> str:
        """Return the folder where it is written down what asking servers came to."""
        return storage.join(self.context.root, SPENDING)

    def section(self, key: str) -> TrainingSection:
        """Return the recipe's own section that trains something."""
        return _section(self.context.recipe, key)

    def trained(self, key: str) -> str:
        """Return the folder of what the section trains; it goes with the dataset."""
        context, given = self.context, self.section(key)
        pools = [self.pools(side) for side in given.pools()]
        digest = phase_digest(
            key.replace("_", "-"),
            training=given.model_dump(mode="json"),
            listings=[listed for _, listed in pools],
            seed=self.seed,
            depends=given.depends(self),
        )
        place = f"models/{key.replace('_', '-')}-{digest[:12]}"
        folder = storage.join(context.root, place)
        if not storage.exists(storage.join(folder, given.last)):
            with context.timings.timed(f"train the {key.replace('_', ' ')}", digest) as timing:
                trained = given.train([pool for pool, _ in pools], folder, self, context.progress)
                timing.rows = trained.rows
            context.progress.say(trained.said)
        context.keep(place)
        return folder


@dataclass(frozen=True)
class _Alone:
    """A recipe of which one section is trained, and nothing built."""

    recipe: Recipe
    folder: Path
    device: str

    @property
    def seed(self) -> int:
        return self.recipe.seed

    @property
    def runs(self) -> Runs:
        return _runs(self.recipe, self.device)

    def model(self, given: ModelRecipe, name: str) -> Model:
        config = given.model if given.model.endswith(".json") else ""
        named = given.model_copy(update={"model": resolve(config, self.folder)}) if config else given
        pretrained = resolve_weights(given.pretrained, self.folder)
        return Model(named.spec(name, self.recipe.compute, self.device, pretrained), given.pretrained, config)


def train_section(
    recipe: Recipe, key: str, folder: Path, out: str, *, device: str = "auto", progress: Progress = SILENT
) -> Trained:
    """Train what a recipe's section `key` describes into `out`; `folder` is where the recipe lies.

    Raises RecipeError where there is no such section, UsageError where `out` holds something else, and what its
    training raises. An earlier model of the same kind is replaced.
    """
    given, site = _section(recipe, key), _Alone(recipe, folder, device)
    if storage.exists(out) and not storage.is_folder(out):
        raise UsageError(out, expected="a folder to train into", found="a file", do="Choose another --out.")
    present = storage.list_files(out)
    if present and given.last not in present:
        do = "Choose an empty or new folder for --out."
        raise UsageError(out, expected="a new folder, or one of such a model", found=f"{present[0]!r} in it", do=do)
    pools = [open_pools(side, folder, recipe.seed) for side in given.pools()]
    return given.train(pools, out, cast("TrainingSite", site), progress)


def open_scorers(context: Context) -> list[Scorer]:
    """Open every [[score]] of the recipe but the fusions, which selection makes; trains what is still to be trained."""
    opened = [given.open(BuildSite(context)) for given in context.recipe.score]
    return [scorer for scorer in opened if scorer is not None]


def check_scorers(context: Context) -> None:
    """Raise now, and not after hours of training and scoring, for what a [[score]] would not find."""
    site = BuildSite(context)
    for key in sorted({given.trained_by for given in context.recipe.score} - {""}):
        section = site.section(key)
        section.check(site)
        for side in section.pools():
            site.pools(side)
    for given in context.recipe.score:
        given.check(site)


def _section(recipe: Recipe, key: str) -> TrainingSection:
    section = getattr(recipe, key)
    if section is None:
        raise RecipeError(recipe.name, expected=f"a [{key}] section", found="none", do="See docs/recipes.md.")
    return cast("TrainingSection", section)


def _runs(recipe: Recipe, device: str) -> Runs:
    return Runs(recipe.compute.batch_size, recipe.compute.threads, pick_device(device))
