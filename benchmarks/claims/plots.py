"""Plots of the experiments, made from recorded results alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.claims.experiments import EXPERIMENTS, Row
from benchmarks.claims.results import Measured, Results
from benchmarks.claims.tables import rank_correlation

__all__ = ["drawn"]

_FILTER, _MODEL = "#b5651d", "#1f5f8b"


def drawn(name: str, results: Results, file: Path) -> None:
    """Draw an experiment: means over seeds with their standard deviations, and each seed as a point."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), dpi=110)
    _WAYS[name](axes, EXPERIMENTS[name].rows, results)
    axes.set_title(EXPERIMENTS[name].title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, metadata={"Software": None})
    pyplot.close(figure)


def _bars(axes: Any, rows: Sequence[Row], results: Results) -> None:  # noqa: ANN401
    for place, row in enumerate(reversed(rows)):
        found = results.measured(row.model or row.filter, "accuracy")
        if found is not None:
            axes.barh(place, 100 * found.mean, xerr=100 * found.std, color=_MODEL if row.model else _FILTER, alpha=0.7)
            axes.plot([100 * value for value in found.values], [place] * len(found.values), "k.", markersize=4)
    axes.set_yticks(range(len(rows)), [row.name for row in reversed(rows)], fontsize=8)
    axes.set_xlabel("zero-shot accuracy of the trained model, %")


def _shares(axes: Any, rows: Sequence[Row], results: Results) -> None:  # noqa: ANN401
    shares = [float(row.name.rstrip("%")) for row in rows]
    for title, color, found in (
        ("the filter", _FILTER, [results.measured(row.filter, "accuracy") for row in rows]),
        ("the induced model", _MODEL, [results.measured(row.model, "accuracy") for row in rows]),
    ):
        _line(axes, shares, found, title, color)
    axes.set_ylabel("zero-shot accuracy, %")
    axes.legend(fontsize=8)


def _line(axes: Any, shares: Sequence[float], found: Sequence[Measured | None], title: str, color: str) -> None:  # noqa: ANN401
    there = [(share, one) for share, one in zip(shares, found, strict=True) if one is not None]
    if there:
        means, spreads = (
            [100 * value for value in values] for values in zip(*((one.mean, one.std) for _, one in there), strict=True)
        )
        axes.errorbar([share for share, _ in there], means, spreads, color=color, marker="o", capsize=3, label=title)


def _poisoned(axes: Any, rows: Sequence[Row], results: Results) -> None:  # noqa: ANN401
    _shares(axes, rows, results)
    axes.set_xlabel("unfiltered pairs in the filter's training set, %")


def _photos(axes: Any, rows: Sequence[Row], results: Results) -> None:  # noqa: ANN401
    shares = [float(row.name.rstrip("%")) for row in rows]
    _line(axes, shares, [results.measured(row.filter, "dev_auc") for row in rows], "the filter", _FILTER)
    axes.axhline(50, color="grey", linestyle=":", label="chance")
    axes.set_xlabel("swapped texts in the filter's training set, %")
    axes.set_ylabel("ROC-AUC on 1,000 other pairs, %")
    axes.legend(fontsize=8)


def _kept(axes: Any, rows: Sequence[Row], results: Results) -> None:  # noqa: ANN401
    _shares(axes, rows, results)
    axes.set_xscale("log")
    axes.set_xticks([float(row.name.rstrip("%")) for row in rows], [row.name for row in rows])
    axes.set_xlabel("share of the pool that is kept")


def _scattered(axes: Any, rows: Sequence[Row], results: Results) -> None:  # noqa: ANN401
    left, right = [], []
    for number, row in enumerate(rows):
        one, induced = results.measured(row.filter, "accuracy"), results.measured(row.model, "accuracy")
        if one is not None and induced is not None:
            left.append(100 * one.mean)
            right.append(100 * induced.mean)
            style = {
                "color": f"C{number % 10}",
                "marker": "o" if number < 6 else "s",
                "markersize": 5,
                "elinewidth": 0.7,
            }
            axes.errorbar(left[-1], right[-1], 100 * induced.std, 100 * one.std, label=row.name, ls="", **style)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    if len(left) > 2:
        axes.text(
            0.02, 0.94, f"rank correlation {rank_correlation(left, right):+.2f}", transform=axes.transAxes, fontsize=8
        )
    axes.set_xlabel("zero-shot accuracy of the filter, %")
    axes.set_ylabel("of the induced model, %")


_WAYS: dict[str, Callable[[Any, Sequence[Row], Results], None]] = {
    "a": _bars,
    "b": _poisoned,
    "c": _scattered,
    "d": _bars,
    "e": _bars,
    "f": _kept,
    "g": _photos,
}
