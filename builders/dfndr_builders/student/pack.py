"""The pictures of a dataset's rows in one file, found by row: packed once from the pools, for access at random.

A folder with `pictures.bin`, `index.npy` (int64, shape (rows, 2): where each row's file begins and how long it is, 0
where there is none) and, written last, `pack.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import DataError
from dfndr.format.uid import pack_uids
from dfndr.images import BadImage, inspect
from dfndr.progress import SILENT, Progress

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

__all__ = ["Missing", "Pack", "Packed", "packed"]

Missing = Literal["refuse", "leave-out"]
"""What becomes of rows whose picture is not found, or is another one than it was."""
_PICTURES, _INDEX, _RECORD = "pictures.bin", "index.npy", "pack.json"


@dataclass(frozen=True)
class Packed:
    """What was packed: rows, how many of them have no picture in the pools, and how many another one; bytes in all."""

    digest: str
    rows: int
    absent: int
    changed: int
    size_bytes: int

    @property
    def without(self) -> int:
        """How many rows have no picture here."""
        return self.absent + self.changed

    def falls_short(self, missing: Missing) -> bool:
        """Say whether nothing can be learnt from it, or not all where nothing is to be left out."""
        return self.without > 0 and (missing == "refuse" or self.without == self.rows)


class Pack:
    """The pictures of a folder, mapped into memory when the first is asked for; it may be sent to another process."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._maps: tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]] | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return Pack, (self._folder,)

    def has(self) -> npt.NDArray[np.bool_]:
        """Say of each row whether it has a picture."""
        found: npt.NDArray[np.bool_] = self._mapped()[0][:, 1] > 0
        return found

    def picture(self, row: int) -> bytes:
        """Return the file of a row's picture, no bytes where there is none."""
        index, pictures = self._mapped()
        start, length = index[row].tolist()
        return pictures[start : start + length].tobytes()

    def _mapped(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        import numpy as np

        if self._maps is None:
            pictures = storage.join(self._folder, _PICTURES)
            index = np.load(storage.join(self._folder, _INDEX), mmap_mode="r", allow_pickle=False)
            empty = not storage.size_of(pictures)  # which cannot be mapped
            self._maps = index, np.empty(0, np.uint8) if empty else np.memmap(pictures, dtype=np.uint8, mode="r")
        return self._maps


def packed(
    dataset: Dataset,
    find: Callable[[list[str]], Iterable[pa.Table]] | None,
    folder: str,
    *,
    missing: Missing = "refuse",
    progress: Progress = SILENT,
) -> tuple[Pack, Packed]:
    """Return the pictures of a dataset's rows, packed into the local `folder` where they are not there yet.

    `find` gives tables of `uid` and `image` in which those of given uids are. A picture is a row's where its sha256 is,
    or, where the dataset has none, where its width and height are. Raises DataError for rows without one, unless they
    are to be left out.
    """
    digest = hashlib.sha256(f"{dataset.digest}\n{[shard.index for shard in dataset.shards]}".encode()).hexdigest()
    record = storage.join(folder, _RECORD)
    told = json.loads(storage.read_bytes(record)) if storage.exists(record) else {}
    about = Packed(**told) if told.get("digest") == digest else None
    if about is None or (find is not None and about.falls_short(missing)):  # pools may have come back meanwhile
        about = _write(dataset, find, folder, digest, progress)
    if about.falls_short(missing):
        do = "Check where the pools lie now (--recipe names a recipe of your own)"
        do += ", or leave these rows out with --missing leave-out." if about.without < about.rows else "."
        found = f"none for {about.absent:,} of {about.rows:,}, and another picture for {about.changed:,}"
        raise DataError(dataset.root, expected="the picture of each row in the pools", found=found, do=do)
    return Pack(folder), about


def _write(
    dataset: Dataset,
    find: Callable[[list[str]], Iterable[pa.Table]] | None,
    folder: str,
    digest: str,
    progress: Progress,
) -> Packed:
    import numpy as np

    wanted = _Wanted(dataset)
    index = np.zeros((len(dataset), 2), dtype=np.int64)
    with progress.task("pack pictures", len(dataset), "pictures") as task:

        def write(file: BinaryIO) -> None:
            at = 0
            for row, image in wanted.among(find(wanted.uids) if find else ()):
                file.write(image)
                index[row] = at, len(image)
                at += len(image)
                task.advance()

        stored = storage.put(folder, _PICTURES, write)
    storage.put(folder, _INDEX, lambda file: np.save(file, index))
    without = int((index[:, 1] == 0).sum())
    made = Packed(digest, len(dataset), without - len(wanted.changed), len(wanted.changed), stored.size_bytes)
    storage.put(folder, _RECORD, json.dumps(asdict(made), indent=1).encode())
    return made


class _Wanted:
    """The rows whose pictures are looked for, by uid."""

    def __init__(self, dataset: Dataset) -> None:
        import numpy as np

        there = dataset.schema().names
        rows = dataset.rows(["uid", *(name for name in ("sha256", "width", "height") if name in there)])
        self.uids: list[str] = rows["uid"].to_pylist()
        self.changed: set[int] = set()
        self._rows, self._found = rows, np.zeros(len(rows), dtype=bool)
        packed = pack_uids(self.uids, "uids").view("S16")[:, 0]
        self._order = np.argsort(packed, kind="stable")
        self._sorted = packed[self._order]

    def among(self, tables: Iterable[pa.Table]) -> Iterator[tuple[int, bytes]]:
        """Yield rows with their picture, each once, and keep in mind those of which only another picture was there."""
        import numpy as np

        for table in tables:
            here = pack_uids(table["uid"].to_pylist(), "pool").view("S16")[:, 0]
            places = np.minimum(np.searchsorted(self._sorted, here), max(len(self._sorted) - 1, 0))
            for place in np.flatnonzero(self._sorted[places] == here).tolist() if len(self._sorted) else ():
                row, image = int(self._order[places[place]]), table["image"][place].as_py()
                if self._found[row] or not image:
                    continue
                if not self._is_that(row, image):
                    self.changed.add(row)
                    continue
                self.changed.discard(row)
                self._found[row] = True
                yield row, image

    def _is_that(self, row: int, image: bytes) -> bool:
        told = {name: self._rows[name][row].as_py() for name in self._rows.schema.names}
        if told.get("sha256") is not None:
            return bool(hashlib.sha256(image).hexdigest() == told["sha256"])
        try:
            width, height, _ = inspect(image)
        except BadImage:
            return False
        return told.get("width") in (None, width) and told.get("height") in (None, height)
