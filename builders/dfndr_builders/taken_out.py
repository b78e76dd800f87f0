"""What was taken out of the dataset that a build works on stays out: a build that would bring it back is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow.parquet as pq

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr.format.manifest import MANIFEST, Manifest, read_manifest
from dfndr.format.removed import LOG, hashed_uid, read_log
from dfndr.format.shard import parquet_errors
from dfndr.storage import Stored

__all__ = ["TakenOut"]

_DO = (
    "Put the list that was given to `dfndr remove` into the file that [select] exclude names, so that the recipe says "
    "so too, and build with --replace, or into another folder."
)


@dataclass(frozen=True)
class TakenOut:
    """The removal log of the dataset in an output folder: the hashes of the uids that were ever taken out of it."""

    root: str = ""
    hashes: frozenset[str] = field(default_factory=frozenset)
    files: tuple[tuple[str, Stored], ...] = ()
    """The log itself, by its role: a new dataset in the folder keeps it."""

    @classmethod
    def of(cls, root: str, recipe_digest: str) -> TakenOut:
        """Read the log in an output folder, empty where there is none.

        Raises UsageError where the dataset there is one of this very recipe, which knows nothing of what was removed.
        """
        if not storage.exists(storage.join(root, MANIFEST)):
            return cls()
        manifest = read_manifest(root)
        if LOG not in manifest.files:
            return cls()
        if manifest.removals and manifest.recipe_digest == recipe_digest:
            found = f"one that {_rows(manifest):,} rows were removed from, which a build would bring back"
            raise UsageError(root, expected="no dataset, or one as it was built", found=found, do=_DO)
        stored = manifest.files[LOG]
        entries = read_log(str(Dataset(root, manifest).local_file(stored)))
        return cls(root, frozenset(entry.uid_sha256 for entry in entries), ((LOG, stored),))

    def check(self, paths: Iterator[str]) -> None:
        """Raise UsageError where Parquet files of selected rows hold a uid that was taken out."""
        back: list[str] = []
        for path in paths if self.hashes else ():
            with storage.open_read(path) as file, parquet_errors(path), pq.ParquetFile(file) as rows:
                for batch in rows.iter_batches(columns=["uid"]):
                    back += [uid for uid in batch.column(0).to_pylist() if hashed_uid(uid) in self.hashes]
        if back:
            found = f"{len(back):,} of them selected, such as {back[0]}"
            raise UsageError(self.root, expected="no row that was removed from the dataset", found=found, do=_DO)


def _rows(manifest: Manifest) -> int:
    return sum(removal.rows for removal in manifest.removals)
