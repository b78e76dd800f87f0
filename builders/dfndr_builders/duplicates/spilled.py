"""Vectors sorted by cluster in a temporary file, so that a cluster is read in one piece and none is all in memory."""

from __future__ import annotations

from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dfndr_builders.duplicates.cosine import Stored
from dfndr_builders.duplicates.groups import Rows

__all__ = ["Spilled"]


class Spilled:
    """Vectors of shape (count, dim) in a file, at places that run through the clusters; to be closed after use."""

    def __init__(self, path: Path, dim: int, kind: np.dtype[Any], clusters: npt.NDArray[np.int32], count: int) -> None:
        """Take the cluster of each vector, below `count`; places are in the order of clusters, then of vectors."""
        self._dim, self._kind, self._size = dim, kind, dim * kind.itemsize
        self.order: Rows = np.argsort(clusters, kind="stable")
        self._sizes = np.bincount(clusters, minlength=count)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._clusters, self._filled = clusters, self._starts.copy()
        self.clusters = count
        self._file = FileIO(path, "w+")

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    def span(self, cluster: int) -> range:
        """Return the places of a cluster."""
        start = int(self._starts[cluster])
        return range(start, start + int(self._sizes[cluster]))

    def put(self, first: int, vectors: Stored) -> None:
        """Store vectors first, first + 1, ..., each in its cluster's next place; call it in the vectors' order."""
        clusters = self._clusters[first : first + len(vectors)]
        order = np.argsort(clusters, kind="stable")
        sizes = np.bincount(clusters, minlength=len(self._sizes))
        stops = np.cumsum(sizes)
        for cluster in np.flatnonzero(sizes):
            members = order[stops[cluster] - sizes[cluster] : stops[cluster]]
            self._file.seek(int(self._filled[cluster]) * self._size)
            _whole(self._file.write, vectors[members].astype(self._kind, copy=False).tobytes())
        self._filled += sizes

    def run(self, places: range) -> Stored:
        """Return the vectors of neighbouring places."""
        found = np.empty((len(places), self._dim), dtype=self._kind)
        self._file.seek(places.start * self._size)
        self._into(found)
        return found

    def gather(self, places: Rows) -> Stored:
        """Return the vectors of any places."""
        found = np.empty((len(places), self._dim), dtype=self._kind)
        for row, place in enumerate(places.tolist()):
            self._file.seek(place * self._size)
            self._into(found[row])
        return found

    def _into(self, found: Stored) -> None:
        view, done = found.view(np.uint8).reshape(-1).data, 0
        while done < len(view):
            done += self._file.readinto(view[done:])


def _whole(write: Callable[[memoryview], int], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[write(view) :]
