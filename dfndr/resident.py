"""All vectors of some spaces in the memory of a device, so that a batch is a gather there; whether they fit."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr.format.schema import Space
from dfndr.format.storage_types import read_type
from dfndr.order import Runs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    Rows: TypeAlias = npt.NDArray[np.int64]
    Used: TypeAlias = npt.NDArray[np.bool_]

__all__ = ["Resident", "ResidentRows", "Stay", "free_bytes", "size_bytes", "stays"]

Stay: TypeAlias = bool | Literal["auto"]
_AT_ONCE_BYTES = 1 << 26
_SHARE = 0.5
"""The share of the free memory that vectors may take by themselves: a step needs the rest, its logits above all."""


def stays(stay: Stay, dataset: Dataset, spaces: Sequence[Space], *, device: str) -> bool:
    """Decide whether vectors are to be held on a device: "auto" does so on an accelerator where they fit in half of it.

    On a processor "auto" does not: maps of files that are in the system's cache are as fast. Raises UsageError for
    `True` where the memory that is free is not enough.
    """
    if stay not in (True, False, "auto"):
        raise UsageError("resident", expected='True, False or "auto"', found=repr(stay), do="Pass one of them.")
    if stay is False or (stay == "auto" and device == "cpu"):
        return False
    needed, free = size_bytes(dataset, spaces), free_bytes(device)
    if stay is True and needed > free:
        found, do = f"{free:,} free", 'Pass resident="auto" or False, or fewer spaces.'
        raise UsageError(f"vectors on {device}", expected=f"{needed:,} bytes", found=found, do=do)
    return stay is True or needed <= _SHARE * free


def size_bytes(dataset: Dataset, spaces: Sequence[Space]) -> int:
    """Return what all vectors of some spaces take in memory, in the type that they are read in."""
    return sum(len(dataset) * space.per_row * space.dim * read_type(space.dtype).itemsize for space in spaces)


def free_bytes(device: str) -> int:
    """Return how much memory of a device nobody uses, as its driver or the system says."""
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + int(kept)
    if kind == "mps":
        return int(torch.mps.recommended_max_memory()) - int(torch.mps.driver_allocated_memory())
    told = Path("/proc/meminfo")
    found = re.search(r"^MemAvailable: +(\d+) kB$", told.read_text(), re.MULTILINE) if told.exists() else None
    return int(found[1]) * 1024 if found else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class Resident:
    """Vectors of a dataset's rows as tensors on a device, by space."""

    def __init__(self, dataset: Dataset, spaces: Sequence[Space], *, device: str) -> None:
        """Read all of them, through no more than 64 MB of other memory."""
        self._held = {space.name: _held(dataset, space, device) for space in spaces}
        several = [space for space in spaces if space.modality == "caption" and space.per_row > 1]
        self._used = {space.name: self._filled(space.name) for space in several}

    def at(self, rows: Rows, runs: Runs) -> ResidentRows:
        """Go to some rows of the dataset; `runs` are the same ones."""
        return ResidentRows(self._held, self._used, rows)

    def wants_plan(self) -> bool:
        """Say no: all is here."""
        return False

    def plan(self, coming: Sequence[Runs]) -> None:
        """Do nothing."""

    def _filled(self, name: str) -> Used:
        """Say which places of all rows hold a vector that is not all zeros, shape (rows, per_row)."""
        import torch

        held = self._held[name]
        step = max(1, _AT_ONCE_BYTES // max(1, held[:1].nbytes))
        parts = [held[start : start + step].ne(0).any(dim=-1) for start in range(0, len(held), step)]
        found: Used = (torch.cat(parts) if parts else held.new_zeros(held.shape[:2], dtype=torch.bool)).cpu().numpy()
        return found


class ResidentRows:
    """Some rows of what a device holds."""

    def __init__(self, held: Mapping[str, torch.Tensor], used: Mapping[str, Used], rows: Rows) -> None:
        self._held, self._used, self._rows = held, used, rows

    def part(self, start: int, stop: int) -> ResidentRows:
        """Return some of these rows."""
        return ResidentRows(self._held, self._used, self._rows[start:stop])

    def used(self, space: Space) -> Used:
        """Say which places of each row hold a vector that is not all zeros, shape (rows, per_row)."""
        return self._used[space.name][self._rows]

    def vectors(self, spaces: Sequence[Space], places: Mapping[str, Rows], *, flat: bool) -> dict[str, torch.Tensor]:
        """Return the vectors of each space, as `dfndr.mapped.AtRows` says."""
        import torch

        found = {}
        for space in spaces:
            held, wanted = self._held[space.name], self._rows
            if space.name in places:
                wanted = wanted * space.per_row + places[space.name]
            if flat:
                held = held.view(-1, space.dim)
            rows = torch.from_numpy(wanted).to(held.device, non_blocking=True)
            found[space.name] = torch.index_select(held, 0, rows)
        return found


def _held(dataset: Dataset, space: Space, device: str) -> torch.Tensor:
    import numpy as np
    import torch

    kind = read_type(space.dtype)
    shape = (len(dataset), space.per_row, space.dim)
    held = torch.empty(shape, dtype=getattr(torch, kind.name), device=device)
    step, start = max(1, _AT_ONCE_BYTES // (math.prod(shape[1:]) * kind.itemsize)), 0
    for block in dataset.mapped(space.name):
        for first in range(0, len(block), step):
            piece = np.array(block[first : first + step], dtype=kind)
            held[start : start + len(piece)] = torch.from_numpy(piece)
            start += len(piece)
    return held
