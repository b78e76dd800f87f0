"""Table, verdicts and plot of the experiment on heads, made from recorded results alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from benchmarks.claims.results import Measured

__all__ = ["HeadResults", "drawn_heads", "filled_heads", "heads_file", "heads_table", "heads_verdicts", "read_heads"]

_TITLES = {
    "like": "new pictures of its own classes, accuracy",
    "unlike": "the other five classes, accuracy",
    "photographs": "photographs, R@10",
}
_WHOLE, _BEFORE, _LONGER = "end to end", "as it is", "mlp head, 5 views, 10 times the samples"


@dataclass(frozen=True)
class HeadResults:
    """All records: of each task, way and seed."""

    records: tuple[dict[str, object], ...]

    def measured(self, task: str, way: str, what: str = "figure") -> Measured | None:
        """Return a number over seeds; None where there is none."""
        found = [record for record in self.records if (record["task"], record["way"]) == (task, way)]
        found.sort(key=lambda record: int(str(record["seed"])))
        return Measured(tuple(float(str(record[what])) for record in found)) if found else None

    @property
    def ways(self) -> list[str]:
        """All ways, in the order they were done."""
        return list(dict.fromkeys(str(record["way"]) for record in self.records))


def heads_file() -> Path:
    """Return where the numbers of the page are kept."""
    return Path(__file__).parent / "results" / "heads.json"


def read_heads(file: Path) -> HeadResults:
    """Read what the experiment wrote."""
    return HeadResults(tuple(json.loads(file.read_text())))


def _told(number: Measured | None) -> str:
    return "" if number is None else f"{number.mean:.1%} ± {number.std:.1%}"


def heads_table(results: HeadResults) -> str:
    """Return the table in Markdown: mean and standard deviation over seeds, and the median time of a training."""
    head = ["", *_TITLES.values(), "its own classes after the other five", "training, s", "seeds"]
    lines = [head, ["---"] * len(head)]
    for way in results.ways:
        times = [one for one in (results.measured(task, way, "seconds") for task in _TITLES) if one is not None]
        every, seeds = [value for one in times for value in one.values], max(len(one.values) for one in times)
        told = [_told(results.measured(task, way)) for task in _TITLES]
        kept = _told(results.measured("unlike", way, "own"))
        lines.append([way, *told, kept, "" if way == _BEFORE else f"{median(every):.1f}", str(seeds)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def heads_verdicts(results: HeadResults) -> str:
    """Return what the numbers say, as a list in Markdown."""
    return "\n".join(f"- {line}" for line in _verdicts(results))


def _verdicts(results: HeadResults) -> Iterator[str]:
    for task, title in _TITLES.items():
        before = results.measured(task, _BEFORE)
        gains = {way: _gains(before, results.measured(task, way)) for way in results.ways if way != _BEFORE}
        equal = {way: found for way, found in gains.items() if way not in (_WHOLE, _LONGER) and found}
        if equal and gains.get(_WHOLE):
            best = max(equal, key=lambda way: fmean(equal[way]))
            told = {"end to end": gains[_WHOLE], f"the best head, {best}": equal[best], _LONGER: gains.get(_LONGER, [])}
            yield f"{title}, points gained over the encoder as it is (each seed): " + "; ".join(
                f"{way} {100 * fmean(found):+.1f} ({_signed(found)})" for way, found in told.items() if found
            )
    prepared = [float(str(record["preparing"])) for record in results.records if "5 views" in str(record["way"])]
    if prepared:
        yield f"vectors of 5 views of 2,000 pictures are made in {median(prepared):.1f} s (median), once for all heads"


def _gains(before: Measured | None, after: Measured | None) -> list[float]:
    if before is None or after is None:
        return []
    return [one - other for one, other in zip(after.values, before.values, strict=True)]


def _signed(values: list[float]) -> str:
    return ", ".join(f"{100 * value:+.1f}" for value in values)


def filled_heads(text: str, results: HeadResults) -> str:
    """Return a page with what is between `<!-- heads -->` and `<!-- /heads -->` made anew."""
    first, last = "<!-- heads -->\n", "<!-- /heads -->"
    before, rest = text.split(first)
    made = f"{heads_table(results)}\n\n{heads_verdicts(results)}"
    return f"{before}{first}{made}\n{last}{rest.split(last)[1]}"


def drawn_heads(results: HeadResults, file: Path) -> None:
    """Draw each task: means over seeds with their standard deviations, and each seed as a point."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(_TITLES), figsize=(9.6, 2.8), dpi=110, sharey=True)
    ways = results.ways[::-1]
    for axes, (task, title) in zip(panels, _TITLES.items(), strict=True):
        for place, way in enumerate(ways):
            found = results.measured(task, way)
            if found is not None:
                color = {_WHOLE: "#b5651d", _BEFORE: "#888888"}.get(way, "#1f5f8b")
                axes.barh(place, 100 * found.mean, xerr=100 * found.std, color=color, alpha=0.7)
                axes.plot([100 * value for value in found.values], [place] * len(found.values), "k.", markersize=4)
        axes.set_title(title, fontsize=8)
        axes.set_xlabel("%", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(ways)), ways, fontsize=8)
    figure.tight_layout()
    figure.savefig(file, metadata={"Software": None})
    pyplot.close(figure)
