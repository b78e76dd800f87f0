"""Neighbours within one space: exact cosine search over every vector of a dataset, answers in uids.

FAISS, on a GPU where it sees one, or NumPy finds more candidates than were asked for; their scores are then computed
once more in float64 and rounded to float32. Where rounding could have kept a better row out, more candidates are
fetched. So the answers are the same, bit for bit, whichever engine found them, and ties go to the row that comes first.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dfndr import storage
from dfndr.candidates import Candidates, Kind, candidates_of
from dfndr.errors import FormatError, UsageError
from dfndr.format.manifest import canonical
from dfndr.format.schema import Space
from dfndr.format.shard import map_vectors, write_vectors
from dfndr.format.uid import UID, pack_uids, unpack_uids
from dfndr.progress import SILENT, Progress
from dfndr.storage import Stored

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from dfndr.dataset import Dataset
    from dfndr.show import Shown

    Vectors = npt.NDArray[np.float32]

__all__ = ["Index", "Kind", "Neighbors"]

_FORMAT = "dfndr-index/1"
_FILES = ("uids.npy", "vectors.npy")
_DO = "The index was altered, or its writing was stopped: build it again with `Index.build` and `save`."
_QUERIES = 256


@dataclass(frozen=True)
class Neighbors:
    """The nearest rows of each query, best first: `uids` and cosine `scores` (float32), both of shape (queries, k)."""

    uids: npt.NDArray[np.str_]
    scores: Vectors


class Index:
    """Every vector of one space, made unit length in float32, with the uid of its row.

    Of a space with several vectors per row all are searched and a row is found once, by its best one; the places that
    a row with fewer captions leaves free are left out. `rows` counts the rows that can be found.
    """

    def __init__(
        self, space: Space, dataset_digest: str, uids: npt.NDArray[np.uint8], *, candidates: Candidates
    ) -> None:
        import numpy as np

        self.space, self.dataset_digest = space, dataset_digest
        self._dataset: Dataset | None = None
        self._uids, self._candidates = uids, candidates
        starts = np.ones(len(uids), dtype=np.int64)
        starts[1:] = (uids[1:] != uids[:-1]).any(axis=1)
        self._owners = np.cumsum(starts) - 1
        self.rows = int(starts.sum())

    def __len__(self) -> int:
        return self.rows

    def __repr__(self) -> str:
        return f"Index({self.space.name!r}, {self.rows:,} rows, kind={self.kind!r})"

    @property
    def kind(self) -> str:
        """Which engine searches: `faiss` or `numpy`."""
        return self._candidates.kind

    @classmethod
    def build(cls, dataset: Dataset, space: str, *, kind: Kind = "auto", progress: Progress = SILENT) -> Index:
        """Index one space of a dataset, shard by shard; "auto" takes FAISS where it is installed, else NumPy.

        Raises FormatError for a vector that is not finite or is zero, MissingExtra for "faiss" without FAISS.
        """
        import numpy as np

        wanted = dataset.space(space)
        dataset.mapped(space)  # checks every file before memory is taken for its vectors
        uids = np.empty((len(dataset) * wanted.per_row, 16), dtype=np.uint8)
        vectors = np.empty((len(uids), wanted.dim), dtype=np.float32)
        filled = 0
        with progress.task(f"index {space}", len(dataset)) as task:
            for owners, block in _unit_blocks(dataset, wanted):
                uids[filled : filled + len(block)], vectors[filled : filled + len(block)] = owners, block
                filled += len(block)
                task.advance(len(np.unique(owners, axis=0)))
        index = cls(wanted, dataset.digest, uids[:filled], candidates=candidates_of(kind, vectors[:filled]))
        index._dataset = dataset
        return index

    def search(self, vectors: npt.NDArray[np.floating[Any]], k: int = 10) -> Neighbors:
        """Return the k nearest rows of each query, or all rows where there are fewer.

        `vectors` has shape (queries, dim), any float type; each query is made unit length first. Scores are cosines.
        Raises UsageError for another shape, a query that is not finite or is zero, and k < 1.
        """
        import numpy as np

        queries = self._queries(vectors)
        if k < 1:
            raise UsageError("k", expected="at least 1", found=str(k), do="Ask for one neighbour or more.")
        k = min(k, self.rows)
        found = np.empty((len(queries), k), dtype=np.int64)
        scores = np.empty((len(queries), k), dtype=np.float32)
        for start in range(0, len(queries) if k else 0, _QUERIES):
            block = slice(start, start + _QUERIES)
            self._search_block(queries[block], found[block], scores[block])
        return Neighbors(unpack_uids(self._uids[found]), scores)

    def _search_block(self, queries: Vectors, found: npt.NDArray[np.int64], scores: Vectors) -> None:
        import numpy as np

        count, k = len(self._uids), found.shape[1]
        pending, fetch = np.arange(len(queries)), min(count, (k + 8) * self.space.per_row)
        while len(pending):
            limits, candidates = self._candidates.nearest(queries[pending], fetch)
            left = []
            for query, limit, near in zip(pending, limits, candidates, strict=True):
                best, its_scores = self._fold(queries[query], near, k)
                # What was not fetched scores at most `limit`, give or take the engine's rounding.
                if fetch == count or (len(best) == k and its_scores[-1] > float(limit) + self._candidates.error):
                    found[query], scores[query] = best, its_scores
                else:
                    left.append(query)
            pending, fetch = np.asarray(left, dtype=np.int64), min(count, fetch * 4)

    def _fold(self, query: Vectors, near: npt.NDArray[np.int64], k: int) -> tuple[npt.NDArray[np.int64], Vectors]:
        """Return the best vector of each of the k best rows among the candidates, and its score."""
        import numpy as np

        scores = np.empty(len(near), dtype=np.float32)
        for start in range(0, len(near), 4096):
            block = self._candidates.vectors[near[start : start + 4096]].astype(np.float64)
            scores[start : start + 4096] = (block * query).sum(axis=1)
        order = np.lexsort((near, -scores))
        _, firsts = np.unique(self._owners[near[order]], return_index=True)
        best = order[np.sort(firsts)[:k]]
        return near[best], scores[best]

    def _queries(self, vectors: npt.NDArray[np.floating[Any]]) -> Vectors:
        import numpy as np

        given = np.asarray(vectors)
        where, do = f"queries for {self.space.name}", "Embed them with the encoder of the space."
        if given.ndim != 2 or given.shape[1] != self.space.dim or given.dtype.kind != "f":
            found = f"{given.dtype} of shape {given.shape}"
            raise UsageError(where, expected=f"floats of shape (queries, {self.space.dim})", found=found, do=do)
        unit, fine = _unit(given)
        if not fine.all():
            found = f"something else in query {int(np.argmin(fine))}"
            raise UsageError(where, expected="finite numbers, not all zero", found=found, do=do)
        return unit

    def vectors_of(self, uid: str) -> Vectors:
        """Return a row's own unit vectors, shape (its views or captions, dim); raises UsageError for an unknown uid."""
        uid = uid.lower()
        mine = (self._uids == pack_uids([uid], "uid")).all(axis=1) if UID.fullmatch(uid) else []
        if not any(mine):
            raise UsageError(f"uid {uid}", expected="a row of this index", found="no such row", do="Check the uid.")
        return self._candidates.vectors[mine].copy()

    def check(self, dataset: Dataset) -> None:
        """Raise UsageError where the index was built from another dataset than this one."""
        if dataset.digest != self.dataset_digest:
            expected = f"an index of this dataset, {dataset.digest[:16]}..."
            found, do = f"one of {self.dataset_digest[:16]}...", "Build the index again from this dataset."
            raise UsageError(f"index of {self.space.name}", expected=expected, found=found, do=do)

    def show(self, query: str | bytes | npt.NDArray[np.floating[Any]], k: int = 10) -> Shown:
        """Return the k nearest rows to a query as a notebook shows them, each with its cosine.

        The query is a uid of this index (which is then left out), words, the bytes of a picture's file, or vectors of
        shape (dim,) or (queries, dim), each query under a title of its own. Words and pictures go through the encoder
        that made the space. Raises UsageError where the index was loaded without its dataset.
        """
        from dfndr.querying import shown_nearest

        return shown_nearest(self, self._dataset, query, k)

    def save(self, path: str) -> None:
        """Write the index to a local folder: `uids.npy`, `vectors.npy` and, last, `index.json` with their sha256."""
        _local(path)
        storage.remove(storage.join(path, "index.json"))
        uids = storage.put(path, "uids.npy", _uid_header(len(self._uids)) + self._uids.tobytes())
        vectors = self._candidates.vectors.reshape(-1, 1, self.space.dim)
        stored = [uids, write_vectors(path, "vectors.npy", _on_disk(self.space), [vectors])]
        record = _record(self.space, self.dataset_digest, len(self._uids), stored)
        storage.put(path, "index.json", canonical(record) + b"\n")

    @classmethod
    def load(cls, path: str, *, dataset: Dataset | None = None, kind: Kind = "auto") -> Index:
        """Open a saved index; raises FormatError where it was altered, UsageError where it is not of `dataset`."""
        space, digest, count = _read_record(_local(path))
        packed = storage.read_bytes(storage.join(path, "uids.npy"))
        header = _uid_header(count)
        if not packed.startswith(header) or len(packed) != len(header) + 16 * count:
            raise FormatError(storage.join(path, "uids.npy"), expected=f"{count} uids", found="something else", do=_DO)
        import numpy as np

        uids = np.frombuffer(packed, dtype=np.uint8, offset=len(header)).reshape(-1, 16)
        vectors = map_vectors(storage.join(path, "vectors.npy"), _on_disk(space), count).reshape(-1, space.dim)
        index = cls(space, digest, uids, candidates=candidates_of(kind, vectors))
        if dataset is not None:
            index.check(dataset)
            index._dataset = dataset
        return index


