"""Reading JSON that anybody may have written: each function returns a checked value or raises FormatError."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from dfndr.errors import FormatError
from dfndr.storage import Stored

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["DO", "count", "file_json", "file_of", "json_object", "json_of", "known_fields", "one_of", "typed"]

DO = "The manifest was altered or written by something else: fetch or build the dataset again."
_MOST = 1 << 53
_SAFE_PATH = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_T = TypeVar("_T")


def json_of(text: bytes) -> object:
    """Parse JSON; raises ValueError or RecursionError, also for an object that holds one name twice."""
    return json.loads(text, object_pairs_hook=_named_once)


def _named_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object that holds one name twice")
    return found


def json_object(given: object, where: str) -> Mapping[str, Any]:
    """Return a JSON object."""
    if not isinstance(given, dict):
        raise FormatError(where, expected="a JSON object", found=type(given).__name__, do=DO)
    return cast("Mapping[str, Any]", given)


def known_fields(given: object, kind: type[DataclassInstance], where: str, *more: str) -> Mapping[str, Any]:
    """Return a JSON object that holds no other fields than a dataclass has, and `more`."""
    found = json_object(given, where)
    unknown = set(found) - {field.name for field in dataclasses.fields(kind)} - set(more)
    if unknown:
        raise FormatError(where, expected="no field that the format does not have", found=f"{sorted(unknown)}", do=DO)
    return found


def typed(fields: Mapping[str, Any], key: str, kind: type[_T], where: str) -> _T:
    """Return a field of a type; a boolean is no integer."""
    value = fields.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise FormatError(where, expected=f"{key!r} as {kind.__name__}", found=repr(value)[:80], do=DO)
    return value


def count(fields: Mapping[str, Any], key: str, where: str) -> int:
    """Return a field that counts something: 0 to 2**53, which every reader of JSON holds exactly."""
    value = typed(fields, key, int, where)
    if not 0 <= value <= _MOST:
        raise FormatError(where, expected=f"{key!r} from 0 to 2**53", found=repr(value)[:80], do=DO)
    return value


def one_of(fields: Mapping[str, Any], key: str, allowed: Sequence[str], where: str) -> str:
    """Return a field that is one of a closed list."""
    value = typed(fields, key, str, where)
    if value not in allowed:
        raise FormatError(where, expected=f"{key!r} as one of {list(allowed)}", found=repr(value), do=DO)
    return value


def file_json(given: Stored) -> dict[str, object]:
    """Return the JSON object for a file."""
    return {"path": given.path, "size_bytes": given.size_bytes, "sha256": given.sha256}


def file_of(given: object, where: str) -> Stored:
    """Return the record of a file, whose path cannot leave the dataset's folder."""
    fields = known_fields(given, Stored, where)
    path, digest = typed(fields, "path", str, where), typed(fields, "sha256", str, where)
    if len(path) > 512 or not _SAFE_PATH.fullmatch(path):
        expected = "a relative path inside the dataset, without '..'"
        raise FormatError(where, expected=expected, found=repr(path), do="Do not use it: it is hostile or damaged.")
    if not _SHA256.fullmatch(digest):
        raise FormatError(where, expected="a sha256 of 64 hex digits", found=repr(digest), do=DO)
    return Stored(path, count(fields, "size_bytes", where), digest)
