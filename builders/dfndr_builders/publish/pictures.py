"""The two pictures of a published card: how the scores are spread, and some of the samples."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import Any

import pyarrow.compute as pc

from dfndr.dataset import Dataset
from dfndr.errors import MissingExtra
from dfndr.images import BadImage, decode
from dfndr_builders.report.histograms import Histogram, Numbers, Values, column_values, histograms
from dfndr_builders.report.inputs import open_inputs

__all__ = ["SAMPLES", "SCORES", "draw_samples", "draw_scores", "pictures"]

SCORES, SAMPLES = "card/scores.png", "card/samples.png"
_COLUMNS, _LINES, _CELL = 8, 4, 96
_MOST_SCORES = 4
_BEFORE, _AFTER = "#c9ced6", "#2f6db5"


def pictures(dataset: Dataset) -> dict[str, tuple[bytes, str]]:
    """Return PNG files by path, and what each shows; those that the dataset has nothing for are left out."""
    shows = {
        SCORES: (draw_scores(dataset), "Histograms of the scores, before and after selection"),
        SAMPLES: (draw_samples(dataset), "Some of the samples, chosen by a hash of their uid"),
    }
    return {path: (data, about) for path, (data, about) in shows.items() if data is not None}


def draw_scores(dataset: Dataset) -> bytes | None:
    """Return histograms of the scores: of all scored rows too where the build's phases are still there."""
    given = open_inputs(dataset.root)
    there = set(dataset.schema().names)
    names = [name for name in given.score_names() if name in there][:_MOST_SCORES]
    before = _values(given.scores, names) if given.scores is not None else None
    marks = {given.by: [given.cut]} if given.by is not None and given.cut is not None else {}
    drawn = histograms(before, _values(dataset, names), names, marks=marks) if names else []
    return _plot(drawn) if drawn else None


def _values(dataset: Dataset, names: list[str]) -> Values:
    def tables() -> Iterator[dict[str, Numbers]]:
        there = [name for name in names if name in dataset.schema().names]
        for table in dataset.tables(there) if there else ():
            yield {name: column_values(table[name]) for name in there}

    return tables


def _plot(drawn: list[Histogram]) -> bytes:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra.of("matplotlib", "build") from error
    figure = Figure(figsize=(4.2 * len(drawn), 2.8), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, one in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
        before = one.before if one.before is not None and one.before.any() else None  # none of a score made of others
        if before is not None:
            axes.stairs(before, one.edges, fill=True, color=_BEFORE, label="scored")
        axes.stairs(one.after, one.edges, fill=True, color=_AFTER, label="kept")
        axes.set_title(one.column, fontsize=10)
        axes.set_ylabel("rows", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        if one.is_log:
            axes.set_xscale("log")
        if before is not None:
            axes.legend(fontsize=8, frameon=False)
    target = io.BytesIO()
    figure.savefig(target, format="png", metadata={"Software": None})
    return target.getvalue()


def draw_samples(dataset: Dataset) -> bytes | None:
    """Return a grid of the thumbnails of the rows with the lowest hashes of their uid, None where there are none."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra.of("pillow", "build") from error
    small = [picture for picture in map(_decoded, _chosen(dataset)) if picture is not None]
    if not small:
        return None
    lines = -(-len(small) // _COLUMNS)
    grid = Image.new("RGB", (min(len(small), _COLUMNS) * _CELL, lines * _CELL), "white")
    for place, picture in enumerate(small):
        picture.thumbnail((_CELL - 4, _CELL - 4))
        left, top = place % _COLUMNS * _CELL, place // _COLUMNS * _CELL
        grid.paste(picture, (left + (_CELL - picture.width) // 2, top + (_CELL - picture.height) // 2))
    target = io.BytesIO()
    grid.save(target, format="PNG", optimize=True)
    return target.getvalue()


def _chosen(dataset: Dataset) -> list[bytes]:
    """Return up to 32 thumbnails, from the first shards that hold enough rows of which to choose."""
    if not dataset.shards or not {"uid", "thumbnail"} <= set(dataset.schema().names):
        return []
    best: list[tuple[str, bytes]] = []
    for seen, table in enumerate(dataset.tables(["uid", "thumbnail"])):
        images = pc.struct_field(table["thumbnail"].combine_chunks(), "bytes")
        hashes = [hashlib.sha256(uid.encode()).hexdigest() for uid in table["uid"].to_pylist()]
        first = sorted(range(len(hashes)), key=hashes.__getitem__)[: _COLUMNS * _LINES]
        found = [(hashes[row], images[row].as_py()) for row in first if images[row].is_valid]
        best = sorted([*best, *found])[: _COLUMNS * _LINES]
        if seen >= 7:
            break
    return [image for _, image in best]


def _decoded(data: bytes) -> Any:  # noqa: ANN401  a PIL image
    try:
        return decode(data).convert("RGB")
    except BadImage:
        return None
