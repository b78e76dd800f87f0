"""The manifest: the one file that, once it is there, makes a folder a dataset; and the shard records it is made of."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from dfndr import storage
from dfndr.errors import FormatError
from dfndr.format.schema import DROPPED, FAILED, FORMAT, NAME, SPLITS, EncoderRecord, Space
from dfndr.storage import Stored

__all__ = ["MANIFEST", "Manifest", "Shard", "Step", "canonical", "read_manifest", "write_manifest"]

MANIFEST = "manifest.json"
_MAX_BYTES = 1 << 30
_MOST = 1 << 53
_SAFE_PATH = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DO = "The manifest was altered or written by something else: fetch or build the dataset again."
_T = TypeVar("_T")


def canonical(value: object) -> bytes:
    """Return the one JSON text of a value: sorted keys, no spaces, UTF-8; what digests are made over."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


@dataclass(frozen=True)
class Step:
    """One line of the funnel; rows_in = rows_out + dropped + failed, always."""

    name: str
    rows_in: int
    rows_out: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return the JSON object that stands in the manifest."""
        return {
            "name": self.name,
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "dropped": dict(self.dropped),
            "failed": dict(self.failed),
        }


@dataclass(frozen=True)
class Shard:
    """The record of a finished group of rows: counts, files with bytes and sha256, drops and failures by reason.

    `files` is keyed by role: `rows`, `problems` (only where rows failed), or a space's name. `notes` holds what
    happened on the way and changes no promise, such as a halved batch.
    """

    index: int
    split: str
    rows_in: int
    rows: int
    files: Mapping[str, Stored]
    dropped: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return the JSON object that stands in the record and in the manifest."""
        return {
            "index": self.index,
            "split": self.split,
            "rows_in": self.rows_in,
            "rows": self.rows,
            "dropped": dict(self.dropped),
            "failed": dict(self.failed),
            "files": {role: _stored_json(stored) for role, stored in self.files.items()},
            "notes": dict(self.notes),
        }

    @classmethod
    def from_json(cls, given: object, where: str) -> Shard:
        """Read a record; raises FormatError where a field is missing, unsafe, or does not add up."""
        fields = _fields(given, cls, where)
        notes = _object(fields.get("notes"), f"{where}, notes")
        shard = cls(
            index=_count(fields, "index", where),
            split=_one_of(fields, "split", SPLITS, where),
            rows_in=_count(fields, "rows_in", where),
            rows=_count(fields, "rows", where),
            dropped=_reasons(fields, "dropped", DROPPED, where),
            failed=_reasons(fields, "failed", FAILED, where),
            files={
                role: _stored(value, f"{where}, file {role!r}")
                for role, value in _object(fields.get("files"), where).items()
            },
            notes={key: _typed(notes, key, str, where) for key in notes},
        )
        _adds_up(where, shard.rows_in, shard.rows, shard.dropped, shard.failed)
        return shard


