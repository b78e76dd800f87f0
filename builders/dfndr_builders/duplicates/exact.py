"""Exact duplicates: rows whose image files, or whose texts, are the same.

What is compared is 128 bits of a hash. DuckDB finds the equal ones within a fixed amount of memory, on disk where there
are many: 24 bytes a row there, and nothing per row in memory but the shard at hand.
"""

from __future__ import annotations

import hashlib
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.dataset import Dataset
from dfndr.errors import MissingExtra, StorageError
from dfndr.progress import SILENT, Progress
from dfndr_builders.duplicates.groups import Rows, require_column

__all__ = ["SameImage", "SameText", "normalised"]

_MEMORY = "512MB"
_BATCH = 100_000

Hash = Callable[[str], bytes | None]


@dataclass(frozen=True)
class SameImage:
    """Column `same_image_group`: rows whose image files have one `sha256`, of which the first 128 bits are compared."""

    def fields(self) -> list[pa.Field]:
        """Return the column."""
        return [pa.field("same_image_group", pa.int64())]

    def tables(self, scores: Dataset, progress: Progress = SILENT) -> Iterator[pa.Table]:
        """Yield the column shard by shard; null where the row is alone or has no hash."""
        return _equal(scores, "sha256", self.fields()[0].name, lambda text: bytes.fromhex(text[:32]), progress)

    def distance(self, scores: Dataset, removed: Rows, kept: Rows) -> npt.NDArray[np.float32]:
        """Return zeros: the files are the same."""
        return np.zeros(len(removed), dtype=np.float32)


@dataclass(frozen=True)
class SameText:
    """Column `same_text_group`: rows whose texts are the same once `normalised`; a blank text is alone."""

    def fields(self) -> list[pa.Field]:
        """Return the column."""
        return [pa.field("same_text_group", pa.int64())]

    def tables(self, scores: Dataset, progress: Progress = SILENT) -> Iterator[pa.Table]:
        """Yield the column shard by shard; null where the row is alone or has no text."""
        return _equal(scores, "text", self.fields()[0].name, _text_hash, progress)

    def distance(self, scores: Dataset, removed: Rows, kept: Rows) -> npt.NDArray[np.float32]:
        """Return zeros: the texts are the same."""
        return np.zeros(len(removed), dtype=np.float32)


def normalised(text: str) -> str:
    """Return a text in NFC, case-folded, each run of white space a single space and none at its ends."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return " ".join(folded.split())


def _text_hash(text: str) -> bytes | None:
    plain = normalised(text)
    return hashlib.blake2b(plain.encode(), digest_size=16).digest() if plain else None


def _equal(scores: Dataset, column: str, name: str, hash_of: Hash, progress: Progress) -> Iterator[pa.Table]:
    """Yield the groups of rows that have one hash; a group is named by its smallest row."""
    require_column(scores, column, pa.string())
    with _database() as database:
        _load(database, scores, column, hash_of, progress)
        found = database.sql(
            "SELECT place, first FROM hashed JOIN (SELECT high, low, min(place) AS first FROM hashed "
            "GROUP BY high, low HAVING count(*) > 1) USING (high, low) ORDER BY place"
        )
        batches = (batch for batch in found.to_arrow_reader(_BATCH))
        places, firsts, start = np.empty(0, np.int64), np.empty(0, np.int64), 0
        for shard in scores.shards:
            stop = start + shard.rows
            while not (len(places) and places[-1] >= stop) and (batch := next(batches, None)) is not None:
                places = np.concatenate([places, batch["place"].to_numpy()])
                firsts = np.concatenate([firsts, batch["first"].to_numpy()])
            here = np.searchsorted(places, stop)
            groups, is_alone = np.zeros(shard.rows, dtype=np.int64), np.ones(shard.rows, dtype=bool)
            groups[places[:here] - start], is_alone[places[:here] - start] = firsts[:here], False
            yield pa.table({name: pa.array(groups, pa.int64(), mask=is_alone)})
            places, firsts, start = places[here:], firsts[here:], stop


def _load(database: Any, scores: Dataset, column: str, hash_of: Hash, progress: Progress) -> None:  # noqa: ANN401
    """Stream place (the row's number) and hash of every row that has one into the database."""
    database.execute("CREATE TABLE hashed (place BIGINT, high UBIGINT, low UBIGINT)")
    start = 0
    with progress.task(f"hash {column}", len(scores)) as task:
        for table in scores.tables([column]):
            hashes = [None if text is None else hash_of(text) for text in table[column].to_pylist()]
            rows = np.array([row for row, value in enumerate(hashes) if value is not None], dtype=np.int64) + start
            halves = np.frombuffer(b"".join(value for value in hashes if value is not None), np.uint64).reshape(-1, 2)
            database.register(
                "given", pa.table({"place": rows, "high": halves[:, 0].copy(), "low": halves[:, 1].copy()})
            )
            database.execute("INSERT INTO hashed SELECT * FROM given")
            database.unregister("given")
            start += len(table)
            task.advance(len(table))


@contextmanager
def _database() -> Iterator[Any]:
    """Open a database in a temporary folder; raises StorageError where there is no room in it."""
    try:
        import duckdb
    except ImportError as error:
        raise MissingExtra.of("duckdb", "build") from error
    try:
        with tempfile.TemporaryDirectory() as folder, duckdb.connect(str(Path(folder) / "equal.duckdb")) as database:
            database.execute(f"SET memory_limit = '{_MEMORY}'; SET temp_directory = '{folder}'; SET threads = 2")
            yield database
    except (duckdb.Error, OSError) as error:
        found, do = str(error).splitlines()[0], "Make room in the temporary folder (TMPDIR), and run again."
        raise StorageError("duplicates", expected="room to sort the hashes", found=found, do=do) from error
