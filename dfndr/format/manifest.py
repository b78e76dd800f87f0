"""The manifest: the one file that, once it is there, makes a folder a dataset; and the shard records it is made of."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dfndr import storage
from dfndr.errors import FormatError
from dfndr.format.captioner import CaptionerRecord
from dfndr.format.fields import DO, count, file_json, file_of, json_object, json_of, known_fields, one_of, typed
from dfndr.format.funnel import Counts, Step, adds_up, check_join, reasons_of, step_of_json
from dfndr.format.removed import LOG, ROWS, Removal
from dfndr.format.schema import FORMAT, NAME, SPLITS, EncoderRecord, Space
from dfndr.storage import Stored

__all__ = ["MANIFEST", "Counts", "Manifest", "Shard", "Step", "canonical", "read_manifest", "write_manifest"]

MANIFEST = "manifest.json"
_MAX_BYTES = 1 << 27


def canonical(value: object) -> bytes:
    """Return the one JSON text of a value: sorted keys, no spaces, UTF-8; what digests are made over."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


@dataclass(frozen=True)
class Shard:
    """The record of a finished group of rows: counts, files with bytes and sha256, drops and failures by reason.

    `files` is keyed by role: `rows`, `problems` (only where rows failed), or a space's name. `notes` holds what
    happened on the way and changes no promise, such as a halved batch. `rows` counts those that are there for readers;
    the files hold `removed` more, which were taken out.
    """

    index: int
    split: str
    rows_in: int
    rows: int
    files: Mapping[str, Stored]
    dropped: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    removed: int = 0

    @property
    def stored(self) -> int:
        """How many rows its files hold, those that were taken out included."""
        return self.rows + self.removed

    def to_json(self) -> dict[str, object]:
        """Return the JSON object that stands in the record and in the manifest."""
        return {
            "index": self.index,
            "split": self.split,
            "rows_in": self.rows_in,
            "rows": self.rows,
            "dropped": dict(self.dropped),
            "failed": dict(self.failed),
            "files": {role: file_json(stored) for role, stored in self.files.items()},
            "notes": dict(self.notes),
            **({"removed": self.removed} if self.removed else {}),
        }

    @classmethod
    def from_json(cls, given: object, where: str) -> Shard:
        """Read a record; raises FormatError where a field is missing, unsafe, or does not add up."""
        fields = known_fields(given, cls, where)
        notes = json_object(fields.get("notes"), f"{where}, notes")
        shard = cls(
            index=count(fields, "index", where),
            split=one_of(fields, "split", SPLITS, where),
            rows_in=count(fields, "rows_in", where),
            rows=count(fields, "rows", where),
            dropped=reasons_of(fields, "dropped", where),
            failed=reasons_of(fields, "failed", where),
            files={
                role: file_of(value, f"{where}, file {role!r}")
                for role, value in json_object(fields.get("files"), where).items()
            },
            notes={key: typed(notes, key, str, where) for key in notes},
            removed=count(fields, "removed", where) if "removed" in fields else 0,
        )
        if shard.removed > shard.dropped.get("removed", 0):
            found = f"{shard.removed} of {shard.dropped.get('removed', 0)} dropped for it"
            raise FormatError(where, expected="rows that were removed among those dropped", found=found, do=DO)
        adds_up(where, shard.rows_in, shard.rows, shard.dropped, shard.failed)
        return shard


