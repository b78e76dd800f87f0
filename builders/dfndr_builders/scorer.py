"""A scorer: what a [[score]] section opens into. A new kind is a section that opens, and the module of its stage.

Two sorts there are. A row scorer is a stage: it looks at each pair of the pool while the pool is read. A table scorer
derives its column from the finished table of scores, from kept vectors and columns, and no pixel is looked at again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from dfndr.encoder import Encoder
from dfndr.format.schema import EncoderRecord, Space
from dfndr.models import EncoderSpec
from dfndr_builders.derived import Derive
from dfndr_builders.pools.base import Pool
from dfndr_builders.stage import Stage

__all__ = ["OpenModel", "RowScorer", "Runs", "Scorer", "Site", "TableScorer", "Trained", "TrainingSite"]


class OpenModel(Protocol):
    """A model of the recipe: how it is opened here, and under which words it is recorded."""

    @property
    def spec(self) -> EncoderSpec:
        """How it is opened here."""

    @property
    def record(self) -> EncoderRecord:
        """What the manifest says of it."""

    def open(self) -> Encoder:
        """Load it, once per process."""


@dataclass(frozen=True)
class Runs:
    """How a network is run here: `batch_size` and `threads` fix the last bits, `device` is no part of any record."""

    batch_size: int
    threads: int
    device: str


class TrainingSite(Protocol):
    """What a section that trains is told: the recipe's seed, how networks run, and models by their sections."""

    @property
    def seed(self) -> int:
        """The recipe's."""

    @property
    def runs(self) -> Runs:
        """How networks are run."""

    def model(self, given: Any, name: str) -> OpenModel:  # noqa: ANN401  a section of the floor above
        """Return the model that a section names."""


class Site(TrainingSite, Protocol):
    """What a section may ask of the build that it opens for."""

    def resolve(self, path: str) -> str:
        """Return a path of the recipe as an absolute one."""

    def model_of(self, space: str) -> OpenModel:
        """Return the model of the [[score]] that keeps a space."""

    def pools(self, given: Sequence[Any]) -> tuple[Pool, object]:
        """Return the pools of some sections as one, and what a phase remembers of it."""

    def bank(self, given: Any, scorer: OpenModel) -> tuple[str, str]:  # noqa: ANN401  a section of the floor above
        """Return the root of a bank of captions, which is embedded now if it is not there, and its content's digest."""

    def spending(self) -> str:
        """Return the folder where it is written down what asking servers came to."""

    def section(self, key: str) -> Any:  # noqa: ANN401  a section of the floor above
        """Return the recipe's own section that trains something."""

    def trained(self, key: str) -> str:
        """Return the folder of what that section trains, which is trained now if it is not there."""


@dataclass(frozen=True)
class Trained:
    """What a section trained: from how many rows, in words, and the record that its folder holds."""

    rows: int
    said: str
    record: Mapping[str, object]


@dataclass(frozen=True)
class RowScorer:
    """A column made by a stage, and whatever it depends on besides the pool, as JSON.

    `model` is the encoder that gives the score, for the manifest; `spaces` are the vectors of it that are kept.
    """

    name: str
    stage: Stage
    depends: object
    model: OpenModel | None = None
    spaces: tuple[Space, ...] = ()


@dataclass(frozen=True)
class TableScorer:
    """A column derived from the table of scores, and whatever it depends on besides that table, as JSON.

    `kind` is what its phase is called.
    """

    name: str
    kind: str
    derive: Derive
    depends: object


Scorer: TypeAlias = RowScorer | TableScorer
