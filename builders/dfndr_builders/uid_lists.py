"""Lists of uids in files: text, Parquet, and the subset files of DataComp.

A subset file holds one record of two little-endian unsigned 64-bit integers per uid: the first and the last 16 of its
hex digits, sorted by the first and then the second. It has the header of a `.npy`, or none at all.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dfndr import storage
from dfndr.errors import DataError, UsageError
from dfndr.format.shard import parquet_file
from dfndr.format.uid import UID, pack_uids, unpack_uids
from dfndr.storage import Stored

__all__ = ["SUBSET", "read_uids", "write_uids"]

SUBSET = np.dtype([("f0", "<u8"), ("f1", "<u8")])
"""A record of a DataComp subset file."""

Packed = npt.NDArray[np.uint8]

_MAGIC = b"\x93NUMPY"
_PIECE = 1_000_000
_DO = "Check the file; it may be of another kind than its name says."


def read_uids(path: str) -> Packed:
    """Return the uids of a `.txt`, `.parquet` (column `uid`) or `.npy` file, packed, shape (n, 16), as they come.

    A text file has a uid on each line; blank lines and what follows a `#` are passed over. Raises DataError, which
    names the line or row, for what is no uid, and UsageError for another kind of file.
    """
    readers = {".txt": _read_text, ".parquet": _read_parquet, ".npy": _read_subset}
    return readers[_ending(path)](path)


def write_uids(path: str, packed: Packed) -> Stored:
    """Write packed uids, shape (n, 16), as the path's ending says; a subset file is sorted, the others are not.

    A uid that comes twice is written twice: DataComp's resharder repeats such a sample.
    """
    ending = _ending(path)
    if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] != 16:
        found = f"{packed.dtype} of shape {packed.shape}"
        raise UsageError(path, expected="packed uids, uint8 of shape (n, 16)", found=found, do="Pack them first.")
    folder, _, name = path.rpartition("/")

    def write_text(file: BinaryIO) -> None:
        for texts in _texts(packed):
            file.write("".join(f"{uid}\n" for uid in texts).encode())

    def write_parquet(file: BinaryIO) -> None:
        schema = pa.schema([("uid", pa.string())])
        with pa.PythonFile(file, mode="w") as sink, pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            for texts in _texts(packed):
                writer.write_table(pa.table({"uid": pa.array(texts, pa.string())}))

    def write_subset(file: BinaryIO) -> None:
        fields = np.ascontiguousarray(packed).view(">u8")
        records = np.empty(len(packed), dtype=SUBSET)
        order = np.lexsort((fields[:, 1], fields[:, 0]))
        records["f0"], records["f1"] = fields[order, 0], fields[order, 1]
        np.lib.format.write_array(file, records, version=(1, 0), allow_pickle=False)

    writers = {".txt": write_text, ".parquet": write_parquet, ".npy": write_subset}
    return storage.put(folder or ("/" if path.startswith("/") else ""), name, writers[ending])


def _ending(path: str) -> str:
    ending = Path(path).suffix.lower()
    if ending not in (".txt", ".parquet", ".npy"):
        found = f"{ending!r}" if ending else "no ending"
        raise UsageError(
            path, expected="a .txt, .parquet or .npy file of uids", found=found, do="Rename or convert it."
        )
    return ending


def _texts(packed: Packed) -> Iterator[list[str]]:
    for start in range(0, len(packed), _PIECE):
        yield unpack_uids(packed[start : start + _PIECE]).tolist()


def _read_text(path: str) -> Packed:
    uids = []
    with storage.open_read(path) as file:
        for number, line in enumerate(file, start=1):
            text = line.decode("utf-8", "replace").partition("#")[0].strip("\ufeff \t\r\n").lower()
            if not text:
                continue
            if not UID.fullmatch(text):
                where = f"{path}, line {number}"
                raise DataError(where, expected="a uid of 32 hex digits", found=repr(text)[:80], do=_DO)
            uids.append(text)
    return _packed("".join(uids))


def _packed(digits: str) -> Packed:
    return np.frombuffer(bytes.fromhex(digits), dtype=np.uint8).reshape(-1, 16)


def _read_parquet(path: str) -> Packed:
    with storage.open_read(path) as file, parquet_file(path, file) as opened:
        if "uid" not in opened.schema_arrow.names:
            found = f"the columns {opened.schema_arrow.names}"[:80]
            raise DataError(path, expected="a column 'uid'", found=found, do=_DO)
        pieces, rows = [_packed("")], 0
        for batch in opened.iter_batches(_PIECE, columns=["uid"]):
            texts = [uid.lower() if isinstance(uid, str) else uid for uid in batch.column(0).to_pylist()]
            for row, uid in enumerate(texts, start=rows):
                if not isinstance(uid, str) or not UID.fullmatch(uid):
                    where = f"{path}, row {row}"
                    raise DataError(where, expected="a uid of 32 hex digits", found=repr(uid)[:80], do=_DO)
            pieces.append(pack_uids(texts, path))
            rows += len(texts)
    return np.concatenate(pieces)


def _read_subset(path: str) -> Packed:
    content = storage.read_bytes(path)
    if not content.startswith(_MAGIC):
        if len(content) % 16:
            found = f"{len(content)} bytes"
            raise DataError(path, expected="records of 16 bytes", found=found, do=_DO)
        records = np.frombuffer(content, dtype=SUBSET)
    else:
        try:
            records = _array_of(content)
        except (ValueError, EOFError, TypeError, SyntaxError, TokenError) as error:
            raise DataError(path, expected="a whole .npy file", found=str(error)[:80], do=_DO) from error
    kinds = [records.dtype[name] for name in records.dtype.names or ()]
    if records.ndim != 1 or len(kinds) != 2 or any(kind != np.dtype("u8") for kind in kinds):
        found = f"{records.dtype} of shape {records.shape}"
        raise DataError(path, expected="records of two uint64, as in DataComp's subset files", found=found[:80], do=_DO)
    packed = np.empty((len(records), 2), dtype=">u8")
    for half, name in enumerate(records.dtype.names or ()):
        packed[:, half] = records[name]
    return packed.view(np.uint8)


def _array_of(content: bytes) -> npt.NDArray[np.void]:
    """Return the array of a `.npy` as it lies in memory, so that no more is taken than the file has; or ValueError."""
    file = io.BytesIO(content)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"version {version}")
    shape, _, kind = readers[version](file)
    there = len(content) - file.tell()
    if kind.hasobject or math.prod(shape) * kind.itemsize != there:
        raise ValueError(f"{kind} of shape {shape} in {there} bytes")
    return np.frombuffer(content, kind, offset=file.tell()).reshape(shape)
