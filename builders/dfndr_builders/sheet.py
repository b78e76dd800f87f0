"""The contact sheet: for each query the nearest pictures with their names, and the scores of kept and dropped pairs."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dfndr import storage
from dfndr.errors import MissingExtra
from dfndr.storage import Stored

__all__ = ["Hit", "Scores", "contact_sheet"]

_INK, _SOFT, _KEPT, _DROPPED, _WRONG = "#1c2430", "#6b7685", "#1f8a83", "#cfd6de", "#d1495b"


@dataclass(frozen=True)
class Hit:
    """One picture that a query found: its encoded bytes, its text and its cosine."""

    picture: bytes
    text: str
    score: float


@dataclass(frozen=True)
class Scores:
    """The scores of a pool, which rows were kept, and, where the truth is known, which texts were wrong."""

    values: npt.NDArray[np.float32]
    kept: npt.NDArray[np.bool_]
    cut: float
    wrong: npt.NDArray[np.bool_] | None = None


def contact_sheet(
    root: str, name: str, *, title: str, subtitle: str, queries: Sequence[tuple[str, Sequence[Hit]]], scores: Scores
) -> Stored:
    """Draw the sheet as a PNG and put it at `root/name`."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra.of("matplotlib", "train") from error
    columns = max(len(hits) for _, hits in queries)
    figure = Figure(figsize=(1.32 * columns + 1.9, 1.75 * len(queries) + 4.3), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    height = figure.get_figheight()
    figure.text(0.03, 1 - 0.42 / height, title, fontsize=17, weight="bold", color=_INK, va="center")
    figure.text(0.03, 1 - 0.78 / height, subtitle, fontsize=10.5, color=_SOFT, va="center")
    top = 1 - 1.15 / height
    grid = figure.add_gridspec(
        len(queries), columns, left=0.14, right=0.985, top=top, bottom=3.2 / height, wspace=0.28, hspace=0.62
    )
    for row, (query, hits) in enumerate(queries):
        for column, hit in enumerate(hits):
            axes = figure.add_subplot(grid[row, column])
            _draw_hit(axes, hit)
            if column == 0:
                words = "\n".join(textwrap.wrap(f"“{query}”", 15))
                axes.text(
                    -0.35, 0.5, words, transform=axes.transAxes, ha="right", va="center", fontsize=12.5,
                    weight="bold", color=_INK,
                )  # fmt: skip
    _draw_scores(figure.add_axes((0.075, 0.62 / height, 0.9, 1.75 / height)), scores)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return storage.put(root, name, buffer.getvalue())


def _draw_hit(axes: Any, hit: Hit) -> None:  # noqa: ANN401
    from PIL import Image

    axes.imshow(np.asarray(Image.open(io.BytesIO(hit.picture)).convert("RGB")), interpolation="lanczos")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#e3e7ec")
    lines = textwrap.wrap(hit.text, 19, max_lines=3, placeholder=" …")
    axes.set_xlabel("\n".join(lines), fontsize=6.8, color=_INK, labelpad=3)
    axes.set_title(f"{hit.score:.2f}", fontsize=6.8, color=_SOFT, pad=2, loc="right")


def _draw_scores(axes: Any, scores: Scores) -> None:  # noqa: ANN401
    width = float(np.ptp(scores.values)) / 70
    below, above = (np.ceil(np.ptp([scores.cut, end]) / width) for end in (scores.values.min(), scores.values.max()))
    edges = scores.cut + width * np.arange(-below, above + 1)  # the cut is an edge, so no bar holds kept and dropped
    kept, dropped = scores.values[scores.kept], scores.values[~scores.kept]
    axes.hist(
        [kept, dropped],
        bins=edges,
        stacked=True,
        color=[_KEPT, _DROPPED],
        label=[f"kept, {len(kept):,}", f"dropped, {len(dropped):,}"],
    )
    if scores.wrong is not None:
        label = f"of them all, with a wrong text: {int(scores.wrong.sum()):,}"
        axes.hist(scores.values[scores.wrong], bins=edges, histtype="step", color=_WRONG, linewidth=1.4, label=label)
    axes.set_ylim(top=axes.get_ylim()[1] * 1.14)  # room for the words above the bars
    axes.axvline(scores.cut, color=_INK, linewidth=1)
    axes.text(scores.cut, axes.get_ylim()[1] * 0.97, f"  cut at {scores.cut:.3f}", fontsize=9, color=_INK, va="top")
    axes.set_xlabel("score: cosine of picture and text by the trained filter", fontsize=9.5, color=_INK)
    axes.set_ylabel("pairs", fontsize=9.5, color=_INK)
    axes.tick_params(labelsize=8.5, colors=_SOFT)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
