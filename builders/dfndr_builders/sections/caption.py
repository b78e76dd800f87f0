"""What every [[caption]] can say and do, whatever its kind."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Literal, Self

from pydantic import model_validator

from dfndr.format.captioner import Setting
from dfndr_builders.captions.captioner import Captioner
from dfndr_builders.captions.rules import Rules
from dfndr_builders.scorer import OpenModel, Site
from dfndr_builders.sections.base import Misfit, Name, Positive, Strict

__all__ = ["Caption"]


class Caption(Strict):
    """What every [[caption]] can say and do."""

    name: Name
    per_image: Positive = 2
    best_of: Positive | None = None
    scorer: str | None = None
    max_words: Positive | None = None
    max_characters: Positive | None = 1_000
    on_failure: Literal["fail", "keep"] = "fail"

    @model_validator(mode="after")
    def _keeps_no_more_than_it_asks_for(self) -> Self:
        if self.best_of is not None and self.best_of < self.per_image:
            raise Misfit(f"best_of = {self.best_of} is fewer than per_image = {self.per_image}")
        return self

    @property
    def attempts(self) -> int:
        """How often each caption is asked for; once, where another attempt would give the same."""
        return 1

    @property
    def rules(self) -> Rules:
        """What its captions have to keep."""
        return Rules(self.max_words, self.max_characters)

    def asked(self, scorer: str) -> Mapping[str, Setting]:
        """Return what is asked of the captioner, and what is kept, as its record says it."""
        return {
            "per_image": self.per_image,
            "best_of": self.best_of or self.per_image,
            "tries": self.attempts,
            "max_words": self.max_words,
            "max_characters": self.max_characters,
            "scorer": scorer,
        }

    def fetched(self, resolve: Callable[[str], str]) -> str:
        """Return what has to be fetched from the Hub unless it is cached, "" for nothing; `resolve` resolves a path.

        The weights of a section that is a `Model` are not told here, as they are asked for with those of the others.
        """
        return ""

    @abstractmethod
    def open(self, site: Site, scorer: OpenModel) -> Captioner:
        """Return the captioner; may embed a bank, load and hash, but captions nothing."""

    @abstractmethod
    def check(self, site: Site) -> None:
        """Raise now, and not after hours of scoring, for what `open` would not find."""

    @abstractmethod
    def told(self) -> str:
        """Return where the captions are from, in words for the card."""
