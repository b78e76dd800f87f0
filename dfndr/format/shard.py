"""The two kinds of file in a shard: rows as Parquet, vectors as plain `.npy`, each written and read in one place."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from dfndr import storage
from dfndr.errors import FormatError
from dfndr.format.footers import check_footer
from dfndr.format.schema import Space
from dfndr.format.storage_types import encode, stored_type
from dfndr.storage import Stored

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = [
    "map_vectors",
    "parquet_errors",
    "parquet_file",
    "read_parquet",
    "row_types",
    "rows_path",
    "vectors_path",
    "write_rows",
    "write_vectors",
]

_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 4096
_ROW_GROUP = 10_000
_DO = "Run `dfndr verify` on the dataset, then fetch or build the file again."


def rows_path(split: str, index: int, kind: str = "rows") -> str:
    """Return the path template of a shard's Parquet file."""
    return f"{kind}/{split}-{index:05d}-{{hash8}}.parquet"


def vectors_path(space: Space, split: str, index: int) -> str:
    """Return the path template of a shard's vectors in one space."""
    return f"{space.name}/{split}-{index:05d}-{{hash8}}.npy"


def row_types(scores: Iterable[str] = ()) -> dict[str, pa.DataType]:
    """Return the types of the columns whose meaning docs/format.md fixes, and of the given scores."""
    import pyarrow as pa

    texts = ("uid", "key", "text", "original_text", "source", "license", "sha256")
    return {
        **dict.fromkeys(texts, pa.string()),
        **dict.fromkeys(("width", "height"), pa.int32()),
        **dict.fromkeys(scores, pa.float32()),
        **dict.fromkeys(("captions", "views"), pa.list_(pa.string())),
        "caption_models": pa.list_(pa.string()),
        "caption_seeds": pa.list_(pa.int64()),
        "caption_scores": pa.list_(pa.float32()),
        "thumbnail": pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]),
    }


def write_rows(root: str, path: str, table: pa.Table) -> Stored:
    """Write a table as Parquet (zstd, row groups of 10,000 rows, so that readers can skip)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def write(file: BinaryIO) -> None:
        with pa.PythonFile(file, mode="w") as sink:
            pq.write_table(table, sink, compression="zstd", row_group_size=_ROW_GROUP, store_schema=True)

    return storage.put(root, path, write)


def write_vectors(root: str, path: str, space: Space, blocks: Sequence[npt.NDArray[Any]]) -> Stored:
    """Write blocks of shape (rows, per_row, dim), one below the other, as one `.npy` of the space's storage type.

    Blocks that are coded already (uint16 and int8) are written as they are.
    """
    import numpy as np

    rows, shape = sum(len(block) for block in blocks), (space.per_row, space.stored_dim)
    kind = stored_type(space.dtype)

    def write(file: BinaryIO) -> None:
        header = {"descr": kind.str, "fortran_order": False, "shape": (rows, *shape)}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            stored = encode(block, space.dtype) if block.dtype.kind == "f" else block
            if stored.shape[1:] != shape or stored.dtype != kind:
                found = f"a block of {block.dtype}, shape {block.shape}"
                expected = f"shape (rows, {space.per_row}, {space.dim})"
                raise FormatError(path, expected=expected, found=found, do="Report this: a stage broke its promise.")
            if stored.size:
                file.write(np.ascontiguousarray(stored).data.cast("B"))

    return storage.put(root, path, write)


def _read_header(path: Path) -> tuple[str, int]:
    """Return the header of a `.npy`, a Python literal that nobody evaluates here, and where its data starts."""
    with open(path, "rb") as file:
        head = file.read(12)
        if len(head) < 12 or head[:6] != _MAGIC or head[6] not in (1, 2):
            raise FormatError(str(path), expected="a .npy file of version 1 or 2", found=repr(head[:8]), do=_DO)
        start = 10 if head[6] == 1 else 12
        length = int.from_bytes(head[8:start], "little")
        if length > _MAX_HEADER:
            raise FormatError(str(path), expected=f"a header of at most {_MAX_HEADER} bytes", found=f"{length}", do=_DO)
        file.seek(start)
        return file.read(length).decode("latin-1").strip(), start + length


def map_vectors(path: str, space: Space, rows: int) -> npt.NDArray[Any]:
    """Memory-map a local shard's vectors as they are stored, shape (rows, per_row, stored_dim), read-only.

    The header must say just what the manifest says and the file must be just that long before anything is mapped;
    raises FormatError otherwise. An object array (which would need pickle) is refused like any other wrong type.
    """
    import numpy as np

    header, offset = _read_header(Path(path))
    kind, shape = stored_type(space.dtype), (rows, space.per_row, space.stored_dim)
    wanted = f"{{'descr': {kind.str!r}, 'fortran_order': False, 'shape': {shape}, }}"
    if "".join(header.split()) not in ("".join(wanted.split()), "".join(wanted.split()).replace(",}", "}")):
        raise FormatError(path, expected=f"the .npy header {wanted}", found=f"{header[:200]!r}", do=_DO)
    size, promised = Path(path).stat().st_size, offset + rows * space.row_bytes
    if size != promised:
        raise FormatError(path, expected=f"{promised} bytes", found=f"{size} bytes", do=_DO)
    if rows == 0:
        return np.empty(shape, dtype=kind)
    return np.memmap(path, dtype=kind, mode="r", offset=offset, shape=shape)


def read_parquet(path: str, rows: int, columns: Iterable[str] | None = None) -> pa.Table:
    """Read a local shard's Parquet; raises FormatError where it is damaged or holds another number of rows."""
    with parquet_file(path) as file:
        if file.metadata.num_rows != rows:
            raise FormatError(path, expected=f"{rows} rows", found=f"{file.metadata.num_rows} rows", do=_DO)
        table = file.read(columns=None if columns is None else list(columns))
        table.validate(full=True)
        return table


@contextmanager
def parquet_errors(path: str) -> Iterator[None]:
    """Turn what Arrow raises over a damaged file into a FormatError."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last of columns whose names are no UTF-8
        found = str(error).partition("\n")[0]
        raise FormatError(path, expected="a whole Parquet file", found=found, do=_DO) from error


@contextmanager
def parquet_file(path: str, source: BinaryIO | None = None) -> Iterator[pq.ParquetFile]:
    """Open a local Parquet file, or one that is open already at `source`.

    Raises FormatError, also for what is read inside of the `with`, where it is damaged, and before anything is read
    where its footer promises what cannot be there.
    """
    import pyarrow.parquet as pq

    with parquet_errors(path), pq.ParquetFile(path if source is None else source) as file:
        check_footer(file.metadata, _size(path, source), path)
        yield file


def _size(path: str, source: BinaryIO | None) -> int:
    if source is None:
        return storage.size_of(path)
    place = source.tell()
    size = source.seek(0, io.SEEK_END)
    source.seek(place)
    return size
