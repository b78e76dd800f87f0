"""The Loader over files that are on the disk alone, beside reading the same files from end to end, in turns in one run.

    python benchmarks/loader_cold.py --dir DIR [--rows 2000000] [--memory-mb 1024] [--repeats 5]

Before each run the files leave the system's cache (`posix_fadvise(DONTNEED)`, after the maps of the run before are
closed). What the disk makes of `"block"` is told by reading the same blocks of 256 rows in no order, sixteen at a time,
with nothing of the Loader. `--memory-mb` gives this process, and the pages it reads, so much memory and no more, by a
control group: that takes root, and makes any dataset larger than memory. The dataset stays in DIR (2 kB a row). What
takes longer than `--seconds` is cut off there and counted by the pairs it gave.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from loader import dataset_of

from dfndr import Loader, open_dataset
from dfndr.order import BLOCK

_GROUPS = Path("/sys/fs/cgroup")
_AT_ONCE = 16


def main() -> None:
    """Write the dataset, read it in all ways in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--memory-mb", type=int)
    parser.add_argument("--only", nargs="+", default=["sequential", "window", "block", "exact"])
    given = parser.parse_args()
    dataset_of(given.dir, given.rows, given.dim, given.shards)
    files = sorted(given.dir.rglob("*.npy"))
    ways = {"reading the files": lambda: read(files), "blocks in no order": lambda: read_blocks(files, given.dim * 2)}
    for name in given.only:
        ways[name] = lambda name=name: load(given.dir, name, given.batch_size, given.rows, given.seconds)
    with memory_of(given.memory_mb):
        runs: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(given.repeats):
            for name, way in ways.items():
                forget(files)
                runs[name].append(way())
    show(runs, files, given.memory_mb)


def read(files: list[Path]) -> float:
    """Return the seconds that reading all files takes, one after the other, a megabyte at a time."""
    begun, buffer = time.perf_counter(), bytearray(1 << 20)
    for path in files:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.perf_counter() - begun


def read_blocks(files: list[Path], row_bytes: int) -> float:
    """Return the seconds that reading all files takes in blocks of as many rows as the Loader's, in no order."""
    size, opened = BLOCK * row_bytes, [os.open(path, os.O_RDONLY) for path in files]
    for file in opened:
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
    blocks = [(file, start) for file in opened for start in range(0, os.fstat(file).st_size, size)]
    order = np.random.default_rng(0).permutation(len(blocks)).tolist()

    def read_some(first: int) -> None:
        buffer = bytearray(size)
        for number in order[first::_AT_ONCE]:
            os.preadv(blocks[number][0], [buffer], blocks[number][1])

    begun = time.perf_counter()
    with ThreadPoolExecutor(_AT_ONCE) as readers:
        list(readers.map(read_some, range(_AT_ONCE)))
    took = time.perf_counter() - begun
    for file in opened:
        os.close(file)
    return took


def load(root: Path, shuffle: str, batch_size: int, rows: int, most_s: float) -> float:
    """Return the seconds of an epoch; of one that is cut off, what it would have taken at that rate."""
    dataset = open_dataset(root, check="size")
    order = None if shuffle == "sequential" else shuffle
    loader = Loader(dataset, list(dataset.spaces), columns=[], batch_size=batch_size, shuffle=order)
    begun, seen = time.perf_counter(), 0
    for batch in loader:
        seen += len(batch)
        if time.perf_counter() - begun > most_s:
            break
    return (time.perf_counter() - begun) * rows / seen


def forget(files: list[Path]) -> None:
    """Take the files out of the system's cache."""
    gc.collect()
    for path in files:
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def memory_of(size_mb: int | None) -> Iterator[None]:
    """Hold this process to an amount of memory, the pages that it reads included."""
    if size_mb is None:
        yield
        return
    first = (_GROUPS / "memory").is_dir()  # the first version of control groups, which knows them one by one
    group = (_GROUPS / "memory" if first else _GROUPS) / f"dfndr-{os.getpid()}"
    group.mkdir()
    try:
        (group / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(size_mb << 20))
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield
    finally:
        (group.parent / "cgroup.procs").write_text(str(os.getpid()))
        group.rmdir()


def show(runs: dict[str, list[float]], files: list[Path], memory_mb: int | None) -> None:
    """Print seconds, bytes a second, and times as long as reading took in the same turn."""
    size = sum(path.stat().st_size for path in files)
    print(f"{size / 1e9:.1f} GB of vectors, memory: {f'{memory_mb} MB' if memory_mb else 'all of the machine'}")
    print(f"{'':22}{'median s':>12}{'MB/s':>10}{'x reading':>12}{'least':>9}{'most':>9}")
    base = np.array(runs["reading the files"])
    for name, seconds in runs.items():
        times = np.array(seconds) / base
        print(
            f"{name:22}{np.median(seconds):12.2f}{size / 1e6 / np.median(seconds):10.0f}"
            f"{np.median(times):12.2f}{times.min():9.2f}{times.max():9.2f}"
        )


if __name__ == "__main__":
    main()
