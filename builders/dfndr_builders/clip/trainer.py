"""What of open_clip's trainer is changed in the child process: the order of samples, and where a training ends."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

from dfndr.seeds import hash_int

__all__ = ["end_after", "make_repeatable"]


def make_repeatable(seed: int) -> None:
    """Make the order of samples, and the crops, a pure function of (seed, epoch, loader worker).

    The trainer's own shuffle is seeded from process id and time, and its crops go on from wherever the generators
    stand, so that neither two runs nor a run that was interrupted would end in the same weights.
    """
    import torch
    import webdataset  # type: ignore[import-untyped]
    from open_clip_train import data
    from torch.utils.data import get_worker_info

    epochs: list[Any] = []

    class SharedEpoch(data.SharedEpoch):  # type: ignore[misc]
        def __init__(self, epoch: int = 0) -> None:
            super().__init__(epoch)
            epochs.append(self)

    class Shuffle(webdataset.PipelineStage):  # type: ignore[misc]
        def __init__(self, bufsize: int, initial: int) -> None:
            self.bufsize, self.initial = bufsize, initial

        def run(self, samples: Iterator[object]) -> Iterator[object]:
            worker = get_worker_info()
            drawn = hash_int(seed, "dfn epoch", epochs[-1].get_value(), worker.id if worker else 0)
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
