"""The folder that a build writes to: claimed for one build at a time, and swept of what earlier ones left."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import get_args

from dfndr import storage
from dfndr.errors import FormatError, UsageError
from dfndr.format.manifest import MANIFEST, Manifest, read_manifest
from dfndr.format.schema import Modality
from dfndr.locks import locked
from dfndr_builders.engines.claims import TURNS, joined
from dfndr_builders.work import records_folder

__all__ = ["LOCK", "claimed", "sweep"]

LOCK = ".dfndr-lock"
"""The file that whoever changes a dataset's folder holds locked."""

_OURS = re.compile(
    r"(train|validation)-[0-9]{5,}-[0-9a-f]{8}\.(parquet|npy)|[0-9]{5,}\.(json|origin|strike-[0-9])|claims"
    r"|(duplicates|contaminated|rows|log)-[0-9a-f]{8}\.parquet"
)
_FOLDERS = ("rows", "problems", "models", "audit", "removed", *get_args(Modality))


@contextmanager
def claimed(
    root: str, recipe_digest: str, *, replace: bool = False, shared: bool = False
) -> Iterator[Callable[[], None]]:
    """Hold an output folder for one build; raises UsageError where it holds something else, or a build runs there.

    `shared` lets other processes that say so hold it too, for the same recipe. Yields what raises StorageError where
    the folder was lost to another build, which can happen at S3.
    """
    if storage.is_remote(root) and shared:
        do = "Build into a folder that the tasks share, and copy it; or take --engine ray."
        raise UsageError(root, expected="a folder that can hold locks", found="a remote one", do=do)
    if not root or (storage.exists(root) and not storage.is_folder(root)):
        found = "a file" if root else "no name"
        raise UsageError(root or "--out", expected="a folder to build into", found=found, do="Choose another --out.")
    present = [name for name in storage.names_in(root) if name != TURNS]
    if present and LOCK not in present and MANIFEST not in present:
        do = "Choose an empty or new folder for --out."
        raise UsageError(root, expected="a new folder, or one that a build made", found=f"{present[0]!r} in it", do=do)
    if MANIFEST in present:
        there = _manifest_there(root)
        if there.recipe_digest != recipe_digest and not replace:
            found = f"dataset {there.name!r} of recipe {there.recipe_digest[:12]}, not {recipe_digest[:12]}"
            do = "Choose another --out, or pass --replace to build this recipe here (what can be used again is)."
            raise UsageError(root, expected="no dataset of another recipe", found=found, do=do)
    if shared:
        with joined(root, LOCK, recipe_digest):
            yield lambda: None
        return
    with locked(root, LOCK) as check:
        yield check


def _manifest_there(root: str) -> Manifest:
    """Read the manifest in the way, also where it is to be replaced: nothing is swept but among a dataset's files."""
    try:
        return read_manifest(root)
    except FormatError as error:
        do = f"Choose another --out; if a build made this folder, delete {MANIFEST} in it and run the build again."
        raise FormatError(error.where, expected=error.expected, found=error.found, do=do) from error


def sweep(root: str, manifest: Manifest, *, folders: Sequence[str] = (*_FOLDERS, "shards")) -> None:
    """Delete what earlier builds left in some folders of a finished dataset and its manifest does not name."""
    wanted = {stored.path for shard in manifest.shards for stored in shard.files.values()}
    wanted |= {stored.path for stored in manifest.files.values()}
    records = records_folder("", str(manifest.provenance.get("phase"))).lstrip("/")
    wanted |= {f"{records}/{shard.index:05d}.{kind}" for shard in manifest.shards for kind in ("json", "origin")}
    for folder in folders:
        for path in storage.list_files(storage.join(root, folder)):
            is_ours = folder == "models" or _OURS.fullmatch(path.rpartition("/")[2])
            if is_ours and f"{folder}/{path}" not in wanted:
                storage.remove(storage.join(root, folder, path))
