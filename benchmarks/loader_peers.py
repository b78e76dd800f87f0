"""The Loader beside what else feeds cached pairs of vectors to a training loop, in turns within one run.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/loader_peers.py [--rows 100000] [--repeats 5] [--dir DIR]

The work is that of benchmarks/loader.py: one shuffled epoch over pairs of two float16 vectors, in batches, as torch
tensors. Everybody reads the same numbers, from files of a layout of its own that are in the page cache:

  torch TensorDataset    all in memory, torch's own DataLoader
  numpy memory map       one `.npy` a column, rows gathered by a permutation
  datasets, shuffled     Hugging Face datasets over Parquet (through its Arrow cache), `shuffle().iter()`
  datasets, streaming    the same Parquet, streamed, a buffer of 10,000 rows
  webdataset, npz        tars of one `.npz` a sample, as DataCompDR and DFNDR are published, a buffer of 5,000
"""

from __future__ import annotations

import argparse
import io
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from loader import Run, dataset_of, epochs, measure, memcpy_limit, show

_TAR = 10_000


def main() -> None:
    """Write everybody's files, run everybody in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dir", type=Path, help="keep the files here; else a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = given.dir or Path(temporary)
        dataset = dataset_of(root / "dfndr", given.rows, given.dim, 20)
        columns = {name.partition("/")[0]: dataset.vectors(name)[:, 0] for name in dataset.spaces}
        size = given.batch_size
        contenders = {
            "memcpy limit": memcpy_limit(dataset, size),
            "dfndr, exact": epochs(dataset, "exact", size),
            "dfndr, block": epochs(dataset, "block", size),
            "torch TensorDataset": tensor_dataset(columns, size),
            "numpy memory map": memory_map(columns, root / "npy", size),
            "datasets, shuffled": shuffled(columns, root / "parquet", size),
            "datasets, streaming": streaming(columns, root / "parquet", size),
            "webdataset, npz": tars_of_npz(columns, root / "tars", size),
        }
        show(measure(contenders, given.repeats), given.rows)


Columns = dict[str, np.ndarray]


def tensor_dataset(columns: Columns, size: int) -> Run:
    """Return a function that runs through torch's DataLoader over tensors in memory."""
    data = torch.utils.data.TensorDataset(*(torch.from_numpy(column) for column in columns.values()))
    return lambda: (len(batch[0]) for batch in torch.utils.data.DataLoader(data, batch_size=size, shuffle=True))


def memory_map(columns: Columns, root: Path, size: int) -> Run:
    """Return a function that gathers rows from memory-mapped `.npy` files in a random order."""
    root.mkdir(exist_ok=True)
    for name, column in columns.items():
        np.save(root / f"{name}.npy", column)
    maps = [np.load(root / f"{name}.npy", mmap_mode="r") for name in columns]

    def run() -> Iterator[int]:
        order = np.random.default_rng().permutation(len(maps[0]))
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            batch = [torch.from_numpy(column[rows]) for column in maps]
            yield len(batch[0])

    return run


def parquet(columns: Columns, root: Path) -> str:
    """Return a Parquet file of two columns of fixed-size lists, written unless it is there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = root / "pairs.parquet"
    if not path.exists():
        root.mkdir(exist_ok=True)
        arrays = {
            name: pa.FixedSizeListArray.from_arrays(pa.array(column.reshape(-1)), column.shape[1])
            for name, column in columns.items()
        }
        pq.write_table(pa.table(arrays), path, row_group_size=10_000)
    return str(path)


def shuffled(columns: Columns, root: Path, size: int) -> Run:
    """Return a function that runs through a shuffled `datasets.Dataset`."""
    import datasets

    datasets.disable_progress_bars()
    path = parquet(columns, root)
    data = datasets.load_dataset("parquet", data_files=path, split="train", cache_dir=str(root)).with_format("torch")
    return lambda: (len(batch["image"]) for batch in data.shuffle().iter(batch_size=size))


def streaming(columns: Columns, root: Path, size: int) -> Run:
    """Return a function that runs through a `datasets.IterableDataset` with a shuffle buffer."""
    import datasets

    path = parquet(columns, root)
    data = datasets.load_dataset("parquet", data_files=path, split="train", streaming=True)
    data = data.shuffle(buffer_size=10_000, seed=0).with_format("torch")
    return lambda: (len(batch["image"]) for batch in data.iter(batch_size=size))


def tars_of_npz(columns: Columns, root: Path, size: int) -> Run:
    """Return a function that runs through webdataset over tars of one `.npz` a sample."""
    import webdataset

    root.mkdir(exist_ok=True)
    rows = len(columns["image"])
    for number, first in enumerate(range(0, rows, _TAR)):
        with tarfile.open(root / f"{number:05d}.tar", "w") as tar:
            for row in range(first, min(rows, first + _TAR)):
                file = io.BytesIO()
                np.savez(file, **{f"{name}_emb": column[row] for name, column in columns.items()})
                member = tarfile.TarInfo(f"{row:09d}.npz")
                member.size = file.tell()
                file.seek(0)
                tar.addfile(member, file)

    def pair(sample: dict[str, bytes]) -> list[torch.Tensor]:
        arrays = np.load(io.BytesIO(sample["npz"]))
        return [torch.from_numpy(arrays[f"{name}_emb"]) for name in columns]

    def run() -> Iterator[int]:
        tars = sorted(str(path) for path in root.glob("*.tar"))
        data = webdataset.WebDataset(tars, shardshuffle=len(tars)).shuffle(5000).map(pair)
        return (len(batch[0]) for batch in torch.utils.data.DataLoader(data, batch_size=size))

    return run


if __name__ == "__main__":
    main()
