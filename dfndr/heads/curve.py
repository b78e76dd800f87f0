"""The loss curve of a training run: one point per step, kept as CSV and drawn as a picture."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

from dfndr import storage

__all__ = ["CurvePoint", "draw_curve", "write_curve"]

_log = logging.getLogger(__name__)
_INK, _FAINT, _LINE = "#1f2937", "#9ca3af", "#2563eb"


@dataclass(frozen=True)
class CurvePoint:
    """One step: its number from 1 up, its loss, and the learning rate and logit scale it was made with."""

    step: int
    loss: float
    learning_rate: float
    logit_scale: float


def write_curve(folder: str | os.PathLike[str], curve: Sequence[CurvePoint], *, title: str, subtitle: str = "") -> None:
    """Write `curve.csv` and, where matplotlib is installed, `curve.png`."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([field.name for field in fields(CurvePoint)])
    writer.writerows(astuple(point) for point in curve)
    storage.put(os.fspath(folder), "curve.csv", table.getvalue().encode())
    try:
        picture = draw_curve(curve, title=title, subtitle=subtitle)
    except ModuleNotFoundError as error:
        _log.info("no curve.png: %s", error)
        return
    storage.put(os.fspath(folder), "curve.png", picture)


def draw_curve(curve: Sequence[CurvePoint], *, title: str, subtitle: str = "") -> bytes:
    """Draw the loss of each step, faint, and its running mean; return a PNG. Raises ModuleNotFoundError."""
    from matplotlib.figure import Figure

    steps, losses = [point.step for point in curve], [point.loss for point in curve]
    width = max(1, len(losses) // 50)
    figure = Figure(figsize=(8, 4.5), dpi=150, facecolor="white")
    axes = figure.add_axes((0.09, 0.13, 0.83, 0.67))
    axes.plot(steps, losses, color=_LINE, alpha=0.25, linewidth=0.8)
    axes.plot(steps, _running_mean(losses, width), color=_LINE, linewidth=2)
    axes.annotate(
        f"{losses[-1]:.3f}", (steps[-1], losses[-1]), xytext=(6, 0), textcoords="offset points",
        color=_LINE, va="center", fontsize=9, annotation_clip=False,
    )  # fmt: skip
    axes.set_xlim(steps[0], max(steps[-1], steps[0] + 1))
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.8)
    axes.tick_params(colors=_FAINT, labelcolor=_INK, length=0, labelsize=9)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)
    axes.set_xlabel("step" if width == 1 else f"step (bold: mean of the last {width})", color=_INK, fontsize=10)
    axes.set_ylabel("loss", color=_INK, fontsize=10)
    figure.text(0.09, 0.915, title, color=_INK, fontsize=13, fontweight="bold")
    figure.text(0.09, 0.855, subtitle, color="#6b7280", fontsize=9.5)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _running_mean(values: Sequence[float], width: int) -> list[float]:
    """Return, for each value, the mean of the last `width` values, itself among them."""
    means, total = [], 0.0
    for place, value in enumerate(values):
        total += value - (values[place - width] if place >= width else 0.0)
        means.append(total / min(place + 1, width))
    return means
