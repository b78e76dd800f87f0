"""What each storage type costs and keeps: bytes, cosine error, neighbours, and the speed of reading them back.

    python -m benchmarks.storage_types [--dataset FOLDER --space image/encoder]

Random unit vectors of 512 numbers, and the vectors of a space of a dataset where one is named.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import get_args

import numpy as np
import numpy.typing as npt

from dfndr.dataset import open_dataset
from dfndr.format.schema import Space, StorageType
from dfndr.format.storage_types import decode, encode

Vectors = npt.NDArray[np.float64]


def main() -> None:
    """Print a table for each set of vectors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", help="a dataset whose vectors are measured too, best stored as float32")
    parser.add_argument("--space")
    given = parser.parse_args()
    drawn = np.random.default_rng(0).standard_normal((20_000, 512))
    report("20,000 random unit vectors of 512", unit(drawn))
    if given.dataset:
        dataset = open_dataset(given.dataset)
        space = given.space or next(iter(dataset.spaces))
        vectors = dataset.vectors(space)
        report(f"{dataset.manifest.name}, {space}", unit(vectors.reshape(-1, vectors.shape[-1]).astype(np.float64)))


def unit(vectors: Vectors) -> Vectors:
    """Return vectors of length one, without those that are zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Vectors = vectors[length[:, 0] > 0] / length[length[:, 0] > 0]
    return found


def report(title: str, vectors: Vectors) -> None:
    """Print what each type makes of some vectors."""
    print(f"\n{title}\n\n| type | bytes a vector | 1 - cosine, mean | worst | same 10 neighbours | decode, million/s |")
    print("|---|---|---|---|---|---|")
    asked = np.linspace(0, len(vectors) - 1, 500).astype(int)
    wanted = nearest(vectors, asked)
    for dtype in get_args(StorageType):
        print(line(dtype, vectors, asked, wanted))


def line(dtype: StorageType, vectors: Vectors, asked: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]) -> str:
    """Return a row of the table: five decodings, their median and spread."""
    stored = encode(vectors, dtype)
    found = unit(decode(stored, dtype).astype(np.float64))
    error = ((vectors - found) ** 2).sum(axis=1) / 2  # 1 - cosine of unit vectors, without cancellation
    same = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(wanted, nearest(found, asked), strict=True)])
    out, rates = np.empty(vectors.shape, dtype=np.float32), []
    for _ in range(5):
        start = time.perf_counter()
        decode(stored, dtype, out) if dtype in ("bfloat16", "int8") else np.copyto(out, stored)
        rates.append(len(vectors) / (time.perf_counter() - start) / 1e6)
    size = Space("image", "any", vectors.shape[1], dtype=dtype).row_bytes
    speed = f"{statistics.median(rates):.2f} ({min(rates):.2f} to {max(rates):.2f})"
    return f"| {dtype} | {size:,} | {error.mean():.1e} | {error.max():.1e} | {100 * same:.1f} % | {speed} |"


def nearest(vectors: Vectors, asked: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the ten vectors most like each that is asked, itself left out."""
    scores = vectors[asked] @ vectors.T
    scores[np.arange(len(asked)), asked] = -np.inf
    return np.argpartition(-scores, 10, axis=1)[:, :10].astype(np.int64)


if __name__ == "__main__":
    main()
