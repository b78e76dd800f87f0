"""What `index.json` says of a saved index (docs/format.md), read as what anybody may have written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from dfndr import storage
from dfndr.errors import FormatError
from dfndr.format.manifest import canonical
from dfndr.format.schema import Space
from dfndr.search.measuring import Measured
from dfndr.storage import Stored

__all__ = ["ALTERED", "FILES", "Record", "read_record"]

FILES = {
    "exact": ("uids.npy", "vectors.npy"),
    "ivf": ("assigned.npy", "centroids.npy", "uids.npy", "vectors.npy"),
    "ivfpq": ("assigned.npy", "centroids.npy", "codebooks.npy", "codes.npy", "uids.npy", "vectors.npy"),
    "hnsw": ("levels.npy", "neighbors.npy", "uids.npy", "vectors.npy"),
}
"""The files of an index of each kind."""

ALTERED = "The index was altered, or its writing was stopped: build it again with `Index.build` and `save`."
_FORMAT = "dfndr-index/1"
_NUMBERS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "exact": {},
    "ivf": {"lists": ("count",)},
    "ivfpq": {"lists": ("count",), "codes": ("bytes", "fetched")},
    "hnsw": {"graph": ("entry", "links")},
}
"""By kind, the record's own fields and the whole numbers that they hold; the first of them says how it was measured."""


@dataclass(frozen=True)
class Record:
    """An index of a kind over `count` vectors; `numbers` are those that its kind has, part by part."""

    kind: str
    space: Space
    digest: str
    count: int
    files: tuple[Stored, ...]
    measured: Measured | None = None
    numbers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return what is written."""
        files = {file.path: {"size_bytes": file.size_bytes, "sha256": file.sha256} for file in self.files}
        told = {"format": _FORMAT, "dataset": self.digest, "space": self.space.to_json(), "vectors": self.count}
        for place, (name, numbers) in enumerate(self.numbers.items()):
            told[name] = {**numbers, **(asdict(self.measured) if self.measured and not place else {})}
        return {**told, "files": files}


def read_record(path: str) -> Record:
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
        raise FormatError(where, expected=f"the record of a {_FORMAT}", found=str(error)[:200], do=ALTERED) from error
    for file in record.files:
        name = storage.join(path, file.path)
        if storage.size_of(name) != file.size_bytes or storage.sha256_of(name) != file.sha256:
            raise FormatError(name, expected=f"sha256 {str(file.sha256)[:16]}...", found="other content", do=ALTERED)
    return record


def _parsed(given: dict[str, Any], where: str) -> Record:
    kind = "hnsw" if "graph" in given else "ivfpq" if "codes" in given else "ivf" if "lists" in given else "exact"
    space, digest, count = Space.from_json(given["space"], where), given["dataset"], given["vectors"]
    files = tuple(Stored(name, **given["files"][name]) for name in FILES[kind])
    numbers = {part: {name: given[part][name] for name in names} for part, names in _NUMBERS[kind].items()}
    fine, measured = type(digest) is str and type(count) is int, None
    if numbers:
        told = given[next(iter(numbers))]
        measured = Measured(told["probes"], told["recall_at_10"], told["queries"])
        whole = [measured.probes, measured.queries, *(number for some in numbers.values() for number in some.values())]
        fine = fine and all(type(number) is int and 0 <= number < 1 << 31 for number in whole)
        fine = fine and measured.probes > 0 and type(measured.recall_at_10) is float and 0 <= measured.recall_at_10 <= 1
        fine = fine and ("lists" not in numbers or measured.probes <= numbers["lists"]["count"])
        if "codes" in numbers:
            size, fetched = numbers["codes"]["bytes"], numbers["codes"]["fetched"]
            fine = fine and 0 < fetched <= 1 << 10 and size > 0 and space.dim % size == 0
        if "graph" in numbers:
            fine = fine and 2 <= numbers["graph"]["links"] <= 1 << 8
    if not fine:
        raise ValueError("other values")
    return Record(kind, space, digest, count, files, measured, numbers)
