"""`dfndr export`: which kind is written, and to where."""

from __future__ import annotations

from typing import Literal

from dfndr import storage
from dfndr.dataset import Dataset, open_dataset
from dfndr.errors import UsageError
from dfndr.progress import SILENT, Progress
from dfndr_builders.exports.atlas import export_atlas
from dfndr_builders.exports.clip_retrieval import export_clip_retrieval
from dfndr_builders.exports.datacomp import export_datacomp
from dfndr_builders.exports.dr import export_dr
from dfndr_builders.exports.dr_pictures import find_at
from dfndr_builders.exports.dr_sample import Form
from dfndr_builders.exports.gallery import export_gallery
from dfndr_builders.exports.parquet import export_parquet

__all__ = ["Kind", "export"]

Kind = Literal["gallery", "atlas", "parquet", "dr", "clip-retrieval", "datacomp"]

_SOME_ROWS = ("gallery", "atlas")
_NO_SPACE = ("dr", "datacomp")


def export(
    dataset: str | Dataset,
    kind: Kind,
    out: str,
    *,
    rows: int | None = None,
    space: str | None = None,
    form: Form | None = None,
    pictures: str | None = None,
    progress: Progress = SILENT,
) -> str:
    """Write a dataset, local or remote, as another tool reads it, and return what to do with it.

    `rows` takes so many rows, those with the lowest hashes of their uids (200 by default for a gallery, 50,000 for an
    atlas; the other kinds have all). `space` is where neighbours are looked for, the first one of pictures by default,
    the only one whose vectors are written as Parquet, or that of the encoder that clip-retrieval gets. `form` and
    `pictures` say how tars of kind `dr` look. A gallery and an atlas need a new folder; the others go on where they
    stopped. Raises UsageError where the folder holds anything else, or an option is not of this kind.
    """
    _check(kind, rows=rows, space=space, form=form, pictures=pictures)
    opened = open_dataset(dataset) if isinstance(dataset, str) else dataset
    if kind == "parquet":
        return export_parquet(opened, out, space=space, progress=progress)
    if kind == "clip-retrieval":
        return export_clip_retrieval(opened, out, space=space, progress=progress)
    if kind == "datacomp":
        return export_datacomp(opened, out, progress=progress)
    if kind == "dr":
        find = None if pictures is None else find_at(opened, pictures)
        return export_dr(opened, out, form=form or Form(), pictures=pictures, find=find, progress=progress)
    make = export_gallery if kind == "gallery" else export_atlas
    return make(opened, _new_folder(out), rows=rows, space=space, progress=progress)


def _check(kind: Kind, *, rows: int | None, space: str | None, form: Form | None, pictures: str | None) -> None:
    """Raise UsageError for an option that has no meaning for the kind."""
    if rows is not None and (rows < 1 or kind not in _SOME_ROWS):
        expected = "at least 1" if kind in _SOME_ROWS else "no number of rows: all are written"
        raise UsageError("--rows", expected=expected, found=str(rows), do="Leave --rows out.")
    if space is not None and kind in _NO_SPACE:
        raise UsageError("--space", expected="none: all spaces are written", found=repr(space), do="Leave it out.")
    if kind != "dr" and (form not in (None, Form()) or pictures is not None):
        option = "--pictures" if pictures is not None else "--bfloat16, --legacy"
        raise UsageError(option, expected="the kind dr", found=kind, do="Leave it out.")


def _new_folder(out: str) -> str:
    present = storage.names_in(out) if storage.is_folder(out) else ["a file"] if storage.exists(out) else []
    if present or not out:
        found, do = (repr(present[0]) if present else "no name"), "Choose an empty or new folder for --out."
        raise UsageError(out or "--out", expected="a new folder", found=found, do=do)
    return out