@dataclass(frozen=True)
class Manifest:
    """Everything a reader needs to know of a dataset before it opens a file; it holds no time and no place.

    `scorers`, `encoders` and `captioners` are keyed by name; `files` are those that belong to no shard (weights of a
    filter that was trained on the way). `removals` are the times that rows were taken out, the first one first. Equal
    inputs give equal bytes, so `digest` names the dataset's content.
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
    removals: tuple[Removal, ...] = ()
    captioners: Mapping[str, CaptionerRecord] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(shard.rows for shard in self.shards)

    @property
    def digest(self) -> str:
        """The sha256 of the manifest's canonical JSON: two datasets with one digest are the same dataset."""
        return hashlib.sha256(canonical(self.to_json())).hexdigest()

    @property
    def removed(self) -> int:
        """How many rows the files still hold that were taken out."""
        return sum(shard.removed for shard in self.shards)

    def descends_from(self, digest: str) -> bool:
        """Say whether this is what was left of the dataset of a digest after rows were taken out of it."""
        return any(removal.before == digest for removal in self.removals)

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
            "encoders": _json(self.encoders),
            "scorers": _json(self.scorers),
            **({"captioners": _json(self.captioners)} if self.captioners else {}),
            "funnel": [step.to_json() for step in self.funnel],
            "provenance": dict(self.provenance),
            "files": {role: file_json(stored) for role, stored in self.files.items()},
            "shards": [shard.to_json() for shard in self.shards],
            **({"removals": [removal.to_json() for removal in self.removals]} if self.removals else {}),
        }

    @classmethod
    def from_json(cls, given: object, where: str) -> Manifest:
        """Read the JSON object of `manifest.json`; raises FormatError at the first thing that is wrong."""
        fields = json_object(given, where)
        if fields.get("format") != FORMAT:
            found = repr(fields.get("format"))
            raise FormatError(where, expected=f"format {FORMAT!r}", found=found, do="Use the dfndr that wrote it.")
        known_fields(given, cls, where, "format", "rows")
        spaces = tuple(
            Space.from_json(json_object(value, where), f"{where}, space {number}")
            for number, value in enumerate(typed(fields, "spaces", list, where))
        )
        manifest = cls(
            name=_name(fields, where),
            license=typed(fields, "license", str, where),
            recipe=typed(fields, "recipe", str, where),
            recipe_digest=typed(fields, "recipe_digest", str, where),
            seed=typed(fields, "seed", int, where),
            spaces=spaces,
            encoders=_encoders(fields, "encoders", where),
            scorers=_encoders(fields, "scorers", where),
            captioners={
                name: CaptionerRecord.from_json(value, f"{where}, captioner {name!r}")
                for name, value in json_object(fields.get("captioners", {}), where).items()
            },
            shards=tuple(
                Shard.from_json(value, f"{where}, shard {number}")
                for number, value in enumerate(typed(fields, "shards", list, where))
            ),
            funnel=tuple(step_of_json(value, where) for value in typed(fields, "funnel", list, where)),
            provenance=json_object(fields.get("provenance"), where),
            files={role: file_of(value, where) for role, value in json_object(fields.get("files"), where).items()},
            removals=tuple(
                Removal.from_json(value, f"{where}, removal {number}")
                for number, value in enumerate(typed({"removals": [], **fields}, "removals", list, where))
            ),
        )
        manifest._check(where, count(fields, "rows", where))
        return manifest

    def _check(self, where: str, rows: int) -> None:
        total = sum(shard.rows for shard in self.shards)
        if rows != total:
            raise FormatError(where, expected=f"{rows} rows", found=f"shards of {total} rows in all", do=DO)
        names = [space.name for space in self.spaces]
        if len(set(names)) != len(names):
            raise FormatError(where, expected="spaces with names of their own", found=repr(names), do=DO)
        unknown = {space.encoder for space in self.spaces} - set(self.encoders)
        if unknown:
            raise FormatError(where, expected="a record for every encoder", found=f"none for {sorted(unknown)}", do=DO)
        wanted = {"rows", *names}
        for number, shard in enumerate(self.shards):
            if set(shard.files) - {"problems"} != wanted:
                found = f"{sorted(shard.files)} in shard {number}"
                raise FormatError(where, expected=f"the files {sorted(wanted)}", found=found, do=DO)
            if shard.index != number:
                raise FormatError(where, expected=f"shard {number}", found=f"shard {shard.index}", do=DO)
        paths = [stored.path for shard in self.shards for stored in shard.files.values()]
        paths += [stored.path for stored in self.files.values()]
        if len(set(paths)) != len(paths):
            twice = Counter(paths).most_common(1)[0][0]
            raise FormatError(where, expected="each file named once", found=f"{twice} twice", do=DO)
        self._check_removals(where)
        for before, after in zip(self.funnel, self.funnel[1:], strict=False):
            check_join(before, after, f"{where}, funnel")
        if self.funnel and self.funnel[-1].rows_out != rows:
            found = f"{self.funnel[-1].rows_out} rows out of the funnel"
            raise FormatError(f"{where}, funnel", expected=f"{rows} rows", found=found, do=DO)

    def _check_removals(self, where: str) -> None:
        taken = sum(removal.rows for removal in self.removals)
        dropped = sum(shard.dropped.get("removed", 0) for shard in self.shards)
        if taken != dropped:
            found = f"{dropped} rows that the shards dropped for it"
            raise FormatError(f"{where}, removals", expected=f"{taken} rows removed", found=found, do=DO)
        if bool(self.removed) != (ROWS in self.files) or (self.removals and LOG not in self.files):
            expected = f"{ROWS} where files hold rows that were removed, and {LOG} where any were"
            raise FormatError(f"{where}, files", expected=expected, found=f"{sorted(self.files)}"[:160], do=DO)


def read_manifest(root: str) -> Manifest:
    """Read and check `manifest.json` of the dataset at `root`; raises FormatError or StorageError."""
    path = storage.join(root, MANIFEST)
    if not storage.exists(path):
        there = "a folder without one" if storage.is_folder(root) else "a file"
        missing = there if storage.exists(root) else "nothing there"
        do = "Check the path; if a build was stopped, run it again: the manifest is written last."
        raise FormatError(root, expected=f"a dataset with {MANIFEST}", found=missing, do=do)
    if not storage.is_remote(root):
        storage.size_of(path)  # raises for a pipe, which nobody should wait for
    data = storage.read_bytes(path, most=_MAX_BYTES)
    try:
        given = json_of(data)
        canonical(given)  # refuses what JSON cannot say and a digest cannot be made over: NaN, lone surrogates
    except (ValueError, RecursionError) as error:
        raise FormatError(path, expected="JSON in UTF-8", found=str(error), do=DO) from error
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


def _json(records: Mapping[str, EncoderRecord] | Mapping[str, CaptionerRecord]) -> dict[str, object]:
    return {name: record.to_json() for name, record in records.items()}


def _encoders(fields: Mapping[str, Any], key: str, where: str) -> dict[str, EncoderRecord]:
    given = json_object(fields.get(key), f"{where}, {key}")
    return {
        name: EncoderRecord.from_json(json_object(value, where), f"{where}, {key} {name!r}")
        for name, value in given.items()
    }


def _name(fields: Mapping[str, Any], where: str) -> str:
    name = typed(fields, "name", str, where)
    if not NAME.fullmatch(name):
        raise FormatError(where, expected=f"a name like {NAME.pattern}", found=repr(name), do=DO)
    return name
