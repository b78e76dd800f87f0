"""What is trained, in names: filters, and the models that are induced by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.claims.scales import FRACTION

__all__ = ["CLIP", "Filter", "Model", "PhotoFilter", "Run"]


@dataclass(frozen=True)
class Filter:
    """A way to score pairs; all but `kind` is for "clip", the data filtering network.

    `raw_share` of its training pairs are unfiltered ones in place of good ones. `crop` is the smallest share of a
    picture that a crop keeps, `seen` a factor of the scale's samples seen. `start` "raw" begins with the weights of the
    filter that was trained on unfiltered pairs alone. `tuned` goes on from the plain filter on other good pairs, and
    takes those weights as they are ("last") or the average with the plain filter's ("average").
    """

    kind: Literal["random", "linear", "conv", "m3ae", "clip"] = "clip"
    raw_share: float = 0.0
    crop: float = 0.9
    seen: float = 1.0
    start: Literal["scratch", "raw"] = "scratch"
    tuned: Literal["no", "last", "average"] = "no"

    @property
    def name(self) -> str:
        """The filter's name, by which its folder goes."""
        changes = {
            "raw": f"{self.raw_share:.0%}" * (self.raw_share > 0),
            "crop": f"{self.crop:.0%}" * (self.crop != 0.9),
            "seen": f"{self.seen:g}x" * (self.seen != 1),
            "start": self.start * (self.start != "scratch"),
            "tuned": self.tuned * (self.tuned != "no"),
        }
        return "-".join([self.kind, *(f"{key}-{value}" for key, value in changes.items() if value)]).replace("%", "")

    @property
    def needs(self) -> tuple[Filter, ...]:
        """The filters that must be there first: a linear one looks at the plain filter's vectors of pictures."""
        if self.kind == "linear" or self.tuned == "last":
            return (CLIP,)
        if self.tuned == "average":
            return (CLIP, Filter(tuned="last"))
        return (Filter(raw_share=1.0),) if self.start == "raw" else ()


CLIP = Filter()


@dataclass(frozen=True)
class Model:
    """A CLIP model trained on what a filter kept of the pool, or on all of it, and on the good pairs if `with_good`.

    `seen` is a factor of the scale's samples seen.
    """

    filter: Filter | None = CLIP
    fraction: float = FRACTION
    with_good: bool = False
    seen: float = 1.0

    @property
    def name(self) -> str:
        """The model's name, by which its folder goes."""
        kept = f"{self.filter.name}-keeps-{self.fraction:.0%}" if self.filter else "everything"
        more = "-with-good" * self.with_good + f"-seen-{self.seen:g}x" * (self.seen != 1)
        return "model-" + kept.replace("%", "") + more

    @property
    def needs(self) -> tuple[Filter, ...]:
        """The filters that must be there first."""
        return (self.filter,) if self.filter else ()


@dataclass(frozen=True)
class PhotoFilter:
    """A CLIP filter trained on photographs with captions that people wrote; `swapped` of the texts are another's."""

    swapped: float = 0.0

    @property
    def name(self) -> str:
        """The filter's name, by which its folder goes."""
        return f"photos-swapped-{self.swapped:.0%}".replace("%", "")

    @property
    def needs(self) -> tuple[Filter, ...]:
        """The filters that must be there first: none."""
        return ()


Run = Filter | Model | PhotoFilter
