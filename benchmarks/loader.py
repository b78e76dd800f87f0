"""Pairs per second of the Loader beside the memcpy limit and what else feeds cached pairs, in turns within one run.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/loader.py [--rows 200000] [--batch-size 4096] [--repeats 7] [--dir DIR]
    python benchmarks/loader.py --peers none         # the Loader alone, over 20 shards and over one

The work is one epoch over pairs of two float16 vectors, in batches, as torch tensors. The memcpy limit copies
contiguous slices of vectors in memory to a buffer that is allocated once, and so stays in the processor's cache. A loop
holds its batch while it asks for the next one, so whoever gives batches to keep needs two buffers: "memcpy, two buffers
in turn" says what that costs by itself, "gathering rows in no order" what an exact shuffle does; shares are of the one
buffer. The Loader reads memory-mapped shards; they are opened, checked and touched first: what is measured is memory
and arithmetic, not the disk (loader_cold.py measures that). Peers are those of loader_peers.py that are installed; slow
ones go over the first `--slow-rows` rows.

Where other programs run too, set OMP_WAIT_POLICY=PASSIVE: threads that spin while they wait for each other then keep
those that work from their core, and a median says nothing. "undisturbed" adds up the fastest time of each step over all
repeats: what a run would take with the machine for itself.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from dfndr import Loader, open_dataset
from dfndr.dataset import Dataset
from dfndr.format.manifest import Manifest, Shard, Step, write_manifest
from dfndr.format.schema import EncoderRecord, Preprocess, Space
from dfndr.format.shard import rows_path, vectors_path, write_rows, write_vectors

Run = Callable[[], Iterator[int]]
LIMIT = "memcpy limit"


def main() -> None:
    """Write everybody's files, run everybody in turns, print the table."""
    from loader_peers import peers

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--slow-rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--shards", type=int, nargs="+", default=[20, 1])
    parser.add_argument("--peers", nargs="+", default=["all"], help="names of loader_peers.py, all or none")
    parser.add_argument(
        "--dir", type=Path, help="keep the files here (2 kB a row and contender); else a temporary folder"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = given.dir or Path(temporary)
        datasets = {count: dataset_of(root / f"{count}-shards", given.rows, given.dim, count) for count in given.shards}
        first = datasets[given.shards[0]]
        contenders = {
            LIMIT: memcpy(first, given.batch_size),
            "memcpy, two buffers in turn": memcpy(first, given.batch_size, 2),
            "gathering rows in no order": gathering(datasets[min(datasets)], given.batch_size),
        }
        for count, dataset in datasets.items():
            for shuffle in (None, "block", "exact"):
                name = f"dfndr, {shuffle or 'sequential'}, {count} shard{'s' * (count > 1)}"
                contenders[name] = epochs(dataset, shuffle, given.batch_size)
        columns = {name.partition("/")[0]: first.vectors(name)[:, 0] for name in first.spaces}
        contenders |= peers(columns, root / "peers", given.batch_size, slow_rows=given.slow_rows, names=given.peers)
        show(measure(contenders, given.repeats))


def memcpy(dataset: Dataset, batch_size: int, buffers: int = 1) -> Run:
    """Return a function that copies all pairs in batches as fast as memory allows, to one buffer after the other."""
    sources = [torch.from_numpy(dataset.vectors(name)[:, 0]) for name in dataset.spaces]
    targets = cycle([[torch.empty_like(source[:batch_size]) for source in sources] for _ in range(buffers)])

    def run() -> Iterator[int]:
        for start in range(0, len(dataset), batch_size):
            count = min(batch_size, len(dataset) - start)
            for source, target in zip(sources, next(targets), strict=True):
                target[:count].copy_(source[start : start + count])
            yield count

    return run


def gathering(dataset: Dataset, batch_size: int) -> Run:
    """Return a function that copies all pairs in no order, each batch in one call, to two buffers in turn."""
    sources = [torch.from_numpy(dataset.vectors(name)[:, 0]).view(torch.int64) for name in dataset.spaces]
    targets = cycle([[torch.empty_like(source[:batch_size]) for source in sources] for _ in range(2)])
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(dataset)))

    def run() -> Iterator[int]:
        for rows in order.split(batch_size):
            for source, target in zip(sources, next(targets), strict=True):
                torch.index_select(source, 0, rows, out=target[: len(rows)])
            yield len(rows)

    return run


