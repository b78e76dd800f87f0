"""Tables of the experiments in Markdown, and what they say of the claims, made from recorded results alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.claims.experiments import EXPERIMENTS, Experiment, Row
from benchmarks.claims.noise import KINDS
from benchmarks.claims.results import Measured, Results

__all__ = ["filled", "kinds_table", "rank_correlation", "table_of", "verdicts", "written"]

_COLUMNS = (
    ("ROC-AUC, good pairs against noise", "filter", "auc"),
    ("good among the kept", "filter", "good_of_kept"),
    ("accuracy of the filter", "filter", "accuracy"),
    ("accuracy of the induced model", "model", "accuracy"),
    ("ROC-AUC, dev pairs against the same with texts swapped", "filter", "dev_auc"),
    ("dev, image to text, R@10", "filter", "recall_10"),
)


def table_of(name: str, results: Results) -> str:
    """Return an experiment's table: mean and standard deviation over seeds, without the columns that are empty."""
    experiment = EXPERIMENTS[name]
    columns = [
        (title, [_number(results, row, side, what) for row in experiment.rows]) for title, side, what in _COLUMNS
    ]
    columns = [(title, numbers) for title, numbers in columns if any(number is not None for number in numbers)]
    head = ["", *(title for title, _ in columns), "seeds"]
    lines = [head, ["---"] * len(head)]
    for place, row in enumerate(experiment.rows):
        numbers = [found[place] for _, found in columns]
        seeds = max((len(number.values) for number in numbers if number is not None), default=0)
        told = [
            "" if number is None else _told(number, title) for number, (title, _) in zip(numbers, columns, strict=True)
        ]
        lines.append([row.name, *told, str(seeds)])
    return _markdown(lines)


def kinds_table(results: Results) -> str:
    """Return how well each filter of experiment a tells good pairs from each kind of noise, as ROC-AUC."""
    lines = [["ROC-AUC, good pairs against", *KINDS[1:]], ["---"] * len(KINDS)]
    for row in EXPERIMENTS["a"].rows:
        found = [results.measured(row.filter, f"auc_{kind}") for kind in KINDS[1:]]
        if any(found):
            lines.append([row.name, *("" if one is None else f"{one.mean:.3f}" for one in found)])
    return _markdown(lines)


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _told(number: Measured, title: str, *, spread: bool = True) -> str:
    """Return a number as its column tells it: an AUC from 0 to 1, everything else in percent."""
    if title.startswith("ROC-AUC"):
        return f"{number.mean:.3f}" + f" ± {number.std:.3f}" * spread
    return f"{number.mean:.1%}" + f" ± {number.std:.1%}" * spread


def _number(results: Results, row: Row, side: str, what: str) -> Measured | None:
    return results.measured(row.filter if side == "filter" else row.model, what)


def verdicts(name: str, results: Results) -> str:
    """Return what the numbers say of the experiment's claim, as a list in Markdown."""
    made = {"a": _beaten, "b": _falling, "c": _correlated, "d": _changed, "e": _induced, "f": _best, "g": _spoilt}
    return "\n".join(f"- {line}" for line in (made[name](results) if name in made else ()))


def _beaten(results: Results) -> Iterator[str]:
    rows = EXPERIMENTS["a"].rows
    best = results.measured(rows[-1].model, "accuracy")
    for row in rows[:-1]:
        other = results.measured(row.model, "accuracy")
        if best is not None and other is not None:
            ahead, spread = best.mean - other.mean, max(best.std, other.std)
            held = "more than" if ahead > 2 * spread else "not more than"
            yield (
                f"CLIP is {100 * ahead:+.1f} points ahead of {row.name}: {held} twice the larger standard deviation "
                f"({100 * spread:.1f} points)"
            )


def _falling(results: Results) -> Iterator[str]:
    return _against_share("b", (_COLUMNS[0], _COLUMNS[2], _COLUMNS[3]), "unfiltered pairs", results)


def _spoilt(results: Results) -> Iterator[str]:
    return _against_share("g", _COLUMNS[4:], "swapped texts", results)


