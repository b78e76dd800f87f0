"""Vectors for layouts that have one per row: `.npy` files of two dimensions, and archives of them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from typing import IO, BinaryIO

import numpy as np

from dfndr.dataset import Dataset

__all__ = ["npy_writer", "npz_writer"]

_ROWS = 8_192


def npy_writer(dataset: Dataset, space: str) -> Callable[[IO[bytes]], None]:
    """Return what writes the first vector of each row, shape (rows, dim), 8,192 rows at a time."""

    def write(file: IO[bytes]) -> None:
        kind = dataset.vectors(space, slice(0, 0)).dtype.newbyteorder("<")
        header = {"descr": kind.str, "fortran_order": False, "shape": (len(dataset), dataset.space(space).dim)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(dataset), _ROWS):
            block = dataset.vectors(space, slice(start, start + _ROWS))[:, 0]
            file.write(np.ascontiguousarray(block, dtype=kind).data.cast("B"))

    return write


def npz_writer(dataset: Dataset, names: Mapping[str, str]) -> Callable[[BinaryIO], None]:
    """Return what writes an archive of such arrays, by the names of their spaces; equal vectors give equal bytes."""

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for space, name in names.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    npy_writer(dataset, space)(member)

    return write
