"""Selection, the only global step: which scored rows are kept. Exact, out of core (DuckDB), ties broken by uid.

N is the number of distinct samples that have a finite score. A uid that comes again is dropped as `duplicate` (the
first in the pool's order stays); then the rule keeps exactly floor(N * top_fraction) rows, or exactly `count`, or all
at or above `threshold`. Among equal scores the smaller uid wins.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import MissingExtra, RecipeError, StorageError
from dfndr.format.manifest import Step
from dfndr.format.schema import SPLITS
from dfndr.storage import Stored

__all__ = ["Rule", "Selection", "is_validation", "read_selection", "select"]

T = TypeVar("T")
_MEMORY = "1GB"
_DONE = "selection.json"


@dataclass(frozen=True)
class Rule:
    """What to keep: one of `top_fraction` in (0, 1], `threshold`, or `count`, by the score column `by`.

    `validation` is the share of kept rows that go to the validation split, by a hash of the uid alone.
    """

    by: str
    top_fraction: float | None = None
    threshold: float | None = None
    count: int | None = None
    validation: float = 0.0

    def keeps(self, scored: int) -> int | None:
        """Return how many of `scored` rows are kept, or None where that depends on the scores."""
        if self.top_fraction is not None:
            return int(Fraction(repr(self.top_fraction)) * scored)  # floor, in exact decimals: 0.29 of 100 is 29
        return None if self.count is None else min(self.count, scored)


@dataclass(frozen=True)
class Selection:
    """What was selected: rows by split, the cut (the lowest score kept, None if none was), N, and the funnel's step."""

    rows: dict[str, int]
    cut: float | None
    samples: int
    step: Step


def is_validation(uid: str, share: float) -> bool:
    """Say whether a uid belongs to the validation split: the first 32 bits of md5(uid) lie below the share."""
    return hashlib.md5(uid.encode(), usedforsecurity=False).hexdigest()[:8] < _share_limit(share)


def _share_limit(share: float) -> str:
    return f"{int(share * 2**32):08x}"


