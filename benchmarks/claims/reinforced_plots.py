"""Plots of the experiments with students, made from recorded results alone."""

from __future__ import annotations

from pathlib import Path

from benchmarks.claims.reinforced_tables import StudentResults

__all__ = ["drawn_students"]

_PLAIN, _REINFORCED = "#b5651d", "#1f5f8b"


def drawn_students(results: StudentResults, folder: Path) -> None:
    """Draw accuracy against samples seen, and against views and captions: means over seeds and standard deviations."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9.6, 3.6), dpi=110, width_ratios=(3, 2))
    for curve, color, label in ((results.plain, _PLAIN, "plain"), (results.reinforced, _REINFORCED, "reinforced")):
        if curve:
            means, spreads = [100 * one.mean for _, one in curve], [100 * one.std for _, one in curve]
            samples = [samples for samples, _ in curve]
            left.errorbar(samples, means, spreads, color=color, marker="o", capsize=3, label=label)
    left.set_xscale("log", base=2)
    left.set_xticks(*_ticks(sorted({samples for samples, _ in (*results.plain, *results.reinforced)})))
    left.set_xlabel("samples seen")
    left.set_ylabel("zero-shot accuracy, %")
    left.legend(fontsize=8)
    scale = results.scale
    for counts, key, label, color in (
        (scale.ablated_views, lambda count: (count, scale.captions), "views", _REINFORCED),
        (scale.ablated_captions, lambda count: (scale.views, count), "captions", "#4b8f4b"),
    ):
        found = [(count, results.accuracies.get((scale.few, *key(count), scale.ablated))) for count in counts]
        there = [(count, one) for count, one in found if one is not None]
        if there:
            means, spreads = [100 * one.mean for _, one in there], [100 * one.std for _, one in there]
            places = [count + 1 for count, _ in there]  # 0 captions have a place on a logarithmic axis too
            right.errorbar(places, means, spreads, color=color, marker="o", capsize=3, label=label)
    right.set_xscale("log", base=2)
    every = sorted({*scale.ablated_views, *scale.ablated_captions})
    right.set_xticks([count + 1 for count in every], [str(count) for count in every])
    right.set_xlabel(f"how many of each row, {scale.ablated:,} samples seen")
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.minorticks_off()
    figure.tight_layout()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "claims-students.png", metadata={"Software": None})
    pyplot.close(figure)


def _ticks(samples: list[int]) -> tuple[list[int], list[str]]:
    return samples, [f"{count / 1000:g}k" if count < 1_000_000 else f"{count / 1e6:g}M" for count in samples]
