"""How long steps say how far they are: libraries report to a `Progress`, and only the command line shows one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["SILENT", "Progress", "Silent", "Task"]


class Task(Protocol):
    """One long step."""

    def advance(self, count: int = 1) -> None:
        """Say that `count` more units are done."""

    def expect(self, total: int) -> None:
        """Say how many units there will be in all, where that was not known or was an estimate."""

    def note(self, text: str) -> None:
        """Show a short text beside the step, such as the present loss."""


class Progress(Protocol):
    """Something that shows tasks."""

    def task(self, name: str, total: int | None, unit: str = "rows") -> AbstractContextManager[Task]:
        """Open a task; `total` is None where it is not known."""

    def say(self, text: str) -> None:
        """Show one line of plain text."""


class Silent:
    """Shows nothing; the default of every library call."""

    @contextmanager
    def task(self, name: str, total: int | None, unit: str = "rows") -> Iterator[Task]:
        """Open a task that nobody sees."""
        yield self

    def say(self, text: str) -> None:
        """Show nothing."""

    def advance(self, count: int = 1) -> None:
        """Count nothing."""

    def expect(self, total: int) -> None:
        """Expect nothing."""

    def note(self, text: str) -> None:
        """Note nothing."""


SILENT = Silent()
