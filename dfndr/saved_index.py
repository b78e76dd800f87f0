"""A saved index: a folder of plain `.npy` files and a record of what they are, written last (docs/format.md)."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO

from dfndr import storage
from dfndr.candidates import Exact, Kind, candidates_of
from dfndr.errors import FormatError, UsageError
from dfndr.format.manifest import canonical
from dfndr.format.schema import Space, StorageType
from dfndr.format.shard import map_vectors, write_vectors
from dfndr.format.storage_types import stored_type
from dfndr.inverted_lists import InvertedLists, Measured
from dfndr.storage import Stored

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from dfndr.inverted_lists import Positions, Take

__all__ = ["Parts", "read_index", "write_index"]

_FORMAT = "dfndr-index/1"
_EXACT = ("uids.npy", "vectors.npy")
_LISTS = ("assigned.npy", "centroids.npy", "uids.npy", "vectors.npy")
_DO = "The index was altered, or its writing was stopped: build it again with `Index.build` and `save`."


@dataclass(frozen=True)
class Parts:
    """What an index is made of; `uids` (n, 16) are those of its vectors, rows in order."""

    space: Space
    dataset_digest: str
    uids: npt.NDArray[np.uint8]
    candidates: Exact | InvertedLists

    def only(self, there: npt.NDArray[np.bool_]) -> Parts:
        """Return the index of some of the vectors alone; `there` says which."""
        import numpy as np

        kept, found = np.flatnonzero(there), self.candidates
        if isinstance(found, InvertedLists):
            lists = InvertedLists(
                found.centroids,
                found.assigned[kept],
                lambda some: found.stored(kept[some]),
                measured=found.measured,
                dtype=found.dtype,
            )
            return replace(self, uids=self.uids[kept], candidates=lists)
        kind: Kind = "numpy" if found.kind == "numpy" else "faiss"
        return replace(self, uids=self.uids[kept], candidates=candidates_of(kind, found.vectors[kept]))


@dataclass(frozen=True)
class _Record:
    """What `index.json` says."""

    space: Space
    digest: str
    count: int
    files: tuple[Stored, ...]
    lists: int | None = None
    measured: Measured | None = None

    def to_json(self) -> dict[str, object]:
        files = {file.path: {"size_bytes": file.size_bytes, "sha256": file.sha256} for file in self.files}
        told = {"format": _FORMAT, "dataset": self.digest, "space": self.space.to_json(), "vectors": self.count}
        if self.measured is not None:
            told["lists"] = {"count": self.lists, **asdict(self.measured)}
        return {**told, "files": files}


def write_index(path: str, index: Parts) -> None:
    """Write an index to a local folder; `index.json`, with the sha256 of every file, comes last."""
    _local(path)
    storage.remove(storage.join(path, "index.json"))
    found, space, count = index.candidates, index.space, len(index.uids)
    uids = storage.put(path, "uids.npy", _header("|u1", (count, 16)) + index.uids.tobytes())
    if isinstance(found, InvertedLists):
        assigned = _header("<i4", (count,)) + found.assigned.astype("<i4").tobytes()
        centroids = [found.centroids.reshape(-1, 1, space.dim)]
        files: tuple[Stored, ...] = (
            storage.put(path, "assigned.npy", assigned),
            write_vectors(path, "centroids.npy", _of_type(space, "float32"), centroids),
            uids,
            storage.put(path, "vectors.npy", lambda file: _write_lists(file, found, space)),
        )
        record = _Record(space, index.dataset_digest, count, files, len(found.centroids), found.measured)
    else:
        vectors = [found.vectors.reshape(-1, 1, space.dim)]
        files = (uids, write_vectors(path, "vectors.npy", _of_type(space, "float32"), vectors))
        record = _Record(space, index.dataset_digest, count, files)
    storage.put(path, "index.json", canonical(record.to_json()) + b"\n")


def _write_lists(file: BinaryIO, found: InvertedLists, space: Space) -> None:
    """Write the vectors in their storage type, list after list, so that a list is read in one piece."""
    import numpy as np

    kind = stored_type(space.dtype)
    file.write(_header(kind.str, (len(found.order), 1, space.stored_dim)))
    for number in range(len(found.centroids)):
        file.write(np.ascontiguousarray(found.stored(found.positions(number)), dtype=kind).tobytes())


def read_index(path: str, kind: Kind) -> Parts:
    """Open a saved index: what was saved exact is searched by the engine of a kind, lists are mapped into memory.

    Raises FormatError where it was altered, UsageError where it is not of that kind.
    """
    record = _read_record(_local(path))
    uids = _read_array(path, "uids.npy", "|u1", (record.count, 16))
    if record.measured is None:
        if kind == "ivf":
            raise UsageError(path, expected="an ivf index", found="an exact one", do="Build it with kind='ivf'.")
        vectors = map_vectors(storage.join(path, "vectors.npy"), _of_type(record.space, "float32"), record.count)
        candidates = candidates_of(kind, vectors.reshape(-1, record.space.dim))
        return Parts(record.space, record.digest, uids, candidates)
    if kind not in ("auto", "ivf"):
        raise UsageError(path, expected=f"an index that is {kind}", found="an ivf one", do="Build it as that kind.")
    return Parts(record.space, record.digest, uids, _read_lists(path, record, record.measured))


def _read_lists(path: str, record: _Record, measured: Measured) -> InvertedLists:
    import numpy as np

    space, lists = record.space, record.lists or 0
    assigned = _read_array(path, "assigned.npy", "<i4", (record.count,)).astype(np.int32)
    mapped = map_vectors(storage.join(path, "centroids.npy"), _of_type(space, "float32"), lists)
    centroids = np.array(mapped, dtype=np.float32).reshape(-1, space.dim)
    fine = not len(assigned) or (assigned.min() >= 0 and assigned.max() < lists)
    if not fine or not np.isfinite(centroids).all():
        do, expected = _DO, f"{lists} finite centroids, and vectors in their lists"
        raise FormatError(storage.join(path, "assigned.npy"), expected=expected, found="something else", do=do)
    vectors = map_vectors(storage.join(path, "vectors.npy"), _of_type(space, space.dtype), record.count)
    take = _taking(vectors[:, 0], assigned)
    return InvertedLists(centroids, assigned, take, measured=measured, dtype=space.dtype)


def _taking(vectors: npt.NDArray[Any], assigned: npt.NDArray[np.int32]) -> Take:
    """Return what reads vectors that lie list after list by their positions in the index."""
    import numpy as np

    places = np.empty(len(assigned), dtype=np.int64)
    places[np.argsort(assigned, kind="stable")] = np.arange(len(assigned))

    def take(positions: Positions) -> npt.NDArray[Any]:
        return vectors[places[positions]]

    return take


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


def _read_array(path: str, name: str, kind: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    import numpy as np

    where, header = storage.join(path, name), _header(kind, shape)
    packed, length = storage.read_bytes(where), len(header)
    if not packed.startswith(header) or len(packed) != length + int(np.prod(shape)) * np.dtype(kind).itemsize:
        raise FormatError(where, expected=f"an array of shape {shape}", found="something else", do=_DO)
    return np.frombuffer(packed, dtype=kind, offset=length).reshape(shape)


def _read_record(path: str) -> _Record:
    """Return what `index.json` says; checks the files, whose names are fixed."""
    where = storage.join(path, "index.json")
    try:
        if storage.size_of(where) > 1 << 20:
            raise ValueError("a file of more than 1 MiB")
        given = json.loads(storage.read_bytes(where))
        record = _parsed(given, where)
        if canonical(given) != canonical(record.to_json()):
            raise ValueError("other fields")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(where, expected=f"the record of a {_FORMAT}", found=str(error)[:200], do=_DO) from error
    for file in record.files:
        name = storage.join(path, file.path)
        if storage.size_of(name) != file.size_bytes or storage.sha256_of(name) != file.sha256:
            raise FormatError(name, expected=f"sha256 {str(file.sha256)[:16]}...", found="other content", do=_DO)
    return record


def _parsed(given: dict[str, Any], where: str) -> _Record:
    space, lists = Space.from_json(given["space"], where), given.get("lists")
    names: Sequence[str] = _EXACT if lists is None else _LISTS
    files = tuple(Stored(name, **given["files"][name]) for name in names)
    digest, count, measured = given["dataset"], given["vectors"], None
    fine = type(digest) is str and type(count) is int
    if lists is not None:
        measured = Measured(lists["probes"], lists["recall_at_10"], lists["queries"])
        whole = [lists["count"], measured.probes, measured.queries]
        fine = fine and all(type(number) is int and 0 <= number < 1 << 31 for number in whole)
        fine = fine and 0 < measured.probes <= lists["count"] and 0 <= measured.recall_at_10 <= 1
        fine = fine and type(measured.recall_at_10) is float
    if not fine:
        raise ValueError("other values")
    return _Record(space, digest, count, files, None if lists is None else lists["count"], measured)
