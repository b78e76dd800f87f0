"""The pictures of the page: bars in HTML and SVG, with all words as HTML beside them so that they keep their size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, floor, log10

import numpy as np

from dfndr.format.funnel import Step
from dfndr.markup import Html, element, join
from dfndr_builders.report.histograms import Histogram
from dfndr_builders.report.words import MINUS, number, share, value

__all__ = ["Fall", "bar", "falls", "histogram", "waterfall"]

_MAGNIFY_BELOW = 0.04
_TICKS = 5


class Fall(tuple[str, str, str, int, int]):
    """One line of the waterfall: kind (total, dropped, failed), step, reason, rows before it, rows after it."""

    __slots__ = ()


def falls(funnel: Sequence[Step]) -> Iterator[Fall]:
    """Yield the lines of the waterfall: what comes in, what each reason of each step takes away, and what is left."""
    if not funnel:
        return
    left = funnel[0].rows_in
    yield Fall(("total", "", "the pool", left, left))
    for place, step in enumerate(funnel):
        lost = [("failed", reason, count) for reason, count in step.failed.items() if count]
        lost += [("dropped", reason, count) for reason, count in step.dropped.items() if count]
        for kind, reason, count in sorted(lost, key=lambda one: one[2]):
            yield Fall((kind, step.name, reason, left, left - count))
            left -= count
        more = sum(sum(counts.values()) for later in funnel[place + 1 :] for counts in (later.dropped, later.failed))
        if place == len(funnel) - 1:
            yield Fall(("total", step.name, "the dataset", left, left))
        elif lost and more:
            yield Fall(("total", step.name, f"after {step.name}", left, left))


def waterfall(funnel: Sequence[Step], told: dict[str, str]) -> Html:
    """Return the funnel as a picture: every line is a bar as long as its rows, and what is lost hangs on what was left.

    `told` says in words what each reason means.
    """
    whole = max(1, funnel[0].rows_in) if funnel else 1
    lines = []
    for kind, _, name, before, after in falls(funnel):
        is_total = kind == "total"
        start, length = (0, after) if is_total else (after, before - after)
        label = element("b", name) if is_total else join([element("code", name), element("small", told.get(name, ""))])
        count = number(length) if is_total else MINUS + number(length)
        lines.append(
            element(
                "tr",
                element("td", label),
                element(
                    "td", element("i", style=_span(start / whole, length / whole)) if length else None, class_="track"
                ),
                element("td", count, class_="n"),
                element("td", share(length, whole), class_="n soft"),
                class_=kind,
            )
        )
    head = element("tr", *(element("th", name, scope="col", class_=kind) for name, kind in _HEAD))
    return element("table", element("thead", head), element("tbody", *lines), class_="fall")


_MOST_POWERS = 6
_HEAD = (("", None), ("", "track"), ("rows", "n"), ("of the pool", "n"))


def bar(parts: Sequence[tuple[str, float]]) -> Html:
    """Return a small stacked bar; parts are (kind, share of the whole in [0, 1])."""
    found, start = [], 0.0
    for kind, length in parts:
        if length > 0:
            found.append(element("i", class_=kind, style=_span(start, length)))
        start += length
    return element("span", *found, class_="bar")


def _span(start: float, length: float) -> str:
    return f"left:{100 * start:.3f}%;width:{100 * length:.3f}%"


def histogram(found: Histogram, *, title: Html | str, limit: str) -> Html:
    """Return a histogram: all rows in grey, the kept ones in colour; `limit` says what the lines at its marks are."""
    before = found.before if found.before is not None and found.before.sum() else None
    if found.lowest == found.highest:
        told = element("p", f"{value(found.lowest)} in every row", class_="empty")
        return element("figure", element("div", element("b", title), class_="head"), told, class_="histogram")
    highest = int(max(found.after.max(initial=0), before.max(initial=0) if before is not None else 0)) or 1
    peak = int(found.after.max(initial=0))
    times = _magnified(peak, highest) if before is not None else 1
    bars = [] if before is None else [_bars(before / highest, "all")]
    bars.append(_bars(found.after * times / highest, "kept"))
    size = len(found.after)
    svg = element("svg", *bars, viewBox=f"0 0 {size} 100", preserveAspectRatio="none", aria_hidden="true")
    parts: list[Html] = [svg, _scale(highest), *_tooltips(found, before)]
    for mark in found.marks:
        place = 100 * _place(found, mark)
        told = element("span", f"{limit} {float(mark):,.4f}".rstrip("0").rstrip("."))
        side = "mark right" if place > 60 else "mark"
        if 0 <= place <= 100:
            parts.append(element("span", told, class_=side, style=f"left:{place:.2f}%"))
    ticks = [_tick(tick, 100 * _place(found, tick)) for tick in _ticks(found)]
    legend = [] if before is None else [element("span", f"all {number(int(before.sum()))}", class_="key all")]
    more = f", drawn {times:,} times as high" if times > 1 else ""
    legend.append(element("span", f"kept {number(int(found.after.sum()))}{more}", class_="key kept"))
    note = f"The end bars hold what lies beyond: {value(found.lowest)} to {value(found.highest)} in all. "
    caption = element("figcaption", note) if found.is_cut_off else None
    return element(
        "figure",
        element("div", element("b", title), element("span", *legend, class_="legend"), class_="head"),
        element("div", *parts, class_="plot"),
        element("div", *ticks, class_="ticks"),
        caption,
        class_="histogram",
        role="img",
        aria_label=f"histogram of {found.column}",
    )


def _scale(highest: int) -> Html:
    """Return a thin line at a round number of rows, named."""
    power = 10 ** floor(log10(highest))
    rows = next(factor * power for factor in (5, 2, 1) if factor * power <= highest)
    place = f"bottom:{100 * rows / highest:.2f}%"
    return element("div", element("span", element("span", number(rows)), class_="scale", style=place), class_="scales")


def _tick(tick: float, place: float) -> Html:
    """Return a number below a chart at a place in percent; one at either end does not reach beyond it."""
    side = "tick last" if place > 95 else "tick first" if place < 2 else "tick"
    return element("span", _short(tick), style=f"left:{place:.2f}%", class_=side)


def _short(tick: float) -> str:
    return f"{tick:,.0f}" if abs(tick) >= 1000 else f"{tick:g}"


def _magnified(peak: int, highest: int) -> int:
    """Return how many times higher the kept rows are drawn: a round number where they could not be seen otherwise."""
    if not peak or peak >= _MAGNIFY_BELOW * highest:
        return 1
    return int(10 ** floor(log10(highest / peak)))


def _bars(heights: np.ndarray[tuple[int], np.dtype[np.float64]], kind: str) -> Html:
    """Return bars as one path, so that nothing shows between them."""
    steps = [f"M0 100V{100 - 100 * heights[0]:.2f}H1"] if len(heights) else []
    steps += [f"V{100 - 100 * height:.2f}H{place + 2}" for place, height in enumerate(heights[1:])]
    return element("path", d="".join(steps) + "V100Z", class_=kind)


def _tooltips(found: Histogram, before: object) -> list[Html]:
    """Return an invisible box over each bar that has rows, with its numbers as a tooltip."""
    boxes, size = [], len(found.after)
    for place in range(size):
        counts = [f"{number(int(found.after[place]))} kept"]
        if found.before is not None and before is not None:
            counts.insert(0, f"{number(int(found.before[place]))} in all")
        if any(not text.startswith("0 ") for text in counts):
            low, high = (value(float(found.edges[place + step])) for step in (0, 1))
            title = f"{low} to {high}: {', '.join(counts)}"
            boxes.append(element("i", title=title, style=_span(place / size, 1 / size)))
    return boxes


def _place(found: Histogram, at: float) -> float:
    """Return where a value lies between the ends, in [0, 1]."""
    edges = np.log(found.edges) if found.is_log else found.edges
    point = np.log(at) if found.is_log else at
    return float((point - edges[0]) / (edges[-1] - edges[0]))


def _ticks(found: Histogram) -> list[float]:
    """Return round numbers along the axis."""
    low, high = float(found.edges[0]), float(found.edges[-1])
    if found.is_log:
        powers = [10.0**power for power in range(floor(log10(low)), floor(log10(high)) + 2)]
        inside = [tick for tick in powers if low <= tick <= high]
        return inside[:: -max(1, ceil(len(inside) / _MOST_POWERS))][::-1]
    rough = (high - low) / _TICKS
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    if np.all(found.edges == np.floor(found.edges)):
        step = max(step, 1.0)
    first = int(np.ceil(low / step - 1e-9))
    return [round(tick * step, 10) for tick in range(first, int(np.floor(high / step + 1e-9)) + 1)]
