"""What else feeds cached pairs of vectors to a training loop: each a function that runs through one epoch.

Everybody reads the same numbers, from files of a layout of its own that are in the page cache, and gives batches of
torch tensors; shuffled where it can, and as its documentation has it for a local copy.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

__all__ = ["peers"]

_TAR = 10_000
Run = Callable[[], Iterator[int]]
Columns = dict[str, np.ndarray]


def peers(columns: Columns, root: Path, size: int, *, slow_rows: int, names: Sequence[str]) -> dict[str, Run]:
    """Write the files of those that are named and installed, and return their epochs; "all" and "none" are names."""
    root.mkdir(parents=True, exist_ok=True)
    few = {name: column[:slow_rows] for name, column in columns.items()}
    found = {}
    for name, (package, is_slow, opened) in _PEERS.items():
        if "none" in names or ("all" not in names and name not in names):
            continue
        if package and find_spec(package) is None:
            print(f"{name}: {package} is not installed")
            continue
        folder = root / f"{opened.__name__}-{len((few if is_slow else columns)['image'])}"
        is_new = not folder.exists()
        folder.mkdir(exist_ok=True)
        found[name] = opened(few if is_slow else columns, folder, size, is_new)
    return found


def tensors_gathered(columns: Columns, root: Path, size: int, is_new: bool) -> Run:
    """Return a function that gathers rows of tensors in memory in a random order."""
    tensors = [torch.from_numpy(column.copy()) for column in columns.values()]

    def run() -> Iterator[int]:
        for rows in torch.randperm(len(tensors[0])).split(size):
            batch = [tensor.index_select(0, rows) for tensor in tensors]
            yield len(batch[0])

    return run


def tensor_dataset(columns: Columns, root: Path, size: int, is_new: bool) -> Run:
    """Return a function that runs through torch's DataLoader over tensors in memory."""
    data = torch.utils.data.TensorDataset(*(torch.from_numpy(column) for column in columns.values()))
    return lambda: (len(batch[0]) for batch in torch.utils.data.DataLoader(data, batch_size=size, shuffle=True))


def memory_map(columns: Columns, root: Path, size: int, is_new: bool) -> Run:
    """Return a function that gathers rows from memory-mapped `.npy` files in a random order."""
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
        arrays = {
            name: pa.FixedSizeListArray.from_arrays(pa.array(column.reshape(-1)), column.shape[1])
            for name, column in columns.items()
        }
        pq.write_table(pa.table(arrays), path, row_group_size=10_000)
    return str(path)


def shuffled(columns: Columns, root: Path, size: int, is_new: bool) -> Run:
    """Return a function that runs through a shuffled `datasets.Dataset`."""
    import datasets

    datasets.disable_progress_bars()
    path = parquet(columns, root)
    data = datasets.load_dataset("parquet", data_files=path, split="train", cache_dir=str(root)).with_format("torch")
    return lambda: (len(batch["image"]) for batch in data.shuffle().iter(batch_size=size))


def streaming(columns: Columns, root: Path, size: int, is_new: bool) -> Run:
    """Return a function that runs through a `datasets.IterableDataset` with a shuffle buffer."""
    import datasets

    path = parquet(columns, root)
    data = datasets.load_dataset("parquet", data_files=path, split="train", streaming=True)
    data = data.shuffle(buffer_size=10_000, seed=0).with_format("torch")
    return lambda: (len(batch["image"]) for batch in data.iter(batch_size=size))


def parquet_in_order(columns: Columns, root: Path, size: int, is_new: bool) -> Run:
    """Return a function that reads a Parquet file from end to end by pyarrow; nothing is shuffled."""
    import pyarrow.parquet as pq

    path = parquet(columns, root)

    def tensor(array: object, dim: int) -> torch.Tensor:
        return torch.from_numpy(array.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim).copy())

    def run() -> Iterator[int]:
        for part in pq.ParquetFile(path).iter_batches(batch_size=size):
            batch = [tensor(part[name], column.shape[1]) for name, column in columns.items()]
            yield len(batch[0])

    return run