@dataclass(frozen=True)
class Manifest:
    """Everything a reader needs to know of a dataset before it opens a file; it holds no time and no place.

    `scorers` and `encoders` are keyed by name; `files` are those that belong to no shard (weights of a filter that
    was trained on the way). Equal inputs give equal bytes, so `digest` names the dataset's content.
    """

    name: str
    license: str
    recipe: str
    recipe_digest: str
    seed: int
    spaces: tuple[Space, ...]
    encoders: Mapping[str, EncoderRecord]
    scorers: Mapping[str, EncoderRecord]
    shards: tuple[Shard, ...]
    funnel: tuple[Step, ...]
    provenance: Mapping[str, object]
    files: Mapping[str, Stored] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(shard.rows for shard in self.shards)

    @property
    def digest(self) -> str:
        """The sha256 of the manifest's canonical JSON: two datasets with one digest are the same dataset."""
        return hashlib.sha256(canonical(self.to_json())).hexdigest()

    def to_json(self) -> dict[str, object]:
        """Return the JSON object that `manifest.json` holds."""
        return {
            "format": FORMAT,
            "name": self.name,
            "license": self.license,
            "recipe": self.recipe,
            "recipe_digest": self.recipe_digest,
            "seed": self.seed,
            "rows": len(self),
            "spaces": [space.to_json() for space in self.spaces],
            "encoders": {name: record.to_json() for name, record in self.encoders.items()},
            "scorers": {name: record.to_json() for name, record in self.scorers.items()},
            "funnel": [step.to_json() for step in self.funnel],
            "provenance": dict(self.provenance),
            "files": {role: _stored_json(stored) for role, stored in self.files.items()},
            "shards": [shard.to_json() for shard in self.shards],
        }

    @classmethod
    def from_json(cls, given: object, where: str) -> Manifest:
        """Read the JSON object of `manifest.json`; raises FormatError at the first thing that is wrong."""
        fields = _object(given, where)
        if fields.get("format") != FORMAT:
            found = repr(fields.get("format"))
            raise FormatError(where, expected=f"format {FORMAT!r}", found=found, do="Use the dfndr that wrote it.")
        _fields(given, cls, where, "format", "rows")
        spaces = tuple(
            Space.from_json(_object(value, where), f"{where}, space {number}")
            for number, value in enumerate(_list(fields, "spaces", where))
        )
        manifest = cls(
            name=_name(fields, where),
            license=_typed(fields, "license", str, where),
            recipe=_typed(fields, "recipe", str, where),
            recipe_digest=_typed(fields, "recipe_digest", str, where),
            seed=_typed(fields, "seed", int, where),
            spaces=spaces,
            encoders=_encoders(fields, "encoders", where),
            scorers=_encoders(fields, "scorers", where),
            shards=tuple(
                Shard.from_json(value, f"{where}, shard {number}")
                for number, value in enumerate(_list(fields, "shards", where))
            ),
            funnel=tuple(_step(value, where) for value in _list(fields, "funnel", where)),
            provenance=_object(fields.get("provenance"), where),
            files={role: _stored(value, where) for role, value in _object(fields.get("files"), where).items()},
        )
        manifest._check(where, _count(fields, "rows", where))
        return manifest

    def _check(self, where: str, rows: int) -> None:
        total = sum(shard.rows for shard in self.shards)
        if rows != total:
            raise FormatError(where, expected=f"{rows} rows", found=f"shards of {total} rows in all", do=_DO)
        names = [space.name for space in self.spaces]
        if len(set(names)) != len(names):
            raise FormatError(where, expected="spaces with names of their own", found=repr(names), do=_DO)
        unknown = {space.encoder for space in self.spaces} - set(self.encoders)
        if unknown:
            raise FormatError(where, expected="a record for every encoder", found=f"none for {sorted(unknown)}", do=_DO)
        wanted = {"rows", *names}
        for number, shard in enumerate(self.shards):
            if set(shard.files) - {"problems"} != wanted:
                found = f"{sorted(shard.files)} in shard {number}"
                raise FormatError(where, expected=f"the files {sorted(wanted)}", found=found, do=_DO)
            if shard.index != number:
                raise FormatError(where, expected=f"shard {number}", found=f"shard {shard.index}", do=_DO)
        paths = [stored.path for shard in self.shards for stored in shard.files.values()]
        paths += [stored.path for stored in self.files.values()]
        if len(set(paths)) != len(paths):
            twice = Counter(paths).most_common(1)[0][0]
            raise FormatError(where, expected="each file named once", found=f"{twice} twice", do=_DO)
        for before, after in zip(self.funnel, self.funnel[1:], strict=False):
            if before.rows_out != after.rows_in:
                found = f"{before.name} gives {before.rows_out}, {after.name} takes {after.rows_in}"
                raise FormatError(f"{where}, funnel", expected="steps that join", found=found, do=_DO)
        if self.funnel and self.funnel[-1].rows_out != rows:
            found = f"{self.funnel[-1].rows_out} rows out of the funnel"
            raise FormatError(f"{where}, funnel", expected=f"{rows} rows", found=found, do=_DO)


def read_manifest(root: str) -> Manifest:
    """Read and check `manifest.json` of the dataset at `root`; raises FormatError or StorageError."""
    path = storage.join(root, MANIFEST)
    if not storage.exists(path):
        missing = "a folder without one" if storage.exists(root) else "nothing there"
        do = "Check the path; if a build was stopped, run it again: the manifest is written last."
        raise FormatError(root, expected=f"a dataset with {MANIFEST}", found=missing, do=do)
    size = storage.size_of(path)
    if size > _MAX_BYTES:
        raise FormatError(path, expected=f"at most {_MAX_BYTES} bytes", found=f"{size} bytes", do=_DO)
    try:
        given = json.loads(storage.read_bytes(path), object_pairs_hook=_named_once)
        canonical(given)  # refuses what JSON cannot say and a digest cannot be made over: NaN, lone surrogates
    except (ValueError, RecursionError) as error:
        raise FormatError(path, expected="JSON in UTF-8", found=str(error), do=_DO) from error
    return Manifest.from_json(given, path)


