"""A loader inside torch's DataLoader, for code that is built around one; by itself a loader needs no workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from dfndr.errors import MissingExtra

try:
    from torch.utils.data import IterableDataset
except ModuleNotFoundError as error:
    raise MissingExtra.of(error.name or "torch", "train") from error

if TYPE_CHECKING:
    from dfndr.batch import Batch

__all__ = ["TorchBatches"]


class Epochs(Protocol):
    """What a loader is here: epochs of batches, one after the other."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...


class TorchBatches(IterableDataset):  # type: ignore[misc]
    """The present epoch of a loader, for `DataLoader(..., batch_size=None)` with any number of workers.

    Workers, forked or spawned, each have a copy of the loader as it was when they started, and every worker does its
    share of the steps; DataLoader puts them in order again, so batches are those of the loader alone. The loader in
    this process stays where it is: tell it the epoch before each pass. Workers that persist go on to the next epoch.
    """

    def __init__(self, loader: Epochs) -> None:
        super().__init__()
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._loader)
