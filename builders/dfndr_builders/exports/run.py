"""`dfndr export`: which kind is written, and to where."""

from __future__ import annotations

from typing import Literal

from dfndr import storage
from dfndr.dataset import Dataset, open_dataset
from dfndr.errors import UsageError
from dfndr.progress import SILENT, Progress
from dfndr_builders.exports.atlas import export_atlas
from dfndr_builders.exports.gallery import export_gallery
from dfndr_builders.exports.parquet import export_parquet

__all__ = ["Kind", "export"]

Kind = Literal["gallery", "atlas", "parquet"]


def export(
    dataset: str | Dataset,
    kind: Kind,
    out: str,
    *,
    rows: int | None = None,
    space: str | None = None,
    progress: Progress = SILENT,
) -> str:
    """Write a dataset, local or remote, into a new folder as another tool reads it, and return what to do with it.

    `rows` takes so many rows, those with the lowest hashes of their uids (200 by default for a gallery, 50,000 for an
    atlas; Parquet has all). `space` is where neighbours are looked for, the first one of pictures by default, or the
    only one whose vectors are written as Parquet. Raises UsageError where the folder holds anything.
    """
    if rows is not None and (rows < 1 or kind == "parquet"):
        expected = "no number of rows: all are written" if kind == "parquet" else "at least 1"
        raise UsageError("--rows", expected=expected, found=str(rows), do="Leave --rows out.")
    opened, folder = open_dataset(dataset) if isinstance(dataset, str) else dataset, _new_folder(out)
    if kind == "parquet":
        return export_parquet(opened, folder, space=space, progress=progress)
    make = export_gallery if kind == "gallery" else export_atlas
    return make(opened, folder, rows=rows, space=space, progress=progress)


def _new_folder(out: str) -> str:
    present = storage.names_in(out) if storage.is_folder(out) else ["a file"] if storage.exists(out) else []
    if present or not out:
        found, do = (repr(present[0]) if present else "no name"), "Choose an empty or new folder for --out."
        raise UsageError(out or "--out", expected="a new folder", found=found, do=do)
    return out
