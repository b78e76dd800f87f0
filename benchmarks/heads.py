"""Training a head on cached vectors beside the same loop over tensors that are in memory already, in turns in one run.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/heads.py [--rows 100000] [--steps 12] [--repeats 5] [--device cpu]

The loop over tensors draws a permutation, gathers batches from float16 tensors on the device, and does the same
forward and backward passes and optimiser steps; nothing else. `train_head` reads vectors from the files step by step,
or holds them on the device (`resident`), watches its numbers and keeps a curve. Steps of 4,096 rows count four times
as much as those of 1,024: there are `--steps` of these and a quarter as many of those.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
import torch
from loader import dataset_of

from dfndr.batch import Batch
from dfndr.dataset import Dataset
from dfndr.heads.model import Head, HeadKind
from dfndr.heads.objective import Objective
from dfndr.heads.sides import Side
from dfndr.heads.train import train_head

IMAGE, TEXT = "image/random", "text/random"


def main() -> None:
    """Write the dataset, train in all ways in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[4096, 1024])
    parser.add_argument("--kinds", nargs="+", default=["linear", "mlp"])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    print(f"{given.rows:,} pairs of {given.dim}, {given.device}, {torch.get_num_threads()} threads")
    print(f"{'':34}{'median rows/s':>15}{'share of the loop over tensors':>32}{'least':>8}{'most':>8}")
    with tempfile.TemporaryDirectory() as root:
        dataset = dataset_of(Path(root), given.rows, given.dim, 10)
        for kind in given.kinds:
            for size in given.batch_sizes:
                steps = max(2, given.steps * min(given.batch_sizes) // size)
                compare(dataset, kind, size, steps=steps, repeats=given.repeats, device=given.device)


def compare(dataset: Dataset, kind: HeadKind, size: int, *, steps: int, repeats: int, device: str) -> None:
    """Train in turns, and print rows a second and the share of the loop over tensors, turn by turn."""

    def trained(resident: bool) -> Callable[[], object]:
        about = {"kind": kind, "batch_size": size, "steps": steps, "device": device, "image": IMAGE, "text": [TEXT]}
        return lambda: train_head(dataset, resident=resident, **about)

    over = Tensors(dataset, device)
    ways = {
        "tensors in memory": lambda: over.train(kind, size, steps),
        "train_head": trained(False),
        "train_head, resident": trained(True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + 1):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - begun)
    base = np.array(seconds["tensors in memory"][1:])
    for name, taken in seconds.items():
        share = base / taken[1:]
        rate = size * steps / np.median(taken[1:])
        print(
            f"{f'{kind}, batches of {size:,}: {name}':44}{rate:12,.0f}{np.median(share):25.2f}"
            f"{share.min():8.2f}{share.max():8.2f}"
        )


class Tensors:
    """The vectors of a dataset as two float16 tensors on a device, and a plain loop over them."""

    def __init__(self, dataset: Dataset, device: str) -> None:
        self.vectors = {name: torch.from_numpy(dataset.vectors(name)[:, 0].copy()).to(device) for name in (IMAGE, TEXT)}
        self.goal = Objective("clip", Side.of(dataset, IMAGE), (Side.of(dataset, TEXT),))

    def batches(self, size: int) -> Iterator[dict[str, torch.Tensor]]:
        """Yield shuffled batches, epoch after epoch."""
        while True:
            order = torch.randperm(len(self.vectors[IMAGE]), device=self.vectors[IMAGE].device)
            for rows in order.split(size):
                if len(rows) == size:
                    yield {name: vectors.index_select(0, rows) for name, vectors in self.vectors.items()}

    def train(self, kind: HeadKind, size: int, steps: int) -> float:
        """Train a head; return the last loss."""
        dim = self.vectors[IMAGE].shape[1]
        head = Head(kind, image_dim=dim, text_dim=dim).to(self.vectors[IMAGE].device)
        optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.1)
        for _, batch in zip(range(steps), self.batches(size), strict=False):
            loss = self.goal(head, cast(Batch, batch))  # it is asked for vectors by name, which a dict gives
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()


if __name__ == "__main__":
    main()
