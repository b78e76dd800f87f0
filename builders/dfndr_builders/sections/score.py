"""What every [[score]] can do, whatever its kind."""

from __future__ import annotations

from abc import abstractmethod

from dfndr import storage
from dfndr_builders.scorer import Scorer, Site
from dfndr_builders.sections.base import ScoreName, Strict

__all__ = ["Score", "sha256s"]


class Score(Strict):
    """What every [[score]] can do."""

    name: ScoreName

    def open(self, site: Site) -> Scorer | None:
        """Return the scorer; None where selection makes the column. May train, load and hash, but scores nothing."""
        return None

    def check(self, site: Site) -> None:
        """Raise now, and not after hours of training, for what `open` would not find; trains nothing."""

    @property
    def trained_by(self) -> str:
        """The key of the recipe's section that trains what this one scores by, "" for none."""
        return ""

    def planned(self) -> str:
        """Return a line about the model for `dfndr plan`, "" where there is none, or an encoder has its own."""
        return ""

    @abstractmethod
    def told(self) -> str:
        """Return how the column was made, in words for the card."""


def sha256s(folder: str) -> list[str]:
    """Return the hashes of a folder's files."""
    return [storage.sha256_of(storage.join(folder, name)) for name in sorted(storage.list_files(folder))]
