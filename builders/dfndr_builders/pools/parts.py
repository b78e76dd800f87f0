"""What pools of files side by side have in common: a picture, its text and its json, told apart by their suffixes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pyarrow as pa

from dfndr.errors import RecipeError
from dfndr_builders.pools.base import Sample, pool_schema
from dfndr_builders.pools.files import MAX_FILE_BYTES

__all__ = ["PartsPool", "texts_in"]

_JSON = "json:"


@dataclass(frozen=True)
class PartsPool:
    """The fields, and from a sample's parts to its rows; abstract.

    `paths` are brace and glob patterns. `image` lists suffixes in order of preference. `text` is a suffix, or
    `json:FIELD`, where FIELD may be dotted; of a field that holds a list the first text is taken, or, with
    `every_text`, each in a row of its own with the same image (key `KEY#0`, `KEY#1`, ...). White space around a text is
    left out. `keep` names fields of the json to carry along as string columns: strings as they are, all else as JSON
    with sorted keys, null where absent. `source` and `license` hold for every row; where None, the json's fields of
    those names do. `uid` is `json:FIELD`; a value that is not 32 hex digits is passed over for the content's hash.
    """

    paths: tuple[str, ...]
    image: str = field(default="jpg;jpeg;png;webp;gif", kw_only=True)
    text: str = field(default="txt", kw_only=True)
    every_text: bool = field(default=False, kw_only=True)
    keep: tuple[str, ...] = field(default=(), kw_only=True)
    source: str | None = field(default=None, kw_only=True)
    license: str | None = field(default=None, kw_only=True)
    uid: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.uid is not None and not self.uid.startswith(_JSON):
            raise RecipeError("pool: uid", expected='"json:FIELD"', found=repr(self.uid), do="Name the json's field.")
        if self.every_text and (self.uid is not None or not self.text.startswith(_JSON)):
            found = f"text = {self.text!r}, uid = {self.uid!r}"
            do = "Texts that share a picture come from a json list, and each row has a uid of its own."
            raise RecipeError("pool: every_text", expected='text = "json:FIELD" and no uid', found=found, do=do)

    def schema(self) -> pa.Schema:
        """Return POOL_SCHEMA and a string column for each kept field; raises RecipeError where a name is taken."""
        return pool_schema(pa.field(name, pa.string()) for name in self.keep)

    @property
    def image_suffixes(self) -> list[str]:
        """The suffixes of images, in order of preference."""
        return [suffix.strip().lstrip(".").lower() for suffix in self.image.split(";") if suffix.strip()]

    @property
    def text_suffix(self) -> str:
        """The suffix of the part that holds the text."""
        return "json" if self.text.startswith(_JSON) else self.text.lstrip(".").lower()

    @property
    def wanted(self) -> frozenset[str]:
        """The suffixes of all parts that need to be read."""
        about = self.keep or self.uid or self.source is None or self.license is None
        return frozenset([*self.image_suffixes, self.text_suffix, *(["json"] if about else [])])

    def samples(self, key: str, parts: Mapping[str, bytes | None], *, problem: str | None = None) -> Iterator[Sample]:
        """Yield the sample or, with `every_text`, the samples of one key; a part that is None is too large to read."""
        sample = Sample(key, source=self.source, license=self.license, problem=problem)
        chosen = next((suffix for suffix in self.image_suffixes if suffix in parts), None)
        if chosen is not None:
            sample.image = parts[chosen]
            if sample.image is None:
                sample.fail("image_too_large", f"more than {MAX_FILE_BYTES} bytes")
        given: dict[str, Any] = {}
        if "json" in parts and "json" in self.wanted:
            try:
                given = _parsed(parts["json"])
                sample.kept = {name: _kept(given.get(name)) for name in self.keep}
            except (ValueError, RecursionError) as error:
                sample.fail("json_unreadable", str(error))
        own = _field_at(given, self.uid.removeprefix(_JSON)) if self.uid else None
        sample.uid = own if isinstance(own, str) else None
        for name in ("source", "license"):
            if getattr(self, name) is None and isinstance(given.get(name), str):
                setattr(sample, name, given[name])
        if self.text.startswith(_JSON):
            value = _field_at(given, self.text.removeprefix(_JSON))
            texts = texts_in(value, every=self.every_text)
        else:
            texts = texts_in(parts.get(self.text_suffix), every=False)
            if self.text_suffix in parts and texts == [None]:
                sample.fail("text_too_long", f"more than {MAX_FILE_BYTES} bytes")
        for number, text in enumerate(texts):
            yield replace(sample, key=f"{key}#{number}" if self.every_text else key, text=text)


def texts_in(value: object, *, every: bool) -> list[bytes | None]:
    """Return the texts of a string, or of a list of them (the first alone, or every one); None is no text."""
    values = value if isinstance(value, list) else [value]
    return [_text(value) for value in (values if every else values[:1])] or [None]


def _text(value: object) -> bytes | None:
    if isinstance(value, str):
        return value.strip().encode("utf-8", "surrogatepass")
    return value.strip() if isinstance(value, bytes) else None


def _parsed(data: bytes | None) -> dict[str, Any]:
    """Return the json object; NaN and the infinities, which are no JSON though pandas writes them, are null."""
    if data is None:
        raise ValueError(f"more than {MAX_FILE_BYTES} bytes")
    given = json.loads(data, parse_constant=lambda name: None, parse_float=_finite)
    if not isinstance(given, dict):
        raise ValueError(f"an object is needed, and it is a {type(given).__name__}")
    return cast("dict[str, Any]", given)


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _kept(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _field_at(given: Mapping[str, Any], path: str) -> object:
    found: object = given
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found