def write_manifest(root: str, manifest: Manifest) -> Stored:
    """Write `manifest.json`: the commit. Raises FormatError where the manifest does not add up."""
    given, where = manifest.to_json(), "the manifest to be written"
    try:
        text = canonical(given)
    except (ValueError, TypeError) as error:
        raise FormatError(where, expected="what JSON can say", found=str(error), do="Report this.") from error
    Manifest.from_json(json.loads(text), where)
    return storage.put(
        root, MANIFEST, (json.dumps(given, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
    )


def _named_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object that holds one name twice")
    return found


def _stored_json(stored: Stored) -> dict[str, object]:
    return {"path": stored.path, "size_bytes": stored.size_bytes, "sha256": stored.sha256}


def _stored(given: object, where: str) -> Stored:
    fields = _fields(given, Stored, where)
    path, digest = _typed(fields, "path", str, where), _typed(fields, "sha256", str, where)
    if len(path) > 512 or not _SAFE_PATH.fullmatch(path):
        expected = "a relative path inside the dataset, without '..'"
        raise FormatError(where, expected=expected, found=repr(path), do="Do not use it: it is hostile or damaged.")
    if not _SHA256.fullmatch(digest):
        raise FormatError(where, expected="a sha256 of 64 hex digits", found=repr(digest), do=_DO)
    return Stored(path, _count(fields, "size_bytes", where), digest)


def _step(given: object, where: str) -> Step:
    fields = _fields(given, Step, f"{where}, funnel")
    name = _typed(fields, "name", str, where)
    where = f"{where}, funnel step {name!r}"
    step = Step(
        name,
        _count(fields, "rows_in", where),
        _count(fields, "rows_out", where),
        _reasons(fields, "dropped", DROPPED, where),
        _reasons(fields, "failed", FAILED, where),
    )
    _adds_up(where, step.rows_in, step.rows_out, step.dropped, step.failed)
    return step


def _adds_up(where: str, rows_in: int, rows: int, dropped: Mapping[str, int], failed: Mapping[str, int]) -> None:
    accounted = rows + sum(dropped.values()) + sum(failed.values())
    if rows_in != accounted:
        found = f"{rows} kept + {sum(dropped.values())} dropped + {sum(failed.values())} failed = {accounted}"
        raise FormatError(where, expected=f"{rows_in} rows accounted for", found=found, do="Rows were lost.")


def _encoders(fields: Mapping[str, Any], key: str, where: str) -> dict[str, EncoderRecord]:
    given = _object(fields.get(key), f"{where}, {key}")
    return {
        name: EncoderRecord.from_json(_object(value, where), f"{where}, {key} {name!r}")
        for name, value in given.items()
    }


def _name(fields: Mapping[str, Any], where: str) -> str:
    name = _typed(fields, "name", str, where)
    if not NAME.fullmatch(name):
        raise FormatError(where, expected=f"a name like {NAME.pattern}", found=repr(name), do=_DO)
    return name


def _reasons(fields: Mapping[str, Any], key: str, allowed: Mapping[str, str], where: str) -> dict[str, int]:
    given = _object(fields.get(key), f"{where}, {key}")
    unknown = set(given) - set(allowed)
    if unknown:
        raise FormatError(where, expected=f"reasons from the closed list for {key}", found=f"{sorted(unknown)}", do=_DO)
    return {reason: _count(given, reason, where) for reason in given}


def _fields(given: object, kind: type[Stored | Step | Shard | Manifest], where: str, *more: str) -> Mapping[str, Any]:
    found = _object(given, where)
    unknown = set(found) - {field.name for field in dataclasses.fields(kind)} - set(more)
    if unknown:
        raise FormatError(where, expected="no field that the format does not have", found=f"{sorted(unknown)}", do=_DO)
    return found


def _object(given: object, where: str) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise FormatError(where, expected="a JSON object", found=type(given).__name__, do=_DO)
    return cast("Mapping[str, Any]", given)


def _list(fields: Mapping[str, Any], key: str, where: str) -> Sequence[object]:
    return _typed(fields, key, list, where)


def _typed(fields: Mapping[str, Any], key: str, kind: type[_T], where: str) -> _T:
    value = fields.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise FormatError(where, expected=f"{key!r} as {kind.__name__}", found=repr(value)[:80], do=_DO)
    return value


def _count(fields: Mapping[str, Any], key: str, where: str) -> int:
    value = _typed(fields, key, int, where)
    if not 0 <= value <= _MOST:
        raise FormatError(where, expected=f"{key!r} from 0 to 2**53", found=str(value), do=_DO)
    return value


def _one_of(fields: Mapping[str, Any], key: str, allowed: Sequence[str], where: str) -> str:
    value = _typed(fields, key, str, where)
    if value not in allowed:
        raise FormatError(where, expected=f"{key!r} as one of {list(allowed)}", found=repr(value), do=_DO)
    return value
