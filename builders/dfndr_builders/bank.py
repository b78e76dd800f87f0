"""The caption bank: the distinct texts of a file or a pool, embedded once into a dataset of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from dfndr import storage
from dfndr.errors import PoolError
from dfndr.format.manifest import write_manifest
from dfndr.format.schema import Space
from dfndr_builders.context import Context, listing
from dfndr_builders.embed import Embed
from dfndr_builders.opened import open_pool
from dfndr_builders.phase import phase_digest, step_of
from dfndr_builders.pools.base import Pool, uid_of
from dfndr_builders.rows import read_range
from dfndr_builders.scorer import OpenModel
from dfndr_builders.sections.captions import Retrieval
from dfndr_builders.stage import good_rows
from dfndr_builders.work import Job, Unit

__all__ = ["BANK_ROWS", "BankRows", "bank_given", "count_texts", "embed_bank", "write_texts"]

BANK_ROWS = 10_000
_SCHEMA = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("problem", pa.string()),
        pa.field("detail", pa.string()),
    ]
)
_TEXTS = "texts.parquet"


def bank_given(context: Context, given: Retrieval) -> tuple[Pool | str, object]:
    """Return the bank's pool, or its file, and what its phase remembers of it."""
    if isinstance(given.bank, str):
        path = context.resolve(given.bank)
        return path, storage.sha256_of(path)
    pool = open_pool(given.bank, context.folder, context.recipe.seed)
    return pool, [given.bank.model_dump(mode="json"), listing(pool)]


def embed_bank(context: Context, given: Retrieval, scorer: OpenModel) -> str:
    """Embed the caption bank, or what is left to do of it; return its root."""
    bank, content = bank_given(context, given)
    record = scorer.record
    digest = phase_digest("bank", bank=content, seed=context.recipe.seed, scorer=record.to_json())
    root = context.phase("bank", digest)
    with context.alone():
        count = count_texts(root)
        if count is None:
            count, seen = write_texts(root, bank)
            context.progress.say(f"caption bank: {count:,} distinct texts of {seen:,}")
    space, source = Space("text", record.name, record.dim), BankRows(root)
    job = Job(root, digest, source, Embed(space, scorer.spec), (space,), (scorer.spec,))
    shards = context.run("bank", job, source.units(count))
    funnel = (step_of("bank", shards),)
    manifest = context.manifest(digest, shards=shards, spaces=(space,), encoders={record.name: scorer}, funnel=funnel)
    write_manifest(root, manifest)
    return root


def write_texts(root: str, bank: Pool | str) -> tuple[int, int]:
    """Write the bank's distinct texts, in their first order; return how many there are, and how many were given.

    `bank` is a pool, or the path of a UTF-8 file of one caption a line. Raises PoolError where it holds no text.
    """
    given, distinct = 0, dict[str, None]()
    for text in _lines(bank) if isinstance(bank, str) else _pool_texts(bank):
        given += 1
        distinct.setdefault(text)
    if not distinct:
        raise PoolError("caption bank", expected="at least one caption", found="none", do="Check [[caption]] bank.")

    def write(file: BinaryIO) -> None:
        with pa.PythonFile(file, mode="w") as sink:
            pq.write_table(pa.table({"text": list(distinct)}), sink, compression="zstd", row_group_size=BANK_ROWS)

    storage.put(root, _TEXTS, write)
    return len(distinct), given


def count_texts(root: str) -> int | None:
    """Return how many texts `write_texts` wrote there; None where it did not, or its file is damaged."""
    path = storage.join(root, _TEXTS)
    if not storage.exists(path):
        return None
    try:
        with storage.open_read(path) as source:
            return int(pq.read_metadata(source).num_rows)
    except pa.ArrowException:
        return None


def _lines(path: str) -> Iterator[str]:
    if Path(path).is_dir():
        raise PoolError(path, expected="a text file of captions", found="a folder", do="Check [[caption]] bank.")
    try:
        text = storage.read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PoolError(path, expected="UTF-8", found=str(error), do="Save the file as UTF-8.") from error
    yield from (line.strip() for line in text.splitlines() if line.strip())


def _pool_texts(pool: Pool) -> Iterator[str]:
    for shard in pool.shards():
        for table in pool.read(shard):
            yield from (table["text"][row].as_py().strip() for row in good_rows(table))


@dataclass(frozen=True)
class BankRows:
    """The source of a bank's job: the texts as rows, named by their own hash."""

    root: str

    def schema(self) -> pa.Schema:
        """Return the schema of the rows."""
        return _SCHEMA

    def units(self, count: int) -> list[Unit]:
        """Return the units of a bank of `count` texts."""
        starts = range(0, count, BANK_ROWS)
        return [Unit(number, "train", start, min(start + BANK_ROWS, count)) for number, start in enumerate(starts)]

    def read(self, unit: Unit) -> Iterator[pa.Table]:
        """Yield the unit's texts."""
        texts = read_range(storage.join(self.root, _TEXTS), unit.start, unit.stop)["text"].to_pylist()
        for start in range(0, len(texts), 256):
            part = texts[start : start + 256]
            nothing = pa.nulls(len(part), pa.string())
            uids = [uid_of(None, text.encode()) for text in part]
            keys = [str(unit.start + start + place) for place in range(len(part))]
            yield pa.table([uids, keys, part, nothing, nothing], schema=_SCHEMA)

    def describe(self, unit: Unit) -> str:
        """Return which texts of the bank they are."""
        return f"texts {unit.start:,} to {unit.stop - 1:,} of {storage.join(self.root, _TEXTS)}"