def _unit(vectors: npt.NDArray[np.floating[Any]]) -> tuple[Vectors, npt.NDArray[np.bool_]]:
    """Return float32 vectors of length one, and which of them could be: those that are finite and not zero."""
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        length = np.sqrt((vectors.astype(np.float64) ** 2).sum(axis=-1, keepdims=True))
        unit = (vectors / length).astype(np.float32)
    return unit, np.isfinite(length[..., 0]) & (length[..., 0] > 0)


def _unit_blocks(dataset: Dataset, space: Space) -> Iterator[tuple[npt.NDArray[np.uint8], Vectors]]:
    """Yield the uids, shape (n, 16), and unit vectors, shape (n, dim), of each shard in turn."""
    import numpy as np

    pairs = zip(dataset.tables(["uid"]), dataset.mapped(space.name), strict=True)
    for number, (table, block) in enumerate(pairs):
        where = dataset.shards[number].files[space.name].path
        unit, fine = _unit(block)
        free = (np.asarray(block) == 0).all(axis=2) & (space.modality == "caption")
        if not (fine | free).all():
            row = int(np.argwhere(~(fine | free))[0, 0])
            do = "Run `dfndr verify` on the dataset."
            raise FormatError(f"{where}, row {row}", expected="finite vectors, not zero", found="another one", do=do)
        rows, _ = np.nonzero(fine)
        yield pack_uids(table["uid"].to_pylist(), dataset.shards[number].files["rows"].path)[rows], unit[fine]


