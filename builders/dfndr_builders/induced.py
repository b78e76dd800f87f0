"""The model that a selection induces: one CLIP training, the same whatever was kept (arXiv 2309.17425, section 3)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dfndr import storage
from dfndr.dataset import open_dataset
from dfndr.errors import RecipeError, UsageError
from dfndr.format.manifest import MANIFEST
from dfndr.format.schema import SPLITS
from dfndr.format.uid import pack_uids
from dfndr_builders.clip.spec import TrainingSpec
from dfndr_builders.opened import open_pools
from dfndr_builders.pools.base import Pool
from dfndr_builders.pools.kept import Kept
from dfndr_builders.recipe import Recipe
from dfndr_builders.recipe_file import resolve_weights
from dfndr_builders.select import read_selection
from dfndr_builders.uid_lists import read_uids

__all__ = ["kept_uids", "open_induced"]


def open_induced(recipe: Recipe, folder: Path, device: str, *, kept: str | None = None) -> tuple[TrainingSpec, Pool]:
    """Return what the trainer is given for a recipe's [clip]: the recipe's pools, or what of them was kept.

    `folder` is where the recipe lies, `kept` what `kept_uids` takes. Raises RecipeError where there is no [clip].
    """
    if recipe.clip is None:
        raise RecipeError(recipe.name, expected="a [clip] section", found="none", do="See docs/recipes.md.")
    spec = recipe.clip.spec(seed=recipe.seed, threads=recipe.compute.threads, device=device)
    if spec.pretrained is not None:
        spec = replace(spec, pretrained=resolve_weights(spec.pretrained, folder))
    pool = open_pools(recipe.pool, folder, recipe.seed)
    return spec, pool if kept is None else Kept(pool, kept_uids(kept))


def kept_uids(path: str) -> npt.NDArray[np.uint8]:
    """Return the uids, packed, of a dataset (a table of scores is one), of a phase of selection, or of a list.

    Of a dataset and a selection both splits count. Raises UsageError for anything else, and what `read_uids` raises.
    """
    if storage.exists(storage.join(path, MANIFEST)):
        rows = open_dataset(path).rows(["uid"])
        return pack_uids(rows["uid"].to_pylist(), path)
    selection = read_selection(path)
    if selection is not None:
        splits = [split for split in SPLITS if selection.rows[split]]
        pieces = [read_uids(storage.join(path, f"{split}.parquet")) for split in splits]
        return np.concatenate([np.zeros((0, 16), dtype=np.uint8), *pieces])
    if storage.is_folder(path):
        found, do = "a folder without either", "Name the dataset's own folder, or a list of uids."
        raise UsageError(path, expected="a dataset or a selection", found=found, do=do)
    return read_uids(path)
