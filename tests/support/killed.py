"""Work in a process of its own that is killed, hard, just before it changes the disk for the n-th time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from dfndr_builders.removing import compact, remove

DAY = "2026-01-31"

_LOADED = [
    "pytest",
    "dfndr_builders.removing",
    "dfndr_builders.report.tallies",
    "dfndr_builders.report.words",
    "pandas",
]
_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir")


def killed_at(moment: int, work: Callable[..., object], *arguments: object) -> bool:
    """Run `work` and kill it at its `moment`-th change; say whether it lived that long. Raises where it failed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LOADED)
    process = context.Process(target=_dying, args=(moment, work, arguments))
    process.start()
    process.join()
    if process.exitcode not in (0, -signal.SIGKILL):
        raise AssertionError(f"the work ended with {process.exitcode}")
    return process.exitcode != 0


def _dying(moment: int, work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    left = moment

    def watch(event: str, given: tuple[Any, ...]) -> None:
        nonlocal left
        writes = event == "open" and isinstance(given[2], int) and bool(given[2] & (os.O_WRONLY | os.O_RDWR))
        if event in _CHANGES or writes:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    work(*arguments)


def removed(root: str, uids: list[str]) -> None:
    """Remove some rows on a fixed day."""
    remove(root, uids, reason="asked for", date=DAY)


def compacted(root: str) -> None:
    """Compact on a fixed day."""
    compact(root, date=DAY)
