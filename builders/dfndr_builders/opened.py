"""From what a recipe says of a pool, or of a filter to be trained, to the thing itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dfndr import storage
from dfndr.errors import RecipeError
from dfndr_builders.dfn.train import FilterTraining, Stage
from dfndr_builders.measure.image import MeasureImage
from dfndr_builders.measure.language import MeasureLanguage
from dfndr_builders.measure.repair import Repair
from dfndr_builders.measure.text import MeasureText
from dfndr_builders.pools.base import Pool
from dfndr_builders.pools.joined import Joined
from dfndr_builders.recipe import Recipe
from dfndr_builders.recipe_file import read_recipe, resolve, resolve_weights
from dfndr_builders.sections import curation, pools
from dfndr_builders.sections.pools import PoolRecipe
from dfndr_builders.stage import Stage as Measuring

__all__ = ["open_filter", "open_measures", "open_pool", "open_pool_at", "open_pools"]


def open_measures(given: Sequence[curation.MeasureRecipe], folder: Path) -> tuple[list[Measuring], list[object]]:
    """Return the stages that measure, a repair of the texts first, and all that their columns depend on."""
    stages: list[Measuring] = []
    content: list[object] = []
    for measure in given:
        ban: tuple[str, ...] = ()
        if isinstance(measure, curation.MeasureImage):
            stages.append(MeasureImage())
        elif isinstance(measure, curation.MeasureLanguage):
            stages.append(MeasureLanguage(tuple(measure.languages)))
        else:
            ban = () if measure.ban is None else _lines(resolve(measure.ban, folder))
            stages.append(MeasureText(ban))
            stages[:0] = [Repair()] if measure.repair else []
        content.append([measure.model_dump(mode="json"), list(ban), _version_of(measure)])
    return stages, content


def _version_of(measure: curation.MeasureRecipe) -> str:
    """Return the version of the library whose answers a measure stores."""
    return version("lingua-language-detector") if isinstance(measure, curation.MeasureLanguage) else ""


def _lines(path: str) -> tuple[str, ...]:
    try:
        text = storage.read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(path, expected="UTF-8", found=str(error), do="Save the list as UTF-8.") from error
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def open_pools(given: Sequence[PoolRecipe], folder: Path, seed: int) -> Pool:
    """Return the pools of a recipe that lies in `folder`, as one."""
    return Joined(tuple(open_pool(pool, folder, seed) for pool in given))


def open_pool(given: PoolRecipe, folder: Path, seed: int) -> Pool:
    """Return one pool; nothing is read yet."""
    pool = _plain(given, folder, seed)
    if given.mask or given.drop_faces is not None:
        from dfndr_builders.pools.private import Private

        phones = tuple(given.phone_regions) if "phones" in given.mask else ()
        pool = Private(pool, "emails" in given.mask, phones, given.drop_faces)
    if given.swap_texts is not None:
        from dfndr_builders.pools.swapped import Swapped

        pool = Swapped(pool, given.swap_texts, seed)
    if given.templates is None:
        return pool
    from dfndr_builders.pools.templated import Templated

    return Templated(pool, given.templates if isinstance(given.templates, str) else tuple(given.templates), seed)


def open_pool_at(path: str) -> Pool:
    """Return the pools of a recipe (`.toml`), or tars by a pattern; a sample of these goes by the `uid` in its json."""
    if path.endswith(".toml"):
        recipe, _ = read_recipe(path)
        return open_pools(recipe.pool, Path(path).parent, recipe.seed)
    from dfndr_builders.pools.webdataset import WebDatasetPool

    return WebDatasetPool((path,), uid="json:uid")


def open_filter(recipe: Recipe, folder: Path, device: str) -> FilterTraining:
    """Return what a filter is trained by, from the recipe's [dfn]; raises RecipeError where there is none."""
    given = recipe.dfn
    if given is None:
        raise RecipeError(recipe.name, expected="a [dfn] section", found="none", do="See docs/recipes.md.")
    run: dict[str, Any] = {"seed": recipe.seed, "threads": recipe.compute.threads, "device": device}
    spec = given.spec(**run)
    if spec.pretrained is not None:
        spec = replace(spec, pretrained=resolve_weights(spec.pretrained, folder))
    training = FilterTraining(Stage(spec, open_pools(given.pool, folder, recipe.seed)), license=given.license)
    if given.finetune is not None:
        tuned = Stage(given.finetune.spec(**run), open_pools(given.finetune.pool, folder, recipe.seed))
        training = replace(training, finetune=tuned)
    if given.averaging is not None:
        validation = open_pools(given.averaging.pool, folder, recipe.seed)
        training = replace(training, alphas=tuple(given.averaging.alphas), validation=validation)
    return training


def _plain(given: PoolRecipe, folder: Path, seed: int) -> Pool:
    keep = tuple(given.keep)
    if isinstance(given, pools.Glyphs):
        from dfndr_builders.pools.glyphs import GlyphsPool

        return GlyphsPool(
            size=given.size,
            seed=seed,
            count=given.count,
            take=given.take,
            keep=keep,
            source=given.source,
            license=given.license,
        )
    if isinstance(given, pools.Hf):
        return _hf(given, folder)
    paths = tuple(resolve(path, folder) for path in ([given.path] if isinstance(given.path, str) else given.path))
    kind: Callable[..., Pool]
    if isinstance(given, pools.WebDataset):
        from dfndr_builders.pools.webdataset import WebDatasetPool as kind
    elif isinstance(given, pools.Folder):
        from dfndr_builders.pools.folder import FolderPool as kind
    else:
        from dfndr_builders.pools.parquet import ParquetPool as kind
    return kind(
        paths,
        image=given.image,
        text=given.text,
        every_text=given.every_text,
        keep=keep,
        source=given.source,
        license=given.license,
        uid=given.uid,
    )


def _hf(given: pools.Hf, folder: Path) -> Pool:
    from dfndr_builders.pools.hf import HfPool

    local = resolve(given.name, folder)
    return HfPool(
        local if Path(local).exists() else given.name,
        split=given.split,
        config=given.config,
        image=given.image,
        text=given.text,
        every_text=given.every_text,
        keep=tuple(given.keep),
        source=given.source,
        license=given.license,
        uid=given.uid,
    )
