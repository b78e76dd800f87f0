"""From what a recipe says of a pool, or of a filter to be trained, to the thing itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from dfndr.errors import RecipeError
from dfndr_builders import recipe as told
from dfndr_builders.dfn import DfnSpec
from dfndr_builders.pools.base import Pool
from dfndr_builders.pools.joined import Joined
from dfndr_builders.recipe import PoolRecipe
from dfndr_builders.recipe_file import resolve, resolve_weights

__all__ = ["open_filter", "open_pool", "open_pools"]


def open_pools(pools: Sequence[PoolRecipe], folder: Path, seed: int) -> Pool:
    """Return the pools of a recipe that lies in `folder`, as one."""
    return Joined(tuple(open_pool(pool, folder, seed) for pool in pools))


def open_pool(given: PoolRecipe, folder: Path, seed: int) -> Pool:
    """Return one pool; nothing is read yet."""
    pool = _plain(given, folder, seed)
    if given.swap_texts is None:
        return pool
    from dfndr_builders.pools.swapped import Swapped

    return Swapped(pool, given.swap_texts, seed)


def open_filter(recipe: told.Recipe, folder: Path, device: str) -> tuple[DfnSpec, Pool]:
    """Return what the trainer is given for the recipe's [dfn]; raises RecipeError where there is none."""
    if recipe.dfn is None:
        raise RecipeError(recipe.name, expected="a [dfn] section", found="none", do="See docs/recipes.md.")
    spec = recipe.dfn.spec(seed=recipe.seed, threads=recipe.compute.threads, device=device)
    if spec.pretrained is not None:
        spec = replace(spec, pretrained=resolve_weights(spec.pretrained, folder))
    return spec, open_pools(recipe.dfn.pool, folder, recipe.seed)


def _plain(given: PoolRecipe, folder: Path, seed: int) -> Pool:
    keep = tuple(given.keep)
    if isinstance(given, told.Glyphs):
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
    if isinstance(given, told.Hf):
        return _hf(given, folder)
    paths = tuple(resolve(path, folder) for path in ([given.path] if isinstance(given.path, str) else given.path))
    kind: Callable[..., Pool]
    if isinstance(given, told.WebDataset):
        from dfndr_builders.pools.webdataset import WebDatasetPool as kind
    elif isinstance(given, told.Folder):
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


def _hf(given: told.Hf, folder: Path) -> Pool:
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
