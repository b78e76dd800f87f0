"""A saved index: a folder of plain `.npy` files and a record of what they are, written last (docs/format.md)."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast

from dfndr import storage
from dfndr.errors import FormatError, UsageError
from dfndr.format.manifest import canonical
from dfndr.format.schema import Space, StorageType
from dfndr.format.shard import map_vectors, write_vectors
from dfndr.format.storage_types import stored_type
from dfndr.search.candidates import Candidates, Exact, Kind, candidates_of
from dfndr.search.graph import Graph
from dfndr.search.inverted_lists import InvertedLists
from dfndr.search.links import Links, linked, widths
from dfndr.search.product_codes import ProductCodes
from dfndr.search.record import ALTERED, Record, read_record
from dfndr.storage import Stored

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from dfndr.search.inverted_lists import Positions, Take
    from dfndr.search.measuring import Measured

    Array = npt.NDArray[Any]
    _Reader: TypeAlias = Callable[[str, Record, Measured, Array], Candidates]
    _Written: TypeAlias = tuple[list[Stored], dict[str, dict[str, int]]]

__all__ = ["Parts", "read_index", "write_index"]

_PIECE_BYTES = 1 << 28


@dataclass(frozen=True)
class Parts:
    """What an index is made of; `uids` (n, 16) are those of its vectors, rows in order."""

    space: Space
    dataset_digest: str
    uids: npt.NDArray[np.uint8]
    candidates: Candidates

    def only(self, there: npt.NDArray[np.bool_]) -> Parts:
        """Return the index of some of the vectors alone; `there` says which."""
        import numpy as np

        kept = np.flatnonzero(there)
        return replace(self, uids=self.uids[kept], candidates=self.candidates.only(kept))


def write_index(path: str, index: Parts) -> None:
    """Write an index to a local folder; `index.json`, with the sha256 of every file, comes last.

    Raises UsageError for a graph of which rows were taken out.
    """
    _local(path)
    found, space, count = index.candidates, index.space, len(index.uids)
    if isinstance(found, Graph) and not found.is_whole:
        do = "Build it again from the dataset, and save that."
        raise UsageError(path, expected="a graph of the rows that are there", found="one of more rows", do=do)
    storage.remove(storage.join(path, "index.json"))
    if isinstance(found, Graph):
        kind, (files, numbers) = "hnsw", _write_graph(path, found, space)
    elif isinstance(found, ProductCodes):
        kind, (files, numbers) = "ivfpq", _write_codes(path, found, space)
    elif isinstance(found, InvertedLists):
        kind, (files, numbers) = "ivf", _write_lists(path, found, space)
    else:
        vectors = [cast(Exact, found).vectors.reshape(-1, 1, space.dim)]
        kind, files, numbers = "exact", [write_vectors(path, "vectors.npy", _of_type(space, "float32"), vectors)], {}
    files.append(_put(path, "uids.npy", index.uids, "|u1"))
    record = Record(kind, space, index.dataset_digest, count, tuple(files), found.measured, numbers)
    storage.put(path, "index.json", canonical(record.to_json()) + b"\n")


def _write_lists(path: str, found: InvertedLists, space: Space) -> _Written:
    """Write the vectors in their storage type, list after list, so that a list is read in one piece."""
    centroids = [found.centroids.reshape(-1, 1, space.dim)]
    files = [
        _put(path, "assigned.npy", found.assigned, "<i4"),
        write_vectors(path, "centroids.npy", _of_type(space, "float32"), centroids),
        _put_vectors(path, space, found.order, found.stored),
    ]
    return files, {"lists": {"count": len(found.centroids)}}


def _write_codes(path: str, found: ProductCodes, space: Space) -> _Written:
    files, numbers = _write_lists(path, found.lists, space)
    files += [_put(path, "codebooks.npy", found.codebooks, "<f4"), _put(path, "codes.npy", found.codes, "|u1")]
    return files, numbers | {"codes": {"bytes": found.codes.shape[1], "fetched": found.fetched}}


def _write_graph(path: str, found: Graph, space: Space) -> _Written:
    import numpy as np

    links = Links.of(found.index)
    files = [
        _put(path, "levels.npy", links.levels, "<i4"),
        _put(path, "neighbors.npy", links.neighbors, "<i4"),
        _put_vectors(path, space, np.arange(len(found)), found.stored),
    ]
    return files, {"graph": {"entry": links.entry, "links": found.links}}


def _put(path: str, name: str, array: Array, kind: str) -> Stored:
    """Write an array as `.npy`."""
    import numpy as np

    def write(file: BinaryIO) -> None:
        file.write(_header(kind, array.shape))
        if array.size:
            file.write(np.ascontiguousarray(array, dtype=kind).data.cast("B"))

    return storage.put(path, name, write)


def _put_vectors(path: str, space: Space, order: Positions, stored: Take) -> Stored:
    """Write vectors as they are stored, in an order of positions; so many at once that each shard is read few times."""
    import numpy as np

    kind = stored_type(space.dtype)
    rows = max(1, _PIECE_BYTES // (space.stored_dim * kind.itemsize))

    def write(file: BinaryIO) -> None:
        file.write(_header(kind.str, (len(order), 1, space.stored_dim)))
        for start in range(0, len(order), rows):
            wanted = order[start : start + rows]
            ascending = np.argsort(wanted)
            found = np.empty((len(wanted), space.stored_dim), dtype=kind)
            found[ascending] = stored(wanted[ascending])
            file.write(found.data.cast("B"))

    return storage.put(path, "vectors.npy", write)


def read_index(path: str, kind: Kind) -> Parts:
    """Open a saved index: what was saved exact is searched by the engine of a kind, all else is what it is.

    The vectors of the others are mapped into memory. Raises FormatError where a file was altered, UsageError where it
    is not of that kind.
    """
    record = read_record(_local(path))
    is_exact = record.kind == "exact"
    if (kind not in ("auto", record.kind)) and not (is_exact and kind in ("faiss", "numpy")):
        expected, do = f"an index that is {kind}", f"Build it with kind={kind!r}."
        raise UsageError(path, expected=expected, found=f"one that is {record.kind}", do=do)
    uids = _read_array(path, "uids.npy", "|u1", (record.count, 16))
    dtype: StorageType = "float32" if is_exact else record.space.dtype
    vectors = map_vectors(storage.join(path, "vectors.npy"), _of_type(record.space, dtype), record.count)[:, 0]
    if is_exact:
        return Parts(record.space, record.digest, uids, candidates_of(kind, vectors))
    if record.measured is None:
        raise ValueError("a record that was not checked")
    readers: dict[str, _Reader] = {"ivf": _read_lists, "ivfpq": _read_codes, "hnsw": _read_graph}
    return Parts(record.space, record.digest, uids, readers[record.kind](path, record, record.measured, vectors))


def _read_lists(path: str, record: Record, measured: Measured, vectors: Array) -> InvertedLists:
    import numpy as np

    space, lists = record.space, record.numbers["lists"]["count"]
    assigned = _read_array(path, "assigned.npy", "<i4", (record.count,)).astype(np.int32)
    mapped = map_vectors(storage.join(path, "centroids.npy"), _of_type(space, "float32"), lists)
    centroids = np.array(mapped, dtype=np.float32).reshape(-1, space.dim)
    fine = not len(assigned) or (assigned.min() >= 0 and assigned.max() < lists)
    if not fine or not np.isfinite(centroids).all():
        expected = f"{lists} finite centroids, and vectors in their lists"
        raise FormatError(storage.join(path, "assigned.npy"), expected=expected, found="something else", do=ALTERED)
    take = _taking(vectors, assigned)
    return InvertedLists(centroids, assigned, take, measured=measured, dtype=space.dtype, in_order=vectors)


def _taking(vectors: Array, assigned: npt.NDArray[np.int32]) -> Take:
    """Return what reads vectors that lie list after list by their positions in the index."""
    import numpy as np

    places = np.empty(len(assigned), dtype=np.int64)
    places[np.argsort(assigned, kind="stable")] = np.arange(len(assigned))

    def take(positions: Positions) -> Array:
        return vectors[places[positions]]

    return take


def _read_codes(path: str, record: Record, measured: Measured, vectors: Array) -> ProductCodes:
    import numpy as np

    lists, numbers, dim = _read_lists(path, record, measured, vectors), record.numbers["codes"], record.space.dim
    books = _read_array(path, "codebooks.npy", "<f4", (numbers["bytes"], 256, dim // numbers["bytes"]))
    if not np.isfinite(books).all():
        where = storage.join(path, "codebooks.npy")
        raise FormatError(where, expected="finite numbers", found="others", do=ALTERED)
    codes = _read_array(path, "codes.npy", "|u1", (record.count, numbers["bytes"]))
    return ProductCodes(lists, books, codes, fetched=numbers["fetched"], measured=measured)


def _read_graph(path: str, record: Record, measured: Measured, vectors: Array) -> Graph:
    entry, width = record.numbers["graph"]["entry"], record.numbers["graph"]["links"]
    levels, where = _read_array(path, "levels.npy", "<i4", (record.count,)), storage.join(path, "neighbors.npy")
    reach = widths(width)
    if len(levels) and not 1 <= levels.min() <= levels.max() < len(reach):
        expected = f"levels from 1 to {len(reach) - 1}"
        raise FormatError(storage.join(path, "levels.npy"), expected=expected, found="others", do=ALTERED)
    links = Links(levels, _read_array(path, "neighbors.npy", "<i4", (int(reach[levels].sum()),)), entry)
    if not links.are_sound(reach):
        raise FormatError(where, expected="links to vectors that are there", found="another one", do=ALTERED)
    index = linked(links, vectors, dim=record.space.dim, dtype=record.space.dtype, width=width)
    return Graph(index, lambda positions: vectors[positions], measured=measured, dtype=record.space.dtype)


def _local(path: str) -> str:
    if storage.is_remote(path):
        do = "Save it to a local folder, and copy that."
        raise UsageError(path, expected="a local folder for the index", found="a remote one", do=do)
    return path


def _of_type(space: Space, dtype: StorageType) -> Space:
    return replace(space, per_row=1, dtype=dtype)


def _header(kind: str, shape: tuple[int, ...]) -> bytes:
    import numpy as np

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": kind, "fortran_order": False, "shape": shape})
    return header.getvalue()


def _read_array(path: str, name: str, kind: str, shape: tuple[int, ...]) -> Array:
    import numpy as np

    where, header = storage.join(path, name), _header(kind, shape)
    size = len(header) + prod(shape) * np.dtype(kind).itemsize
    # The size comes first: a record may claim any, and memory is taken only for what is there.
    packed = storage.read_bytes(where) if storage.size_of(where) == size else b""
    if not packed.startswith(header):
        raise FormatError(where, expected=f"an array of shape {shape}", found="something else", do=ALTERED)
    return np.frombuffer(packed, dtype=kind, offset=len(header)).reshape(shape)
