"""An export part by part: files are whole or absent, a record says that a part's are there, the rest is done again.

Records lie in `.dfndr-export/` of the folder, which other tools pass over; `plan.json` there says what is exported.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr.format.manifest import canonical
from dfndr.format.schema import Space
from dfndr.locks import locked
from dfndr.progress import Progress
from dfndr.storage import Stored
from dfndr_builders.layout_file import LAYOUT, LayoutFile

__all__ = ["Part", "Written", "layout_of", "numbered", "write_parts"]

_RECORDS, _PLAN, _LOCK = ".dfndr-export", "plan.json", "lock"
_VERSION = 1
"""Raised when an export starts to give other bytes for the same dataset."""


@dataclass(frozen=True)
class Part:
    """A shard of the dataset by its number, and what its files are called."""

    number: int
    stem: str


@dataclass(frozen=True)
class Written:
    """The files of a part, and what there is to tell of it, as counts."""

    files: tuple[Stored, ...]
    counts: Mapping[str, int]


def numbered(dataset: Dataset, template: str = "{:08d}") -> list[Part]:
    """Return a part for each shard; the numbers are of one width, so that names sort as shards do."""
    return [Part(number, template.format(number)) for number in range(len(dataset.shards))]


def layout_of(
    kind: str, dataset: Dataset, spaces: Iterable[Space], places: Mapping[str, str], parts: Sequence[Part]
) -> LayoutFile:
    """Return what an export says of its vectors; `spaces` as they are exported."""
    manifest, listed = dataset.manifest, tuple(spaces)
    encoders = {space.encoder: manifest.encoders[space.encoder] for space in listed}
    validation = tuple(part.stem for part in parts if dataset.shards[part.number].split == "validation")
    return LayoutFile(kind, manifest.name, manifest.license, manifest.digest, listed, encoders, places, validation)


def write_parts(
    out: str,
    told: Mapping[str, object],
    parts: Sequence[Part],
    write: Callable[[Part], Written],
    *,
    layout: LayoutFile,
    readme: str,
    rows: Sequence[int],
    progress: Progress,
    finish: Callable[[], None] = lambda: None,
) -> dict[str, int]:
    """Write the parts that are not there yet, then the README.md, then `layout.json`; return the counts added up.

    `told` is all that the bytes depend on; `rows` how many each part has. Raises UsageError for a folder that holds
    something else, or another export.
    """
    counts: dict[str, int] = {}
    with _claimed(out, {"version": _VERSION, "parts": len(parts), **told}), progress.task("export", sum(rows)) as task:
        for part, size in zip(parts, rows, strict=True):
            done = _recorded(out, part) or _record(out, part, write(part))
            for name, count in done.counts.items():
                counts[name] = counts.get(name, 0) + count
            task.advance(size)
        finish()
        storage.put(out, "README.md", readme.encode("utf-8"))
        storage.put(out, LAYOUT, layout.to_bytes())
    return counts


@contextmanager
def _claimed(out: str, told: Mapping[str, object]) -> Iterator[None]:
    """Hold the folder for this export; raises UsageError where it is another's."""
    plan, records = canonical(told), storage.join(out, _RECORDS)
    path = storage.join(records, _PLAN)
    if not out or (storage.exists(out) and not storage.is_folder(out)):
        found, do = "a file" if out else "no name", "Choose another --out."
        raise UsageError(out or "--out", expected="a folder to export into", found=found, do=do)
    if storage.exists(path):
        if storage.read_bytes(path) != plan:
            do = "Choose another --out, or delete that folder."
            raise UsageError(out, expected="this export, or a new folder", found="another export", do=do)
    elif present := [name for name in storage.list_files(out)[:1] if not name.startswith(_RECORDS)]:
        do = "Choose an empty or new folder for --out."
        raise UsageError(out, expected="a new folder, or one that this export began", found=repr(present[0]), do=do)
    with locked(records, _LOCK):
        storage.put(records, _PLAN, plan)
        storage.sweep_temporary(out)
        yield


def _recorded(out: str, part: Part) -> Written | None:
    """Return what a part's record says, None where there is none, or its files are not there with their sizes."""
    path = storage.join(out, _RECORDS, f"{part.number:05d}.json")
    if not storage.exists(path):
        return None
    try:
        given = json.loads(storage.read_bytes(path))
        done = Written(tuple(Stored(**one) for one in given["files"]), dict(given["counts"]))
    except (ValueError, KeyError, TypeError):
        return None  # a damaged record is no record: the part is done again
    places = [(storage.join(out, stored.path), stored.size_bytes) for stored in done.files]
    is_there = all(storage.exists(place) and storage.size_of(place) == size for place, size in places)
    return done if is_there else None


def _record(out: str, part: Part, done: Written) -> Written:
    text = json.dumps({"files": [asdict(stored) for stored in done.files], "counts": dict(done.counts)}, indent=1)
    storage.put(storage.join(out, _RECORDS), f"{part.number:05d}.json", (text + "\n").encode())
    return done