def read_selection(root: str) -> Selection | None:
    """Return a finished selection whose files are there with their sizes, or None."""
    path = storage.join(root, _DONE)
    if not storage.exists(path):
        return None
    try:
        given = json.loads(storage.read_bytes(path))
        found = Selection(given["rows"], given["cut"], given["samples"], Step(**given["step"]))
        sizes = {storage.join(root, name): size for name, size in given["files"].items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None  # a damaged record is no record: the selection is made again
    is_whole = all(storage.exists(name) and storage.size_of(name) == size for name, size in sizes.items())
    return found if is_whole else None


def select(scores: Dataset, rule: Rule, out: str) -> Selection:
    """Write `<split>.parquet` (shard int32, row int32, uid, score; in the pool's order) and then `selection.json`.

    `shard` and `row` point into the dataset of scores. Raises RecipeError where there is no such score.
    """
    if rule.by not in scores.schema().names:
        there = (
            ", ".join(field.name for field in scores.schema() if pa.types.is_floating(field.type)) or "no score at all"
        )
        raise RecipeError(
            "[select] by", expected=f"one of: {there}", found=repr(rule.by), do="Name a score of the recipe."
        )

    def work(database: Any) -> tuple[Selection, list[Stored]]:  # noqa: ANN401
        chosen = _choose(database, scores, rule)
        return chosen, [storage.put(out, f"{split}.parquet", _writer(database, split)) for split in SPLITS]

    with _database() as database:
        chosen, stored = _interruptible(database, work)
    files = {file.path: file.size_bytes for file in stored}
    given = {**asdict(chosen), "step": chosen.step.to_json(), "rule": asdict(rule), "files": files}
    storage.put(out, _DONE, (json.dumps(given, indent=1, sort_keys=True) + "\n").encode())
    return chosen


@contextmanager
def _database() -> Iterator[Any]:
    """Open a database in a temporary folder; raises StorageError where there is no room to sort in."""
    try:
        import duckdb
    except ImportError as error:
        raise MissingExtra.of("duckdb", "build") from error
    try:
        with tempfile.TemporaryDirectory() as folder, duckdb.connect(str(Path(folder) / "select.duckdb")) as database:
            database.execute(f"SET memory_limit = '{_MEMORY}'; SET temp_directory = '{folder}'; SET threads = 2")
            yield database
    except (duckdb.Error, OSError) as error:
        found, do = str(error).splitlines()[0], "Make room in the temporary folder (TMPDIR), and run again."
        raise StorageError("select", expected="room to sort the scores", found=found, do=do) from error


def _interruptible(database: Any, work: Callable[[Any], T]) -> T:  # noqa: ANN401
    """Do the work in a thread of its own: DuckDB may not hear of Ctrl-C before the end of a query."""
    with ThreadPoolExecutor(max_workers=1) as sorter:
        done = sorter.submit(work, database)
        try:
            return done.result()
        except KeyboardInterrupt:
            while not done.done():
                database.interrupt()
                wait([done], timeout=0.1)
            raise


def _choose(database: Any, scores: Dataset, rule: Rule) -> Selection:  # noqa: ANN401
    _load(database, scores, rule.by)
    rows_in = _number(database, "SELECT count(*) FROM scored")
    database.execute("CREATE TABLE finite AS SELECT * FROM scored WHERE score IS NOT NULL AND isfinite(score)")
    not_finite = rows_in - _number(database, "SELECT count(*) FROM finite")
    database.execute(
        "CREATE TABLE samples AS "
        "SELECT uid, arg_min(score, place) AS score, min(place) AS place FROM finite GROUP BY uid"
    )
    samples = _number(database, "SELECT count(*) FROM samples")
    kept = rule.keeps(samples)
    if kept is None:
        wanted, values = "WHERE score >= CAST(? AS FLOAT)", [rule.threshold]
    else:
        wanted, values = "ORDER BY score DESC, uid LIMIT ?", [kept]
    database.execute(
        f"CREATE TABLE kept AS SELECT *, CASE WHEN substr(md5(uid), 1, 8) < '{_share_limit(rule.validation)}' "
        f"THEN 'validation' ELSE 'train' END AS split FROM (SELECT * FROM samples {wanted})",
        values,
    )
    by_split = dict(database.execute("SELECT split, count(*) FROM kept GROUP BY split").fetchall())
    rows = {split: int(by_split.get(split, 0)) for split in SPLITS}
    cut = database.execute("SELECT min(score) FROM kept").fetchall()[0][0]
    out = sum(rows.values())
    dropped = {"duplicate": rows_in - not_finite - samples, "not_selected": samples - out}
    failed = {"score_not_finite": not_finite} if not_finite else {}
    return Selection(rows, cut, samples, Step("select", rows_in, out, dropped, failed))


def _load(database: Any, scores: Dataset, by: str) -> None:  # noqa: ANN401
    """Stream uid, score and place (shard * 2^32 + row) of every scored row into the database."""
    database.execute("CREATE TABLE scored (uid VARCHAR, score FLOAT, place BIGINT)")
    for number, table in enumerate(scores.tables(["uid", by])):  # DuckDB would read "DFN" for "dfn" where there is one
        places = np.arange(len(table), dtype=np.int64) + (number << 32)
        given = {"uid": table["uid"], "score": table[by].cast(pa.float32()), "place": places}
        database.register("given", pa.table(given))
        database.execute("INSERT INTO scored SELECT * FROM given")
        database.unregister("given")


def _number(database: Any, query: str) -> int:  # noqa: ANN401
    return int(database.execute(query).fetchall()[0][0])


def _writer(database: Any, split: str) -> Callable[[BinaryIO], None]:  # noqa: ANN401
    schema = pa.schema([("shard", pa.int32()), ("row", pa.int32()), ("uid", pa.string()), ("score", pa.float32())])

    def write(file: BinaryIO) -> None:
        found = database.sql(
            "SELECT CAST(place // 4294967296 AS INTEGER) AS shard, "
            "CAST(place % 4294967296 AS INTEGER) AS row, uid, score "
            f"FROM kept WHERE split = '{split}' ORDER BY place"
        )
        with pa.PythonFile(file, mode="w") as sink, pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            for batch in found.to_arrow_reader(100_000):
                writer.write_batch(batch.cast(schema))

    return write