def _against_share(
    name: str, columns: Sequence[tuple[str, str, str]], what_share: str, results: Results
) -> Iterator[str]:
    rows = EXPERIMENTS[name].rows
    shares = [float(row.name.rstrip("%")) for row in rows]
    for title, side, what in columns:
        found = [_number(results, row, side, what) for row in rows]
        pairs = [(share, one) for share, one in zip(shares, found, strict=True) if one is not None]
        if len(pairs) > 2:
            rho = rank_correlation([share for share, _ in pairs], [one.mean for _, one in pairs])
            told = (f"{_told(one, title, spread=False)} with {share:g} %" for share, one in (pairs[0], pairs[-1]))
            ends = " and ".join(told)
            yield f"{title}: {ends} {what_share}; rank correlation with that share {rho:+.2f}"


def _correlated(results: Results) -> Iterator[str]:
    wanted = {"every filter": EXPERIMENTS["c"], "those of experiment d": EXPERIMENTS["d"]}
    for which, experiment in wanted.items():
        for title, side, what in _COLUMNS[:3]:
            points = list(_points(experiment, results, side, what))
            if len(points) > 2:
                rho = rank_correlation(*map(list, zip(*points, strict=True)))
                yield f"{which} ({len(points)}): {title}, and accuracy of the induced model: {rho:+.2f}"


def _changed(results: Results) -> Iterator[str]:
    plain, *rest = EXPERIMENTS["d"].rows
    for title, side, what in (_COLUMNS[0], _COLUMNS[3]):
        base = _number(results, plain, side, what)
        found = [(row.name, _number(results, row, side, what)) for row in rest]
        changes = [(name, one.mean - base.mean) for name, one in found if one is not None and base is not None]
        if changes:
            unit = (1, ".3f") if title.startswith("ROC-AUC") else (100, ".1f")
            told = (f"{name} {unit[0] * by:+{unit[1]}}" for name, by in changes)
            yield f"{title}, against plain: " + ", ".join(told)


def _induced(results: Results) -> Iterator[str]:
    points = list(_points(EXPERIMENTS["c"], results, "filter", "accuracy"))
    if points:
        won = sum(induced > own for own, induced in points)
        yield f"of the {len(points)} filters of experiment c, {won} induce a model that is better than themselves"
    points = list(_points(EXPERIMENTS["d"], results, "filter", "accuracy"))
    if points:
        won = sum(induced > own for own, induced in points)
        yield f"of the {len(points)} of experiment d, {won}"


def _best(results: Results) -> Iterator[str]:
    found = [(results.measured(row.model, "accuracy"), row.name) for row in EXPERIMENTS["f"].rows]
    there = [(one.mean, name) for one, name in found if one is not None]
    if there:
        yield f"best: {max(there)[1]}, with {max(there)[0]:.1%}"


def _points(experiment: Experiment, results: Results, side: str, what: str) -> Iterator[tuple[float, float]]:
    for row in experiment.rows:
        one, induced = _number(results, row, side, what), results.measured(row.model, "accuracy")
        if one is not None and induced is not None:
            yield one.mean, induced.mean


def rank_correlation(left: Sequence[float], right: Sequence[float]) -> float:
    """Return Spearman's rank correlation; equal values share the mean of their ranks."""
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(left), rankdata(right))[0, 1])


def filled(text: str, results: Results) -> str:
    """Return a page with the tables and verdicts between its marks `<!-- NAME -->` and `<!-- /NAME -->` made anew."""
    for name in EXPERIMENTS:
        first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if first in text:
            before, rest = text.split(first)
            parts = (table_of(name, results), kinds_table(results) if name == "a" else "", verdicts(name, results))
            made = "\n\n".join(part for part in parts if part)
            text = f"{before}{first}{made}\n{last}{rest.split(last)[1]}"
    return text


def written(page: Path, results: Results) -> None:
    """Write a page's tables and verdicts anew."""
    page.write_text(filled(page.read_text(), results))
