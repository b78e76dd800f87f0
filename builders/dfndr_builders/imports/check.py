"""Vectors that somebody else computed are looked at before they are believed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dfndr.format.schema import NORM_TOLERANCE, Space
from dfndr.format.storage_types import decode
from dfndr_builders.stage import Step, good_rows, mark_problems, require
from dfndr_builders.vectors import vectors_of, vectors_type

__all__ = ["CheckVectors"]


@dataclass(frozen=True)
class CheckVectors:
    """Mark rows of which a vector is not finite, is zero, or has another length than the space promises.

    In a caption space the places beyond a row's captions hold zeros.
    """

    spaces: tuple[Space, ...]

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return the given schema; raises DataError where a space's column is missing or of another type."""
        require("check vectors", given, {space.name: vectors_type(space) for space in self.spaces})
        return given

    def open(self) -> Step:
        """Nothing to load."""
        return self._step

    def _step(self, table: pa.Table) -> pa.Table:
        problems: dict[int, tuple[str, str]] = {}
        good = set(good_rows(table))
        for space in self.spaces:
            vectors = decode(vectors_of(table, space), space.dtype).astype(np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                lengths = np.sqrt((vectors**2).sum(axis=2))
            free = np.zeros(lengths.shape, dtype=bool)
            if space.modality == "caption":
                used = np.array([len(captions or ()) for captions in table["captions"].to_pylist()])
                free = np.arange(space.per_row) >= used[:, None]
            fine = np.isfinite(lengths) & (lengths > 0)
            if space.unit_norm:
                fine &= np.abs(lengths - 1) <= NORM_TOLERANCE[space.dtype]
            for row, place in np.argwhere(~(fine | (free & (lengths == 0)))).tolist():
                if row in good:
                    detail = f"{space.name}, vector {place}: length {lengths[row, place]:.6g}"
                    problems.setdefault(row, ("vector_not_finite", detail))
        return mark_problems(table, problems)
