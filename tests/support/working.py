"""A job made of rows and nothing heavy, some of whose rows harm whoever works on them as often as they are told to."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from dfndr_builders.stage import POOL_SCHEMA, Step, good_rows
from dfndr_builders.work import Job, Unit

from dfndr.errors import DataError

ROWS = 10
"""Of each unit."""


@dataclass(frozen=True)
class Rows:
    """So many units of ten rows; the last row of each has no text."""

    def schema(self) -> pa.Schema:
        return POOL_SCHEMA

    def read(self, unit: Unit) -> Iterator[pa.Table]:
        keys = [f"{unit.index}/{row}" for row in range(ROWS)]
        columns = {
            "uid": [hashlib.sha256(key.encode()).hexdigest()[:32] for key in keys],
            "key": keys,
            "text": [*keys[:-1], None],
            "image": [b"picture"] * ROWS,
            "source": ["made"] * ROWS,
            "license": ["mit"] * ROWS,
            "problem": [*[None] * (ROWS - 1), "text_missing"],
            "detail": [None] * ROWS,
        }
        yield pa.table(columns, schema=POOL_SCHEMA)

    def describe(self, unit: Unit) -> str:
        return f"rows-{unit.index}.tar"


@dataclass(frozen=True)
class Harm:
    """A stage that does its harm at one key, as often as there are files in `folder` to take away; `""`: always."""

    kind: str
    key: str
    folder: str = ""
    pids: str = ""
    """A folder in which who is harmed leaves a file with the number of the process for a name."""
    is_light: bool = False
    """Whether it runs before any model does, as what decodes pictures for a measure or a thumbnail."""

    def schema(self, given: pa.Schema) -> pa.Schema:
        return given

    def open(self) -> Step:
        def step(table: pa.Table) -> pa.Table:
            if self.key in (table["key"][row].as_py() for row in good_rows(table)) and self._is_due():
                if self.pids:
                    Path(self.pids, str(os.getpid())).touch()
                HARMS[self.kind]()
            return table

        return step

    def _is_due(self) -> bool:
        left = sorted(Path(self.folder).iterdir()) if self.folder else []
        for path in left[:1]:
            path.unlink()
        return bool(left) or not self.folder


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang() -> None:
    threading.Event().wait()


def _raise() -> None:
    raise DataError("the row", expected="no harm", found="some", do="Leave it out.")


def _break() -> None:
    raise ZeroDivisionError("a bug")


def _look() -> None:
    if "DFNDR_LOOKED_FOR" not in os.environ:
        _raise()


HARMS: dict[str, Callable[[], None]] = {
    "kill": _kill,
    "hang": _hang,
    "raise": _raise,
    "bug": _break,
    "look": _look,
    "none": int,
}


def who(pids: Path) -> int:
    """Wait until somebody has left his number, and return it."""
    pids.mkdir(exist_ok=True)
    waiting = threading.Event()
    while not (found := list(pids.iterdir())):
        waiting.wait(0.02)
    return int(found[0].name)


def is_gone(pid: int, *, within_s: float) -> bool:
    """Say whether a process, no child of this one, ends within some seconds."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], within_s)[0])
    finally:
        os.close(handle)


def job(root: Path, harm: Harm | None = None) -> Job:
    """Return the job."""
    return Job(str(root), "a" * 64, Rows(), harm or Harm("none", ""))


def units(count: int) -> list[Unit]:
    """Return its units."""
    return [Unit(number, "train", number, number + 1) for number in range(count)]
