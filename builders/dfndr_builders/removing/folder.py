"""What removing and compacting share: the folder that they change, and how they leave it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr.format.manifest import Manifest, read_manifest, write_manifest
from dfndr.locks import locked
from dfndr_builders.card import card
from dfndr_builders.output import LOCK

__all__ = ["commit", "held", "today"]

_README = "README.md"


@contextmanager
def held(root: str) -> Iterator[Dataset]:
    """Open a dataset that nobody else changes meanwhile; raises UsageError where it is remote, or no finished one."""
    if storage.is_remote(root):
        do = "Work on the folder that it was published from, or on a copy, and publish that again."
        raise UsageError(root, expected="a local folder", found="a remote one", do=do)
    manifest = read_manifest(root)  # before the lock, which would make the folder
    if manifest.funnel and manifest.funnel[-1].name in ("score", "bank"):
        do = "Take the rows out of the dataset, or put their uids into the list that [select] exclude names."
        raise UsageError(root, expected="a finished dataset", found="a phase of a build", do=do)
    with locked(root, LOCK):
        storage.sweep_temporary(root)
        yield Dataset(root, read_manifest(root))


def commit(dataset: Dataset, manifest: Manifest) -> bool:
    """Write the manifest of what a dataset has become; say whether its card could be written anew.

    A card that somebody has changed, or that was fetched from the Hub with its pictures, stays as it is.
    """
    root = dataset.root
    path, new = storage.join(root, _README), card(manifest).encode()
    is_ours = storage.exists(path) and storage.read_bytes(path) in (card(dataset.manifest).encode(), new)
    if is_ours:
        storage.put(root, _README, new)
    write_manifest(root, manifest)
    return is_ours


def today() -> str:
    """Return the day, in UTC, as the log has it."""
    return datetime.now(UTC).date().isoformat()
