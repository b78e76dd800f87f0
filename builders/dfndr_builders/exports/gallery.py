"""A folder that any web server or Hub Space shows: some rows, how scores are spread, and the neighbours of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import FormatError
from dfndr.format.uid import UID
from dfndr.markup import media_type
from dfndr.progress import SILENT, Progress
from dfndr.show import picture_in
from dfndr_builders.exports.chosen import (
    chosen_rows,
    counted,
    first_space,
    nearest_rows,
    rows_at,
    unit_blocks,
    unit_vectors,
)
from dfndr_builders.exports.gallery_page import Gallery, Tile, gallery_page
from dfndr_builders.report.histograms import Histogram, Numbers, column_values, histograms
from dfndr_builders.report.inputs import finite, open_inputs

__all__ = ["export_gallery"]

_ROWS, _NEAREST, _MOST_SCORES = 200, 8, 4
_MOST_BYTES = 1 << 20
_ENDINGS = {"image/jpeg": "jpg", "image/png": "png", "image/gif": "gif", "image/webp": "webp"}


def export_gallery(
    dataset: Dataset, out: str, *, rows: int | None = None, space: str | None = None, progress: Progress = SILENT
) -> str:
    """Write `index.html`, `thumbs/` and a README.md for a static Space; 200 rows unless `rows` says otherwise.

    The neighbours are the 8 nearest of all rows, by a full pass over the space's vectors. A thumbnail that is no
    JPEG, PNG, GIF or WebP, or is larger than 1 MiB, is not written.
    """
    found = first_space(dataset, space)
    chosen = chosen_rows(dataset, _ROWS if rows is None else rows)
    near, cosines = np.empty((len(chosen), 0), dtype=np.int64), np.empty((len(chosen), 0), dtype=np.float32)
    if found is not None and len(chosen):
        queries = unit_vectors(dataset, found, chosen)
        with progress.task("neighbours", len(dataset)) as task:
            near, cosines = nearest_rows(queries, chosen, counted(unit_blocks(dataset, found), task), _NEAREST)
    tiles = _tiles(dataset, out, np.unique(np.concatenate([chosen, near.reshape(-1)])), progress)
    order = _by_score(chosen, tiles)
    gallery = Gallery(
        dataset.manifest,
        dataset.digest,
        [tiles[int(chosen[place])] for place in order],
        [
            [(tiles[row], cosine) for row, cosine in zip(near[place].tolist(), cosines[place].tolist(), strict=True)]
            for place in order
        ],
        found.name if found is not None else None,
        _histograms(dataset),
        next(iter(_scores(dataset)), None),
    )
    storage.put(out, "README.md", _readme(dataset).encode("utf-8"))
    storage.put(out, "index.html", gallery_page(gallery).encode("utf-8"))
    return f"{storage.join(out, 'index.html')}: {len(chosen):,} of {len(dataset):,} rows"


def _tiles(
    dataset: Dataset, out: str, rows: np.ndarray[Any, np.dtype[np.int64]], progress: Progress
) -> dict[int, Tile]:
    """Write the thumbnails of some rows, and return what the page says of each, by row number."""
    there = dataset.schema().names
    by = next(iter(_scores(dataset)), "")
    columns = [name for name in ("uid", "text", "thumbnail", "source", by) if name in there]
    tiles: dict[int, Tile] = {}
    with progress.task("thumbnails", len(rows)) as task:
        for start in range(0, len(rows), 1_000):
            part = rows[start : start + 1_000]
            for row, given in zip(part.tolist(), rows_at(dataset, part, columns).to_pylist(), strict=True):
                if not UID.fullmatch(str(given["uid"])):  # it becomes a file's name
                    found, do = f"{str(given['uid'])[:80]!r}", "Run `dfndr verify` on the dataset."
                    raise FormatError(f"{dataset.root}, row {row}", expected="a uid", found=found, do=do)
                data = picture_in(given.get("thumbnail"))
                kind = media_type(data) if data is not None and len(data) <= _MOST_BYTES else None
                path = None if kind is None else f"thumbs/{given['uid']}.{_ENDINGS[kind]}"
                if path is not None and data is not None:
                    storage.put(out, path, data)
                tiles[row] = Tile(given["uid"], given.get("text"), path, finite(given.get(by)), given.get("source"))
                task.advance(1)
    return tiles


def _by_score(chosen: np.ndarray[Any, np.dtype[np.int64]], tiles: Mapping[int, Tile]) -> list[int]:
    scores = [tiles[row].score for row in chosen.tolist()]
    return sorted(range(len(scores)), key=lambda place: (-(scores[place] or 0.0), place))


def _scores(dataset: Dataset) -> list[str]:
    """Return the score columns, first the one that was selected by."""
    there = dataset.schema().names
    return [name for name in open_inputs(dataset.root).score_names() if name in there][:_MOST_SCORES]


def _histograms(dataset: Dataset) -> list[Histogram]:
    names = _scores(dataset)

    def values() -> Iterator[dict[str, Numbers]]:
        for table in dataset.tables(names) if names else ():
            yield {name: column_values(table[name]) for name in names}

    return histograms(None, values, names) if names else []


def _readme(dataset: Dataset) -> str:
    title = json.dumps(dataset.manifest.name)
    return f"---\ntitle: {title}\nsdk: static\napp_file: index.html\npinned: false\n---\n"
