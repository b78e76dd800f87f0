"""CIFAR-10 as it lies beside a checkout (`../shared/pools/cifar10`, or the folder that POOLS names)."""

from __future__ import annotations

import os
import tarfile
from functools import lru_cache
from pathlib import Path

from benchmarks.claims.captions import CLASSES

__all__ = ["cifar_folder", "held_out_tars", "train_samples"]


def cifar_folder() -> Path:
    """Return the folder that holds CIFAR-10."""
    beside = Path(__file__).parents[3] / "shared" / "pools"
    return Path(os.environ.get("POOLS", beside)) / "cifar10"


def held_out_tars() -> tuple[str, ...]:
    """Return the tars of the test set, which nothing is trained on."""
    return tuple(str(path) for path in sorted(cifar_folder().glob("cifar10-test-*.tar")))


@lru_cache(maxsize=1)
def train_samples() -> tuple[tuple[bytes, int], ...]:
    """Return the 50,000 training pictures as JPEG bytes with their class, in the order of their names."""
    found: dict[str, bytes] = {}
    with tarfile.open(cifar_folder() / "cifar10-train-files.tar.xz") as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file is not None:
                found[member.name] = file.read()
    return tuple((found[name], CLASSES.index(name.split("/")[1])) for name in sorted(found))
