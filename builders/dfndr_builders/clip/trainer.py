"""What of open_clip's trainer is changed in the child process: samples in order, where it ends, what it keeps."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from types import SimpleNamespace
from typing import Any

from dfndr.seeds import hash_int
from dfndr_builders.clip.process import NOT_FINITE

__all__ = [
    "allow_processes_without_gpus",
    "change_all_at_once",
    "end_after",
    "keep_only_good_checkpoints",
    "make_repeatable",
]


def make_repeatable(seed: int) -> None:
    """Make the order of samples, and the crops, a pure function of (seed, epoch, process, loader worker).

    The trainer's own shuffle is seeded from process id and time, and its crops go on from wherever the generators
    stand, so that neither two runs nor a run that was interrupted would end in the same weights.
    """
    import torch
    import webdataset  # type: ignore[import-untyped]
    from open_clip_train import data
    from torch.utils.data import get_worker_info

    epochs: list[Any] = []
    rank = [int(os.environ["RANK"])] if int(os.environ.get("WORLD_SIZE", "1")) > 1 else []

    class SharedEpoch(data.SharedEpoch):  # type: ignore[misc]
        def __init__(self, epoch: int = 0) -> None:
            super().__init__(epoch)
            epochs.append(self)

    class Shuffle(webdataset.PipelineStage):  # type: ignore[misc]
        def __init__(self, bufsize: int, initial: int) -> None:
            self.bufsize, self.initial = bufsize, initial

        def run(self, samples: Iterator[object]) -> Iterator[object]:
            worker = get_worker_info()
            drawn = hash_int(seed, "dfn epoch", epochs[-1].get_value(), worker.id if worker else 0, *rank)
            torch.manual_seed(drawn % 2**63)
            random.seed(drawn)
            shuffled: Iterator[object] = data._shuffle(samples, self.bufsize, self.initial, random.Random(drawn))
            return shuffled

    data.SharedEpoch = SharedEpoch
    data.wds.shuffle = Shuffle


def end_after(last_step: int) -> None:
    """End the training after so many steps, in the middle of a round where that is where they end.

    The trainer itself only knows whole rounds; the learning rate falls to 0 over these steps.
    """
    from open_clip_train import main as trainer

    read, schedule = trainer.get_data, trainer.cosine_lr

    def read_until(*args: object, **options: object) -> dict[str, Any]:
        data: dict[str, Any] = read(*args, **options)
        data["train"].dataloader = _Ending(data["train"], last_step)
        return data

    def fall_until(optimizer: object, rate: float, warmup: int, steps: int) -> object:
        return schedule(optimizer, rate, warmup, last_step)

    trainer.get_data, trainer.cosine_lr = read_until, fall_until


class _Ending:
    """The trainer's loader, whose batches end with the last step."""

    def __init__(self, train: Any, last_step: int) -> None:  # noqa: ANN401  what the trainer calls DataInfo, untyped
        self._epoch, self._loader, self._last_step = train.shared_epoch, train.dataloader, last_step
        self.num_batches, self.num_samples = self._loader.num_batches, self._loader.num_samples

    def __iter__(self) -> Iterator[object]:
        return islice(iter(self._loader), self._last_step - self._epoch.get_value() * self.num_batches)


def change_all_at_once() -> None:
    """Let AdamW change all weights in one pass, and not tensor by tensor, operation by operation."""
    import torch
    from open_clip_train import main as trainer

    trainer.optim = SimpleNamespace(AdamW=partial(torch.optim.AdamW, fused=True))


def keep_only_good_checkpoints(model: Callable[[], Any]) -> None:
    """Raise ValueError where a round leaves weights that are not finite, before these become the checkpoint."""
    import torch
    from open_clip_train import main as trainer

    train = trainer.train_one_epoch

    def train_and_look(*args: object, **options: object) -> None:
        train(*args, **options)
        bad = [name for name, tensor in model().state_dict().items() if not bool(torch.isfinite(tensor).all())]
        if bad:
            raise ValueError(f"{NOT_FINITE}, {bad[0]} among {len(bad)} tensors")

    trainer.train_one_epoch = train_and_look


def allow_processes_without_gpus() -> None:
    """Let several processes share a batch on the CPU, where torch takes no list of devices, which the trainer gives."""
    import torch
    from open_clip_train import main as trainer

    parallel = torch.nn.parallel.DistributedDataParallel

    def on_its_device(model: torch.nn.Module, *, device_ids: list[torch.device], **options: Any) -> torch.nn.Module:  # noqa: ANN401
        return parallel(model, device_ids=None if device_ids[0].type == "cpu" else device_ids, **options)

    trainer.torch.nn.parallel.DistributedDataParallel = on_its_device
