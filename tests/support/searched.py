"""Vectors in clusters, exact search over them, and what an index finds beside it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dfndr import Index, storage
from dfndr.format.schema import Space
from support.tiny import write_dataset

__all__ = ["ROWS", "SPACE", "clustered", "dataset", "exact", "lie", "recall"]

SPACE = Space("image", "enc", dim=16)
ROWS = 3000


def clustered(rows: int, dim: int = 16, clusters: int = 40) -> np.ndarray:
    rng = np.random.default_rng(5)
    centers = rng.standard_normal((clusters, dim))
    found = centers[rng.integers(0, clusters, rows)] + 0.6 * rng.standard_normal((rows, dim))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    sources = [("even", "odd", "rare")[2 if row % 50 == 0 else row % 2] for row in range(ROWS)]
    vectors = {SPACE.name: clustered(ROWS)}
    root = tmp_path_factory.mktemp("many")
    return write_dataset(root, (1000, 1500, 500), spaces=(SPACE,), vectors=vectors, columns={"source": sources})


@pytest.fixture(scope="module")
def exact(dataset):
    return Index.build(dataset, SPACE.name, kind="numpy")


def recall(index: Index, exact: Index, queries: np.ndarray, **asked: np.ndarray) -> float:
    """The share of the ten nearest that an index finds, a query's own row left out."""
    found, right = (one.search(queries, k=11, **asked).uids[:, 1:] for one in (index, exact))
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, right, strict=True)]))


def lie(path, name: str, array: np.ndarray) -> None:
    """Write another array in the place of one, and its hash into the record, as whoever means harm would."""
    np.save(path / name, array)
    record = json.loads((path / "index.json").read_text())
    found = {"size_bytes": (path / name).stat().st_size, "sha256": storage.sha256_of(str(path / name))}
    record["files"][name] = found
    (path / "index.json").write_text(json.dumps(record))