def _local(path: str) -> str:
    if storage.is_remote(path):
        do = "Save it to a local folder, and copy that."
        raise UsageError(path, expected="a local folder for the index", found="a remote one", do=do)
    return path


def _on_disk(space: Space) -> Space:
    return replace(space, per_row=1, dtype="float32")


def _uid_header(count: int) -> bytes:
    import numpy as np

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (count, 16)})
    return header.getvalue()


def _record(space: Space, digest: str, count: int, files: Iterable[Stored]) -> dict[str, object]:
    return {
        "format": _FORMAT,
        "dataset": digest,
        "space": space.to_json(),
        "vectors": count,
        "files": {file.path: {"size_bytes": file.size_bytes, "sha256": file.sha256} for file in files},
    }


def _read_record(path: str) -> tuple[Space, str, int]:
    """Return the space, the dataset's digest and the number of vectors; checks the files, whose names are fixed."""
    where = storage.join(path, "index.json")
    try:
        if storage.size_of(where) > 1 << 20:
            raise ValueError("a file of more than 1 MiB")
        given = json.loads(storage.read_bytes(where))
        space, digest, count = Space.from_json(given["space"], where), given["dataset"], given["vectors"]
        files = [Stored(name, **given["files"][name]) for name in _FILES]
        if given != _record(space, digest, count, files) or type(digest) is not str or type(count) is not int:
            raise ValueError("other fields")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(where, expected=f"the record of a {_FORMAT}", found=str(error)[:200], do=_DO) from error
    for file in files:
        name = storage.join(path, file.path)
        if storage.size_of(name) != file.size_bytes or storage.sha256_of(name) != file.sha256:
            raise FormatError(name, expected=f"sha256 {str(file.sha256)[:16]}...", found="other content", do=_DO)
    return space, digest, count
