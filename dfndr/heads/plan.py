"""The numbers of a training run, checked, and the learning rate of each step."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from dfndr.errors import UsageError

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """The numbers of a training run; raises UsageError for one that makes no sense."""

    steps: int | None
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup: float
    seed: int

    def __post_init__(self) -> None:
        checks = {
            "steps": (self.steps is None or self.steps >= 1, "1 or more"),
            "epochs": (self.epochs >= 1, "1 or more"),
            "batch_size": (self.batch_size >= 2, "2 or more: a row is told from the others of its batch"),
            "learning_rate": (0 < self.learning_rate < math.inf, "a number above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "warmup": (0 <= self.warmup < 1, "a share of the steps, from 0 to below 1"),
        }
        for name, (fine, expected) in checks.items():
            if not fine:
                raise UsageError(name, expected=expected, found=repr(getattr(self, name)), do="Choose another value.")

    def for_rows(self, rows: int) -> Plan:
        """Settle what depends on the number of rows: batches no larger than that, and how many steps there are."""
        batch_size = min(self.batch_size, rows)
        return replace(self, batch_size=batch_size, steps=self.steps or self.epochs * (rows // batch_size))

    def rate(self, step: int) -> float:
        """Return the learning rate of a step counted from 0: a linear rise, then half a cosine down towards zero."""
        steps = self.steps or 1
        rising = math.ceil(self.warmup * steps)
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        return self.learning_rate * (1 + math.cos(math.pi * (step - rising) / (steps - rising))) / 2
