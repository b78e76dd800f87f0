"""Tables of the experiments with students in Markdown, and what they say, made from recorded results alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.claims.reinforced_scales import STUDENT_SCALES, StudentScale
from benchmarks.claims.results import Measured

__all__ = ["PAPER", "PARTS", "StudentResults", "equal_samples", "filled_students", "read_students"]

PARTS = ("samples", "costs", "views")
"""The experiments: their marks on the page are `<!-- students-NAME -->`."""

PAPER = {
    "plain": 1.3,
    "teachers and captioner online": 21.1,
    "captions cached, teachers online": 4.1,
    "all cached": 1.3,
}
"""Hours per epoch of 12.8M samples on 8 A100 (Faghri et al. 2025, arXiv 2508.20691)."""


@dataclass(frozen=True)
class StudentResults:
    """Accuracies by (rows, views, captions, samples seen), views 0 for plain training; and what was timed."""

    scale: StudentScale
    accuracies: dict[tuple[int, int, int, int], Measured]
    costs: dict[str, Any]

    def curve(self, views: int, captions: int, lengths: Sequence[int]) -> list[tuple[int, Measured]]:
        """Return (samples seen, accuracy) of one kind of training, for those lengths that were measured."""
        found = [(samples, self.accuracies.get((self.scale.few, views, captions, samples))) for samples in lengths]
        return [(samples, one) for samples, one in found if one is not None]

    @property
    def plain(self) -> list[tuple[int, Measured]]:
        """The curve of plain training."""
        return self.curve(0, 0, self.scale.plain_lengths)

    @property
    def reinforced(self) -> list[tuple[int, Measured]]:
        """The curve of training on all views and captions."""
        return self.curve(self.scale.views, self.scale.captions, self.scale.reinforced_lengths)


def read_students(file: Path) -> StudentResults:
    """Read what `benchmarks.claims.reinforced` wrote."""
    told = json.loads(file.read_text())
    values: dict[tuple[int, int, int, int], list[float]] = {}
    for record in sorted(told["records"], key=lambda record: int(record["seed"])):
        run = record["run"]
        values.setdefault((run["rows"], run["views"], run["captions"], run["samples"]), []).append(record["accuracy"])
    scale = STUDENT_SCALES[told["about"]["scale"]]
    return StudentResults(scale, {key: Measured(tuple(found)) for key, found in values.items()}, told["costs"])


def equal_samples(curve: Sequence[tuple[int, Measured]], accuracy: float) -> float | None:
    """Return the samples at which a curve of means reaches an accuracy, between two lengths on a logarithmic scale.

    0 where the shortest length is above it already, None where no length reaches it.
    """
    if not curve or max(one.mean for _, one in curve) < accuracy:
        return None
    place = next(place for place, (_, one) in enumerate(curve) if one.mean >= accuracy)
    if place == 0:
        return 0.0 if curve[0][1].mean > accuracy else float(curve[0][0])
    (fewer, low), (more, high) = curve[place - 1], curve[place]
    part = (accuracy - low.mean) / (high.mean - low.mean)
    return math.exp(math.log(fewer) + part * (math.log(more) - math.log(fewer)))


def _samples(results: StudentResults) -> Iterator[str]:
    lengths = sorted({samples for samples, _ in (*results.plain, *results.reinforced)})
    plain, reinforced = dict(results.plain), dict(results.reinforced)
    head = ["samples seen", "plain", "reinforced", "reinforced needs for plain's accuracy", "times fewer"]
    rows = []
    for samples in lengths:
        row = [f"{samples:,}", _percent(plain.get(samples)), _percent(reinforced.get(samples)), "", ""]
        if samples in plain:
            needed = equal_samples(results.reinforced, plain[samples].mean)
            least = results.reinforced[0][0] if results.reinforced else 0
            if needed is None:
                row[3:] = ["not reached", ""]
            elif needed == 0:
                row[3:] = [f"fewer than {least:,}", f"more than {samples / least:.1f}"]
            else:
                row[3:] = [f"{needed:,.0f}", f"{samples / needed:.1f}"]
        rows.append(row)
    yield _markdown(head, rows)
    best = max(results.plain, key=lambda point: point[1].mean, default=None)
    if best is not None:
        needed = equal_samples(results.reinforced, best[1].mean)
        told = "no reinforced training reaches it" if needed is None else _times(best[0], needed, results)
        yield f"- the best plain training, {_percent(best[1])} after {best[0]:,} samples: {told}"
    if results.reinforced:
        samples, one = results.reinforced[-1]
        yield f"- the longest reinforced training, {samples:,} samples: {_percent(one)}"
    scale = results.scale
    samples = min(scale.plain_lengths[-1], scale.reinforced_lengths[-1])
    plain_there, taught = (
        results.accuracies.get((scale.rows, *pair, samples)) for pair in ((0, 0), (scale.views, scale.captions))
    )
    if plain_there is not None and taught is not None:
        told = f"plain {_percent(plain_there)}, reinforced {_percent(taught)}"
        yield f"- with {scale.rows:,} rows in place of {scale.few:,}, {samples:,} samples: {told}"


def _times(samples: int, needed: float, results: StudentResults) -> str:
    if needed == 0:
        return f"reinforced training has it before {results.reinforced[0][0]:,} samples"
    return f"reinforced training has it after {needed:,.0f}, {samples / needed:.1f} times fewer"


def _costs(results: StudentResults) -> Iterator[str]:
    found = results.costs
    if not found:
        return
    medians = {mode: median(values) for mode, values in found["milliseconds"].items()}
    rows = [
        [
            mode,
            f"{medians[mode]:.2f}",
            f"{min(values):.2f} to {max(values):.2f}",
            f"{medians[mode] / medians['plain']:.1f}",
            f"{PAPER[mode] / PAPER['plain']:.1f}",
        ]
        for mode, values in found["milliseconds"].items()
    ]
    yield _markdown(["an epoch with", "ms a sample, median", "all rounds", "times plain", "paper, times plain"], rows)
    seconds, rows_made = found["generation_s"], found["rows"]
    saved_s = (medians["teachers and captioner online"] - medians["all cached"]) / 1000 * rows_made
    teachers_s = (medians["captions cached, teachers online"] - medians["all cached"]) / 1000 * rows_made
    epochs = seconds / (medians["all cached"] / 1000 * rows_made)
    yield (
        f"- making the dataset of {rows_made:,} rows, {found['views']} views and {found['captions']} captions each, "
        f"took {seconds:,.0f} s: as long as {epochs:.0f} epochs of training on it"
    )
    yield (
        f"- against teachers and captioner online it is paid back after {seconds / saved_s:.1f} epochs, "
        f"against teachers online alone after {seconds / teachers_s:.1f}"
    )


def _views(results: StudentResults) -> Iterator[str]:
    scale = results.scale
    for what, keys in (
        ("views", [(count, scale.captions) for count in scale.ablated_views]),
        ("captions", [(scale.views, count) for count in scale.ablated_captions]),
    ):
        counts = [key[what == "captions"] for key in keys]
        found = [results.accuracies.get((scale.few, *key, scale.ablated)) for key in keys]
        other = f"{scale.captions} captions" if what == "views" else f"{scale.views} views"
        rows = [[str(count), _percent(one)] for count, one in zip(counts, found, strict=True)]
        yield _markdown([f"{what}, with {other}", "accuracy"], rows)
    for what, keys in (("view", scale.ablated_views), ("caption", scale.ablated_captions)):
        pairs = [(count, scale.captions) if what == "view" else (scale.views, count) for count in keys]
        measured = [results.accuracies.get((scale.few, *pair, scale.ablated)) for pair in pairs]
        whole = measured[-1]
        if whole is not None and all(one is not None for one in measured):
            near = next(
                count
                for count, one in zip(keys, measured, strict=True)
                if one is not None and one.mean >= whole.mean - max(one.std, whole.std)
            )
            yield f"- within a standard deviation of {keys[-1]} {what}s from {near} {what}{'s' * (near != 1)} on"


def _percent(one: Measured | None) -> str:
    return "" if one is None else f"{one.mean:.1%} ± {one.std:.1%}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def filled_students(text: str, results: StudentResults) -> str:
    """Return a page with what stands between its marks `<!-- students-NAME -->` made anew."""
    for name, made in zip(PARTS, (_samples, _costs, _views), strict=True):
        first, last = f"<!-- students-{name} -->\n", f"<!-- /students-{name} -->"
        if first in text:
            before, rest = text.split(first)
            text = f"{before}{first}" + "\n".join(made(results)).rstrip("\n") + f"\n{last}{rest.split(last)[1]}"
    return text
