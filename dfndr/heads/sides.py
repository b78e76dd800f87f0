"""One side of a head: the vectors of a space, or those of several encoders side by side, `image/a+image/b`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from dfndr.errors import UsageError
from dfndr.format.schema import Modality, Space

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from dfndr.batch import Batch
    from dfndr.dataset import Dataset

    Vectors: TypeAlias = npt.NDArray[np.floating[Any]]

__all__ = ["Side", "is_there"]

_JOINED = "+"


@dataclass(frozen=True)
class Side:
    """Spaces of one modality, joined in their order; of several each gives the vector of the same view or caption."""

    spaces: tuple[Space, ...]

    @classmethod
    def of(cls, dataset: Dataset, name: str) -> Side:
        """Find the spaces that a name joins; raises UsageError for one that is not there, or that does not fit."""
        side = cls(tuple(dataset.space(part) for part in name.split(_JOINED)))
        kinds = {(space.modality, space.per_row) for space in side.spaces}
        if len(kinds) > 1 or len(set(side.spaces)) < len(side.spaces):
            expected = "different spaces of one modality, with as many vectors a row"
            raise UsageError(f"spaces {name}", expected=expected, found=f"{sorted(kinds)}", do="Join others.")
        return side

    @property
    def name(self) -> str:
        """The spaces' names, joined."""
        return _JOINED.join(space.name for space in self.spaces)

    @property
    def modality(self) -> Modality:
        """What all of them hold vectors of."""
        return self.spaces[0].modality

    @property
    def encoders(self) -> tuple[str, ...]:
        """Whose vectors they are."""
        return tuple(space.encoder for space in self.spaces)

    @property
    def dim(self) -> int:
        """How long the joined vectors are."""
        return sum(space.dim for space in self.spaces)

    def of_encoders(self, modality: Modality) -> str:
        """Return the name that joins the spaces of another modality of the same encoders."""
        return _JOINED.join(f"{modality}/{encoder}" for encoder in self.encoders)

    def of_batch(self, batch: Batch, device: torch.device) -> torch.Tensor:
        """Return a batch's vectors, shape (rows, dim), float32."""
        import torch

        parts = [batch[space.name].to(device).float() for space in self.spaces]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def vectors(self, dataset: Dataset) -> Vectors:
        """Return all rows' vectors, shape (rows, per_row, dim)."""
        return _joined([dataset.vectors(space.name) for space in self.spaces])

    def mapped(self, dataset: Dataset) -> Iterator[Vectors]:
        """Yield each shard's vectors, in order; those of a lone space are memory-mapped."""
        for parts in zip(*(dataset.mapped(space.name) for space in self.spaces), strict=True):
            yield _joined(list(parts))


def is_there(dataset: Dataset, name: str) -> bool:
    """Say whether a dataset has all the spaces that a name joins."""
    return all(part in dataset.spaces for part in name.split(_JOINED))


def _joined(parts: list[Vectors]) -> Vectors:
    import numpy as np

    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