def embedding_reader(columns: Columns, root: Path, size: int, is_new: bool) -> Run:
    """Return a function that goes through folders of `.npy` files in order."""
    from embedding_reader import EmbeddingReader

    for name, column in columns.items() if is_new else ():
        (root / name).mkdir()
        for number, first in enumerate(range(0, len(column), 50_000)):
            np.save(root / name / f"{number:04d}.npy", column[first : first + 50_000])
    readers = [EmbeddingReader(embeddings_folder=str(root / name), file_format="npy") for name in columns]
    rows = len(columns["image"])

    def run() -> Iterator[int]:
        each = [reader(batch_size=size, start=0, end=rows, show_progress=False) for reader in readers]
        for parts in zip(*each, strict=True):
            batch = [torch.from_numpy(np.ascontiguousarray(vectors)) for vectors, _ in parts]
            yield len(batch[0])

    return run


def lance_rows(columns: Columns, root: Path, size: int, is_new: bool) -> Run:
    """Return a function that takes rows of a Lance dataset in a random order."""
    import lance
    import pyarrow as pa

    if is_new:
        arrays = {
            name: pa.FixedSizeListArray.from_arrays(pa.array(column.reshape(-1)), column.shape[1])
            for name, column in columns.items()
        }
        lance.write_dataset(pa.table(arrays), str(root / "pairs.lance"))
    data = lance.dataset(str(root / "pairs.lance"))

    def run() -> Iterator[int]:
        order = np.random.default_rng().permutation(len(columns["image"]))
        for start in range(0, len(order), size):
            table = data.take(order[start : start + size].tolist()).combine_chunks()
            batch = [
                torch.from_numpy(table[name].chunk(0).flatten().to_numpy().reshape(-1, column.shape[1]).copy())
                for name, column in columns.items()
            ]
            yield len(batch[0])

    return run


def lit_data(columns: Columns, root: Path, size: int, is_new: bool) -> Run:
    """Return a function that runs through litdata's chunks, shuffled."""
    import litdata
    from litdata.streaming.writer import BinaryWriter

    if is_new:
        writer = BinaryWriter(str(root), chunk_bytes="64MB")
        for row in range(len(columns["image"])):
            writer[row] = {name: torch.from_numpy(column[row].copy()) for name, column in columns.items()}
        writer.done()
        writer.merge()

    def run() -> Iterator[int]:
        data = litdata.StreamingDataset(str(root), shuffle=True)
        return (len(batch["image"]) for batch in litdata.StreamingDataLoader(data, batch_size=size, num_workers=0))

    return run


def mosaic_streaming(columns: Columns, root: Path, size: int, is_new: bool) -> Run:
    """Return a function that runs through MosaicML's shards, shuffled."""
    from streaming import MDSWriter, StreamingDataset

    kinds = {name: f"ndarray:float16:{column.shape[1]}" for name, column in columns.items()}
    if is_new:
        with MDSWriter(out=str(root / "mds"), columns=kinds, size_limit=1 << 26) as writer:
            for row in range(len(columns["image"])):
                writer.write({name: column[row] for name, column in columns.items()})
    data = StreamingDataset(local=str(root / "mds"), remote=None, shuffle=True, batch_size=size)
    return lambda: (len(batch["image"]) for batch in torch.utils.data.DataLoader(data, batch_size=size))


def tars_of_npz(columns: Columns, root: Path, size: int, is_new: bool) -> Run:
    """Return a function that runs through webdataset over tars of one `.npz` a sample."""
    import webdataset

    rows = len(columns["image"])
    for number, first in enumerate(range(0, rows, _TAR) if is_new else ()):
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


_PEERS: dict[str, tuple[str, bool, Callable[[Columns, Path, int, bool], Run]]] = {
    "tensors in memory, gathered": ("", False, tensors_gathered),
    "NumPy memory map, gathered": ("", False, memory_map),
    "pyarrow, Parquet in order": ("", False, parquet_in_order),
    "embedding-reader, in order": ("embedding_reader", False, embedding_reader),
    "lance, rows taken": ("lance", True, lance_rows),
    "torch DataLoader over tensors in memory": ("", True, tensor_dataset),
    "datasets, shuffled": ("datasets", True, shuffled),
    "datasets, streaming with a buffer": ("datasets", True, streaming),
    "litdata": ("litdata", True, lit_data),
    "MosaicML streaming": ("streaming", True, mosaic_streaming),
    "webdataset over tars of .npz": ("webdataset", True, tars_of_npz),
}
"""By name: the package it needs beside torch and pyarrow, whether it is slow, and the function that opens it."""
