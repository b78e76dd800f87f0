"""The processes that train together, where torchrun started several; one alone otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dfndr.errors import UsageError

__all__ = ["ALONE", "Processes", "joined"]


@dataclass(frozen=True)
class Processes:
    """How many processes there are, and which one this is; `device` is this one's."""

    rank: int
    count: int
    device: str

    @property
    def is_first(self) -> bool:
        """Say whether this is the one that writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all are here."""
        import torch.distributed

        if self.count > 1:
            torch.distributed.barrier()


ALONE = Processes(0, 1, "cpu")
"""One process, on the processor."""


@contextmanager
def joined(device: str, batch_size: int) -> Iterator[Processes]:
    """Join the processes that torchrun started, over NCCL on GPUs and Gloo elsewhere; leave them at the end.

    Raises UsageError where a batch cannot be shared out evenly.
    """
    import torch

    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(0, 1, device)
        return
    if batch_size % count:
        expected = f"a multiple of the {count} processes"
        raise UsageError("batch_size", expected=expected, found=f"{batch_size}", do="Give another of the two.")
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    if device == "cuda":
        device = f"cuda:{local}"
        torch.cuda.set_device(local)
    torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Processes(rank, count, device)
    finally:
        torch.distributed.destroy_process_group()
