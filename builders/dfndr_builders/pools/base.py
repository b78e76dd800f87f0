"""What every pool has in common: its shards, its rows as tables, and a sample's identity."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from dfndr.errors import RecipeError
from dfndr_builders.stage import POOL_SCHEMA

__all__ = ["MAX_TEXT_CHARACTERS", "TABLE_ROWS", "Pool", "PoolShard", "Sample", "pool_schema", "tables_of", "uid_of"]

TABLE_ROWS = 256
MAX_TEXT_CHARACTERS = 10_000
"""A longer text is a problem, and is kept out of the table so that memory stays flat."""
_UID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class PoolShard:
    """A part of a pool that is read in one go, front to back: its place in the list, its name, its size if known.

    `files` is a hash of the names and sizes of its files where it has several, and `changed` says when it was changed,
    or what stands for that where it lies; "" where nothing does.
    """

    index: int
    name: str
    size_bytes: int | None = None
    files: str = ""
    changed: str = ""

    @property
    def look(self) -> str:
        """How it looks from outside, for who wants to know whether it changed."""
        told = f"{self.name}\0{self.size_bytes}\0{self.files}\0{self.changed}"
        return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()


class Pool(Protocol):
    """An unfiltered source of image-text pairs.

    `read` streams: it holds a table of rows and never the shard. The same shard always gives the same rows in the
    same order. A sample that is not whole is a row with a problem, never an exception and never skipped.
    """

    def schema(self) -> pa.Schema:
        """Return POOL_SCHEMA followed by the columns that the recipe keeps."""

    def shards(self) -> Sequence[PoolShard]:
        """List the shards, in a fixed order; raises PoolError where there is none or a path is wrong."""

    def read(self, shard: PoolShard) -> Iterator[pa.Table]:
        """Yield the shard's rows as tables of `schema()`, at most TABLE_ROWS rows each."""


def uid_of(image: bytes | None, text: bytes | None, own: str | None = None) -> str:
    """Return a sample's uid: the pool's own where it is 32 hex digits, else sha256(image, 0 byte, text), 128 bits."""
    if own is not None and _UID.fullmatch(own.lower()):
        return own.lower()
    digest = hashlib.sha256(image or b"")
    digest.update(b"\0" + (text or b""))
    return digest.hexdigest()[:32]


@dataclass
class Sample:
    """One sample on its way into a table; `text` is the raw bytes as the pool holds them, None where absent."""

    key: str
    image: bytes | None = None
    text: bytes | None = None
    source: str | None = None
    license: str | None = None
    uid: str | None = None
    problem: str | None = None
    detail: str | None = None
    kept: dict[str, object] = field(default_factory=dict)

    def fail(self, problem: str, detail: str | None = None) -> None:
        """Name what is wrong with the sample, unless something before it is."""
        if self.problem is None:
            self.problem, self.detail = problem, detail

    def row(self) -> dict[str, object]:
        """Return the row: the text decoded, and the first thing that is wrong with the sample named."""
        text = None
        if self.image is None:
            self.fail("image_missing")
        elif not self.image:
            self.fail("image_empty")
        if self.text is None:
            self.fail("text_missing")
        else:
            try:
                text = self.text.decode("utf-8")
            except UnicodeDecodeError as error:
                self.fail("text_not_utf8", str(error))
        if text is not None and len(text) > MAX_TEXT_CHARACTERS:
            self.fail("text_too_long", f"{len(text)} characters, and the limit is {MAX_TEXT_CHARACTERS}")
            text = None
        elif text is not None and not text.strip():
            self.fail("text_empty")
        content = self.text if self.image is not None or self.text is not None else self.key.encode("utf-8", "replace")
        row: dict[str, object] = {"uid": uid_of(self.image, content, self.uid), "text": text, "image": self.image}
        about = {"key": self.key, "source": self.source, "license": self.license, "problem": self.problem}
        for name, value in {**about, "detail": self.detail and self.detail[:300], **self.kept}.items():
            row[name] = storable(value) if isinstance(value, str) else value
        return row


def storable(text: str) -> str:
    """Return a text that Arrow can hold: what is no Unicode in it (as in odd file names) is escaped."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def tables_of(samples: Iterable[Sample], schema: pa.Schema) -> Iterator[pa.Table]:
    """Group samples into tables of at most TABLE_ROWS rows and about 64 MB of images."""
    rows: list[dict[str, object]] = []
    size = 0
    for sample in samples:
        rows.append(sample.row())
        size += len(sample.image or b"")
        if len(rows) == TABLE_ROWS or size > 64_000_000:
            yield _table(rows, schema)
            rows, size = [], 0
    if rows:
        yield _table(rows, schema)


def _table(rows: list[dict[str, object]], schema: pa.Schema) -> pa.Table:
    columns = [pa.array([row.get(name) for row in rows], schema.field(name).type) for name in schema.names]
    return pa.Table.from_arrays(columns, schema=schema)


def pool_schema(kept: Iterable[pa.Field[Any]]) -> pa.Schema:
    """Return POOL_SCHEMA followed by the kept columns; raises RecipeError where a name is taken already."""
    fields = [*POOL_SCHEMA]
    for column in kept:
        if column.name in (taken := [field.name for field in fields]):
            expected, do = f"other names than {', '.join(taken)}", "Leave it out of `keep`: it is there already."
            raise RecipeError("keep", expected=expected, found=repr(column.name), do=do)
        fields.append(column)
    return pa.schema(fields)
