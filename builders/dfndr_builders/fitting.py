"""Training a small network of our own: AdamW, a short warm-up and a cosine, seeded, in this process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dfndr.encoder import pick_device
from dfndr.errors import ModelError, RecipeError
from dfndr.progress import SILENT, Progress
from dfndr.seeds import hash_int, rng_for

if TYPE_CHECKING:
    import torch

__all__ = ["Fitting", "fit", "seeded", "with_threads"]

_WARMUP = 0.05
"""The share of the steps in which the learning rate rises."""


@dataclass(frozen=True)
class Fitting:
    """How a network is trained: everything that its weights depend on besides data and shape, and `device`."""

    samples_seen: int = 100_000
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    seed: int = 0
    threads: int = 2
    device: str = "auto"

    def __post_init__(self) -> None:
        if min(self.samples_seen, self.batch_size, self.threads) < 1 or not 0 < self.learning_rate < 10:
            found = f"{self.samples_seen}, {self.batch_size}, {self.threads}, {self.learning_rate}"
            expected = "samples_seen, batch_size, threads >= 1 and a learning_rate above 0 and below 10"
            raise RecipeError("training", expected=expected, found=found, do="Mend the one that is too small.")

    @property
    def steps(self) -> int:
        """Steps of whole batches, the last rounded up."""
        return math.ceil(self.samples_seen / self.batch_size)


@contextmanager
def with_threads(threads: int) -> Iterator[None]:
    """Run with so many threads of torch, and give back what there were."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seeded(seed: int, make: Callable[[], Any]) -> Any:  # noqa: ANN401  a torch module
    """Return a new network whose first weights depend on the seed alone; torch's own generator stays as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(hash_int(seed, "weights") >> 1)
        return make()


def fit(
    network: Any,  # noqa: ANN401  a torch module
    rows: int,
    loss_of: Callable[[npt.NDArray[np.int64], int], torch.Tensor],
    how: Fitting,
    *,
    what: str,
    progress: Progress = SILENT,
) -> float:
    """Train the network in place and return the mean loss of the last tenth of the steps; it is left in eval mode.

    `loss_of(places, step)` gives the loss of a batch of rows, which come in an order of each epoch's own. Raises
    ModelError where the loss is no longer finite.
    """
    import torch

    device = pick_device(how.device)
    network.to(device).train()
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay, betas=(0.9, 0.95)
    )
    losses: list[float] = []
    with with_threads(how.threads), progress.task(f"train {what}", how.steps * how.batch_size, "samples") as task:
        for step, places in enumerate(_batches(rows, how)):
            for group in optimizer.param_groups:
                group["lr"] = how.learning_rate * _rate(step, how.steps)
            loss = loss_of(places, step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                do = "Lower its learning_rate; nothing was written."
                raise ModelError(f"train {what}, step {step}", expected="a finite loss", found=str(losses[-1]), do=do)
            task.advance(len(places))
    network.eval()
    return float(np.mean(losses[-max(1, how.steps // 10) :]))


def _rate(step: int, steps: int) -> float:
    """Return the share of the highest learning rate at a step."""
    warmup = max(1, round(_WARMUP * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _batches(rows: int, how: Fitting) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the places of each step's batch: epoch after epoch, each in an order of its own; a batch may span two."""
    waiting, epoch = np.empty(0, dtype=np.int64), 0
    for _ in range(how.steps):
        while len(waiting) < how.batch_size:
            waiting = np.concatenate([waiting, rng_for(how.seed, "order", epoch).permutation(rows)])
            epoch += 1
        yield waiting[: how.batch_size]
        waiting = waiting[how.batch_size :]