def epochs(dataset: Dataset, shuffle: str | None, batch_size: int) -> Run:
    """Return a function that runs through the loader's next epoch."""
    loader = Loader(dataset, list(dataset.spaces), batch_size=batch_size, shuffle=shuffle, framework="torch")
    return lambda: (len(batch) for batch in loader)


def measure(contenders: dict[str, Run], repeats: int) -> dict[str, tuple[int, np.ndarray]]:
    """Return each one's rows and the seconds of every step, shape (repeats, steps).

    A first run, which maps and touches, is left out.
    """
    found: dict[str, list[tuple[int, list[float]]]] = {name: [] for name in contenders}
    for _ in range(repeats + 1):
        for name, run in contenders.items():
            times, rows = [time.perf_counter()], 0
            for count in run():
                times.append(time.perf_counter())
                rows += count
            found[name].append((rows, np.diff(times).tolist()))
    return {name: (runs[0][0], np.array([seconds for _, seconds in runs[1:]])) for name, runs in found.items()}


def show(measured: dict[str, tuple[int, np.ndarray]]) -> None:
    """Print pairs per second, and their share of the memcpy limit, turn by turn."""
    print(f"{os.cpu_count()} CPUs, torch {torch.__version__} with {torch.get_num_threads()} threads")
    heads = ("pairs", "median pairs/s", "share", "least", "most", "undisturbed", "share")
    print(f"{'':44}" + "".join(f"{head:>15}" for head in heads))
    count, limit = measured[LIMIT]
    for name, (rows, steps) in measured.items():
        runs, best = steps.sum(axis=1) / rows, steps.min(axis=0).sum() / rows
        shares = limit.sum(axis=1) / count / runs
        line = (
            f"{rows:15,}{1 / np.median(runs):15,.0f}{np.median(shares):15.4f}{shares.min():15.4f}{shares.max():15.4f}"
        )
        print(f"{name:44}{line}{1 / best:15,.0f}{limit.min(axis=0).sum() / count / best:15.4f}")


def dataset_of(root: Path, rows: int, dim: int, count: int) -> Dataset:
    """Write a dataset of random pairs, unless it is there already, and open it; its files differ in one vector."""
    if not (root / "manifest.json").exists():
        rng = np.random.default_rng(0)
        spaces = tuple(Space(modality, "random", dim, unit_norm=False) for modality in ("image", "text"))
        longest = -(-rows // count)
        block = rng.standard_normal((longest, 1, dim), dtype=np.float32).astype(np.float16)
        shards = []
        for index, numbers in enumerate(np.array_split(np.arange(rows), count)):
            table = pa.table({"uid": [f"{number:032x}" for number in numbers]})
            files = {"rows": write_rows(str(root), rows_path("train", index), table)}
            for number, space in enumerate(spaces):
                block[0, 0, :2] = index, number  # a cache would fetch and hold equal files once
                path = vectors_path(space, "train", index)
                files[space.name] = write_vectors(str(root), path, space, [block[: len(numbers)]])
            shards.append(Shard(index, "train", rows_in=len(numbers), rows=len(numbers), files=files))
        write_manifest(str(root), manifest_of(spaces, tuple(shards), rows))
    return open_dataset(root)


def manifest_of(spaces: tuple[Space, ...], shards: tuple[Shard, ...], rows: int) -> Manifest:
    """Return a manifest whose encoder never was."""
    preprocess = Preprocess((1, 1), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bicubic", "shortest")
    encoder = EncoderRecord(
        name="random",
        model="random",
        pretrained="random:0",
        weights_sha256="0" * 64,
        dim=spaces[0].dim,
        context_length=1,
        preprocess=preprocess,
        precision="fp32",
        logit_scale=1.0,
        license="CC0-1.0",
        batch_size=1,
        threads=1,
    )
    return Manifest(
        name="random-pairs",
        license="CC0-1.0",
        recipe="",
        recipe_digest="0" * 64,
        seed=0,
        spaces=spaces,
        encoders={"random": encoder},
        scorers={},
        shards=shards,
        funnel=(Step("random", rows, rows),),
        provenance={},
    )


if __name__ == "__main__":
    main()
