"""The pictures of a finished dataset's rows, found again in the pools of its recipe: to be shown, or to be learnt from.

The recipe of a dataset names paths, and a dataset may come from anywhere: only files of this machine are read, and for
a dataset in a local folder alone, unless a recipe of one's own says where. Who takes a picture compares its sha256 with
the row's.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import DfndrError, RecipeError
from dfndr.format.schema import SPLITS
from dfndr.format.shard import parquet_errors
from dfndr.format.uid import pack_uids

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from dfndr_builders.pools.base import Pool
    from dfndr_builders.recipe import Recipe
    from dfndr_builders.sections.pools import PoolRecipe

__all__ = ["PoolPictures", "pictures_of"]

_SELECTION = re.compile(r"phases/select-[0-9a-f]{12}")


def pictures_of(dataset: Dataset) -> PoolPictures | None:
    """Return what finds the pictures of a dataset's rows, or None where it has no pool in files of this machine.

    Nothing of the pools is read yet. Relative paths of the recipe are taken from the current folder.
    """
    if storage.is_remote(dataset.root):
        return None
    try:
        from dfndr_builders.recipe_file import parse_recipe

        recipe = parse_recipe(dataset.manifest.recipe, "its recipe")
    except (ImportError, RecipeError):  # without the extra `build`; imported, or the recipe of another release
        return None
    return PoolPictures(dataset, recipe) if any(_is_local(pool, Path.cwd()) for pool in recipe.pool) else None


class PoolPictures:
    """Finds the pictures of rows by uid: from the shards that the selection names, else from shard after shard.

    `folder` is given with a recipe that is not the dataset's own: what its paths are relative to.
    """

    def __init__(self, dataset: Dataset, recipe: Recipe, folder: Path | None = None) -> None:
        self._dataset, self._recipe = dataset, recipe
        self._folder, self._is_own = folder or Path.cwd(), folder is None
        self._last = 0

    def tables(self, uids: Collection[str]) -> Iterator[pa.Table]:
        """Yield rows with `uid` and `image` from every shard that may hold some of the uids, each shard once.

        Raises DfndrError where a pool cannot be read.
        """
        pool = self._pool[0]
        shards = [] if pool is None else pool.shards()
        for number in sorted(self._order(uids, len(shards))) if shards else ():
            for table in pool.read(shards[number]) if pool else ():
                yield table.select(["uid", "image"]).drop_null()

    def __call__(self, uids: Collection[str], until: float) -> Iterator[tuple[str, bytes]]:
        """Yield uids with the bytes of their pictures as they are found, until `time.monotonic()` is at `until`.

        Raises DfndrError where a pool cannot be read.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        pool, wanted = self._pool[0], set(uids)
        if pool is None:
            return
        shards = pool.shards()
        for number in self._order(wanted, len(shards)):
            for table in pool.read(shards[number]):
                here = pc.is_in(table["uid"], pa.array(sorted(wanted), pa.string()))
                for row in np.flatnonzero(np.asarray(here, dtype=bool)).tolist():
                    uid, image = table["uid"][row].as_py(), table["image"][row].as_py()
                    if uid in wanted and image:
                        self._last = number
                        wanted.discard(uid)
                        yield uid, image
                if not wanted or time.monotonic() > until:
                    return

    @cached_property
    def _pool(self) -> tuple[Pool | None, bool]:
        """The pools that are there, as one, and whether they are all that the recipe names."""
        from dfndr_builders.opened import open_pool
        from dfndr_builders.pools.joined import Joined

        found: list[Pool] = []
        for given in self._recipe.pool:
            if _is_local(given, self._folder):
                pool = open_pool(given, self._folder, self._recipe.seed)
                try:
                    pool.shards()
                except DfndrError:
                    continue  # it is somewhere else by now: its rows have no picture
                found.append(pool)
        return (Joined(tuple(found)) if found else None), len(found) == len(self._recipe.pool)

    def _order(self, uids: Collection[str], shards: int) -> list[int]:
        """Return the shards to look into, in order: those of the uids, or all from the last one that had any."""
        import numpy as np

        if self._places is None:
            return [(self._last + number) % shards for number in range(shards)]
        packed, owners = self._places
        wanted = pack_uids(uids, "uids").view("S16")[:, 0]
        places = np.minimum(np.searchsorted(packed, wanted), max(len(packed) - 1, 0))
        mine = owners[places[packed[places] == wanted]] if len(packed) else owners
        numbers, counts = np.unique(mine[mine < shards], return_counts=True)
        return [int(numbers[place]) for place in np.argsort(-counts, kind="stable")]

    @cached_property
    def _places(self) -> tuple[npt.NDArray[np.bytes_], npt.NDArray[np.int32]] | None:
        """The uids of the selection in their order, and the pool's shard of each; None where the build left none."""
        import numpy as np
        import pyarrow.parquet as pq

        if not self._is_own:
            return None
        selection = self._dataset.manifest.provenance.get("selection")
        phase = selection.get("phase") if isinstance(selection, dict) else None
        if not isinstance(phase, str) or not _SELECTION.fullmatch(phase) or not self._pool[1]:
            return None
        packed, owners = [np.empty((0, 16), np.uint8)], [np.empty(0, np.int32)]
        try:
            for split in SPLITS:
                path = storage.join(self._dataset.root, phase, f"{split}.parquet")
                if not storage.exists(path):
                    continue
                with storage.open_read(path) as source, parquet_errors(path), pq.ParquetFile(source) as file:
                    for batch in file.iter_batches(columns=["uid", "shard"]):
                        packed.append(pack_uids(batch["uid"].to_pylist(), path))
                        owners.append(np.asarray(batch["shard"], dtype=np.int32))
        except DfndrError:
            return None
        if len(packed) == 1:
            return None
        uids, shards = np.concatenate(packed).view("S16")[:, 0], np.concatenate(owners)
        order = np.argsort(uids, kind="stable")
        return uids[order], shards[order]


def _is_local(given: PoolRecipe, folder: Path) -> bool:
    """Say whether a pool is made here, or lies in files of this machine and not of another one's share."""
    from dfndr_builders.recipe_file import resolve
    from dfndr_builders.sections.pools import Glyphs, Hf

    if isinstance(given, Glyphs | Hf):
        return isinstance(given, Glyphs)
    try:
        paths = [resolve(path, folder) for path in ([given.path] if isinstance(given.path, str) else given.path)]
    except RecipeError:  # an environment variable that is not set
        return False
    return not any(storage.is_remote(path) or path.startswith(("//", "\\\\")) for path in paths)
