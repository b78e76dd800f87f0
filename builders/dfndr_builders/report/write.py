"""`dfndr report`: from a dataset to the file of the page."""

from __future__ import annotations

from dataclasses import replace

from dfndr import storage
from dfndr.errors import DataError, UsageError
from dfndr_builders.report.facts import Facts, gather
from dfndr_builders.report.inputs import Inputs, open_inputs
from dfndr_builders.report.page import page

__all__ = ["report"]


def report(dataset_path: str, *, out: str | None = None) -> str:
    """Write the page about a dataset, local or remote, and return where it is.

    That is `<name>-report.html` in the present folder, unless `out` says otherwise: files in a dataset's own folder
    belong to its manifest. Raises FormatError where there is no dataset, or it is damaged, and UsageError where `out`
    names no page: whatever is there is replaced.
    """
    if out is not None and not out.lower().endswith((".html", ".htm")):
        do = "Give the page such a name: it takes the place of what is there."
        raise UsageError("--out", expected="a file whose name ends in .html", found=repr(out), do=do)
    given = open_inputs(dataset_path)
    target = out if out is not None else f"{given.dataset.manifest.name}-report.html"
    folder, _, name = target.rpartition("/")
    storage.put(folder or ("/" if target.startswith("/") else ""), name, page(_gathered(given)).encode("utf-8"))
    return target


def _gathered(given: Inputs) -> Facts:
    """Gather the facts; without the table of scores where that is damaged, for it is no part of the dataset."""
    try:
        return gather(given)
    except DataError as error:
        if given.scores is None:
            raise
        told = f"the table of scores of all rows, which cannot be read: {error.found}"
        return gather(replace(given, scores=None, missing=(*given.missing, told)))
