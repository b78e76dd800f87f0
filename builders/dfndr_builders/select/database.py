"""DuckDB within a fixed amount of memory, in a folder that goes with it, and Ctrl-C in the middle of a query."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from dfndr import storage
from dfndr.errors import DataError, MissingExtra, StorageError

__all__ = ["interruptible", "literal", "number", "open_database", "quoted", "rows_of"]

T = TypeVar("T")
_MEMORY = "1GB"


@contextmanager
def open_database(threads: int = 2, *, sorting: str | None = None) -> Iterator[tuple[Any, Path]]:
    """Open a database, and the folder it is in, which goes when it is closed.

    `sorting` names that folder, local and nobody else's at the time; what a killed process left in it is deleted first.
    By default it is made in the system's temporary folder. Raises StorageError where there is no room to sort in, and
    DataError where the data cannot be sorted.
    """
    try:
        import duckdb
    except ImportError as error:
        raise MissingExtra.of("duckdb", "build") from error
    try:
        with _folder(sorting) as folder, duckdb.connect(str(folder / "select.duckdb")) as database:
            database.execute(
                f"SET memory_limit = '{_MEMORY}'; SET temp_directory = {literal(str(folder))}; SET threads = {threads}"
            )
            yield database, folder
    except (duckdb.IOException, duckdb.OutOfMemoryException, OSError) as error:
        place = f"in {sorting}" if sorting else "in the temporary folder (TMPDIR)"
        found, do = str(error).splitlines()[0], f"Make room {place}, and run again."
        raise StorageError("select", expected="room to sort the scores", found=found, do=do) from error
    except duckdb.Error as error:
        do = "Delete that phase's folder if a file is damaged, and run again; else report this."
        found = str(error).splitlines()[0]
        raise DataError("select", expected="scores that can be read and compared", found=found, do=do) from error


@contextmanager
def _folder(sorting: str | None) -> Iterator[Path]:
    if sorting is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    storage.remove_folder(sorting)
    Path(sorting).mkdir(parents=True)
    try:
        yield Path(sorting)
    finally:
        storage.remove_folder(sorting)


def interruptible(database: Any, work: Callable[[Any], T]) -> T:  # noqa: ANN401  duckdb is imported late
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


def rows_of(database: Any, query: str) -> list[tuple[Any, ...]]:  # noqa: ANN401
    """Return all rows of a query."""
    return list(database.execute(query).fetchall())


def number(database: Any, query: str) -> int:  # noqa: ANN401
    """Return the one number that a query gives."""
    return int(rows_of(database, query)[0][0])


def quoted(name: str) -> str:
    """Return a name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str | float | bool | None) -> str:
    """Return a value as SQL; numbers are doubles."""
    if value is None or isinstance(value, bool):
        return "NULL" if value is None else str(value).upper()
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return f"CAST('{float(value)!r}' AS DOUBLE)"
