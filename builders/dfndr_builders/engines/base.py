"""What an engine is: something that does the units of a job, anywhere, and gives their shards."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from typing import Protocol

from dfndr.format.manifest import Shard
from dfndr.progress import Task
from dfndr_builders.work import Job, Unit

__all__ = ["Engine", "gpus"]


class Engine(Protocol):
    """A frozen value.

    `shared` says that other processes work at the same build in the same folder: what only one may do at a time is then
    done under `engines.claims.alone`, and files that nobody seems to need are left alone. `leads` is false for all of
    these but one.
    """

    @property
    def shared(self) -> bool:
        """Whether other processes take part."""

    @property
    def leads(self) -> bool:
        """Whether this one writes down what needs to be written once, such as how long things took."""

    def run(self, job: Job, units: Iterable[Unit], task: Task) -> Generator[Shard, None, None]:
        """Yield each unit's shard as soon as it is committed, in any order; `task` hears of the rows that are done.

        Units are asked for one at a time, as they can be begun. What a job raises is raised here. Closing the iterator
        ends all that was started for it.
        """


def gpus(device: str) -> list[str]:
    """Return the names, as CUDA_VISIBLE_DEVICES has them, of the GPUs that workers share out for a device."""
    if device not in ("auto", "cuda"):
        return []
    import torch

    from dfndr.encoder import pick_device

    if pick_device(device) != "cuda":
        return []

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]
