"""Which runs each experiment is made of, and what its rows are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.claims.runs import CLIP, Filter, Model, PhotoFilter, Run

__all__ = ["EXPERIMENTS", "POISONED", "Experiment", "Row"]


@dataclass(frozen=True)
class Row:
    """A row of an experiment's table: a filter, the model that it induced, either or both."""

    name: str
    filter: Filter | PhotoFilter | None = None
    model: Model | None = None


@dataclass(frozen=True)
class Experiment:
    """A claim of the paper, with the rows that show whether it holds."""

    title: str
    rows: tuple[Row, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run, those that others need first, none twice."""
        found: dict[Run, None] = {}
        for row in self.rows:
            for run in (row.filter, row.model):
                if run is not None:
                    found.update(dict.fromkeys([*_needed(run), run]))
        return tuple(found)


def _needed(run: Run) -> list[Run]:
    return [found for need in run.needs for found in (*_needed(need), need)]


def _both(name: str, given: Filter) -> Row:
    return Row(name, given, Model(given))


POISONED: Mapping[float, Filter] = {share: Filter(raw_share=share) for share in (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)}
_FILTERS = {
    "binary, linear": Filter("linear"),
    "binary, convolutional": Filter("conv"),
    "M3AE": Filter("m3ae"),
    "CLIP": CLIP,
}
_INTERVENTIONS = {
    "plain": CLIP,
    "stronger augmentation": Filter(crop=0.4),
    "fine-tuned": Filter(tuned="last"),
    "fine-tuned, averaged": Filter(tuned="average"),
    "begun from raw pairs": Filter(start="raw"),
    "half the samples seen": Filter(seen=0.5),
}
_FRACTIONS = (0.05, 0.1, 0.25, 0.5)

_A = (
    Row("no filter", None, Model(None, 1.0)),
    _both("random", Filter("random")),
    *(_both(name, given) for name, given in _FILTERS.items()),
)
_B = tuple(_both(f"{share:.0%}", given) for share, given in POISONED.items())
_C = tuple(_both(f"{share:.0%} unfiltered", given) for share, given in POISONED.items())
_D = tuple(_both(name, given) for name, given in _INTERVENTIONS.items())

EXPERIMENTS: Mapping[str, Experiment] = {
    "a": Experiment("filters compared", _A),
    "b": Experiment("poisoning", _B),
    "c": Experiment("filter quality and classification quality", (*_C, *_D[1:])),
    "d": Experiment("interventions", _D),
    "e": Experiment(
        "good data for the filter, not the end model",
        (
            Row("the good pairs: the filter itself", CLIP, None),
            Row("what the filter kept", None, Model()),
            Row("both", None, Model(with_good=True)),
            Row("the good pairs, thrice as long", Filter(seen=3.0), None),
            Row("what the filter kept, thrice as long", None, Model(seen=3.0)),
            Row("both, thrice as long", None, Model(with_good=True, seen=3.0)),
        ),
    ),
    "f": Experiment(
        "the kept fraction",
        (*(Row(f"{part:.0%}", None, Model(CLIP, part)) for part in _FRACTIONS), Row("100%", None, Model(None, 1.0))),
    ),
    "g": Experiment(
        "poisoning, on photographs", tuple(Row(f"{share:.0%}", PhotoFilter(share)) for share in (0.0, 0.25, 0.5, 1.0))
    ),
}
