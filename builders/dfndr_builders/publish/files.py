"""The files of a publication: those that the manifest names, then those of the last commit; and the Hub's limits."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import DataError, FormatError
from dfndr.format.manifest import MANIFEST
from dfndr_builders.card import About, card
from dfndr_builders.card.croissant import CROISSANT, croissant
from dfndr_builders.publish.pictures import pictures

__all__ = [
    "MOST_FILES_IN_A_FOLDER",
    "MOST_FILE_BYTES",
    "README",
    "Upload",
    "batches",
    "data_files",
    "last_files",
    "preflight",
]

README = "README.md"
MOST_FILES_IN_A_FOLDER, MOST_FILE_BYTES = 10_000, 50_000_000_000
"""The limits of https://huggingface.co/docs/hub/storage-limits."""

_BATCH_FILES, _BATCH_BYTES = 200, 20_000_000_000


@dataclass(frozen=True)
class Upload:
    """A file as it is to be at the Hub: from a local path, or made just now."""

    path: str
    size_bytes: int
    sha256: str
    source: Path | bytes

    def checked(self) -> Path | bytes:
        """Return where the content is, after it was hashed; raises FormatError where it is not what was recorded."""
        if isinstance(self.source, Path):
            found = storage.sha256_of(str(self.source))
            if found != self.sha256:
                do = "Run `dfndr verify` on the dataset, then build the file again."
                expected = f"content with sha256 {self.sha256[:16]}..."
                raise FormatError(str(self.source), expected=expected, found=f"{found[:16]}...", do=do)
        return self.source

    def blob_id(self) -> str:
        """Return the id that git gives to the content; reads it whole, so this is for small files."""
        data = self.source.read_bytes() if isinstance(self.source, Path) else self.source
        return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def data_files(dataset: Dataset) -> list[Upload]:
    """Return the files that the manifest names, in its order; raises where one is absent or of another size."""
    manifest, found = dataset.manifest, []
    stored_files = [stored for shard in manifest.shards for stored in shard.files.values()]
    for stored in (*stored_files, *manifest.files.values()):
        local = Path(storage.join(dataset.root, stored.path))
        size = storage.size_of(str(local))
        if size != stored.size_bytes:
            do = "Run `dfndr verify` on the dataset, then build the file again."
            raise FormatError(str(local), expected=f"{stored.size_bytes} bytes", found=f"{size} bytes", do=do)
        found.append(Upload(stored.path, stored.size_bytes, stored.sha256, local))
    return found


def last_files(dataset: Dataset, about: About) -> list[Upload]:
    """Return what goes into the last commit: pictures, card, Croissant, and the manifest, which makes it a dataset."""
    drawn = pictures(dataset)
    told = replace(about, pictures=tuple((path, shows) for path, (_, shows) in drawn.items()))
    made = {path: data for path, (data, _) in drawn.items()}
    made[CROISSANT] = croissant(dataset, about.repo_id)
    made[README] = card(dataset.manifest, told).encode()
    made[MANIFEST] = storage.read_bytes(storage.join(dataset.root, MANIFEST))
    return [Upload(path, len(data), hashlib.sha256(data).hexdigest(), data) for path, data in made.items()]


def preflight(uploads: Sequence[Upload], where: str) -> None:
    """Raise DataError where the Hub would refuse a file or a folder; all that it would refuse is listed."""
    folders = Counter(upload.path.rpartition("/")[0] for upload in uploads)
    found = [
        f"{folder or 'the top'}: {count:,} files (at most {MOST_FILES_IN_A_FOLDER:,})"
        for folder, count in folders.items()
        if count > MOST_FILES_IN_A_FOLDER
    ]
    found += [
        f"{upload.path}: {upload.size_bytes:,} bytes (at most {MOST_FILE_BYTES:,})"
        for upload in uploads
        if upload.size_bytes > MOST_FILE_BYTES
    ]
    if found:
        do = "Build with another [output] rows_per_shard."
        raise DataError(where, expected="files that the Hub takes", found="; ".join(found[:20]), do=do)


def batches(uploads: Sequence[Upload]) -> Iterator[list[Upload]]:
    """Cut uploads into commits of at most 200 files and, but for a file that is larger by itself, 20 GB."""
    batch: list[Upload] = []
    for upload in uploads:
        size = sum(one.size_bytes for one in batch) + upload.size_bytes
        if batch and (len(batch) == _BATCH_FILES or size > _BATCH_BYTES):
            yield batch
            batch = []
        batch.append(upload)
    if batch:
        yield batch
