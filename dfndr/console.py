"""What the command line shows while it works: a bar on a terminal, plain lines anywhere else; always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from dfndr.progress import Progress, Task

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichBars
    from rich.progress import TaskID

__all__ = ["Bars", "Lines", "console_progress"]

_EVERY_S, _MOST_LINES = 5.0, 20


def console_progress(stream: TextIO | None = None) -> Progress:
    """Return the progress that fits the stream: bars on a terminal, lines otherwise."""
    stream = stream or sys.stderr
    return Bars(stream) if stream.isatty() else Lines(stream)


class Lines:
    """A line every five seconds while a step is young, more rarely as it grows old, and one at its end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def say(self, text: str) -> None:
        """Write one line."""
        self._stream.write(text + "\n")
        self._stream.flush()

    @contextmanager
    def task(self, name: str, total: int | None, unit: str = "rows") -> Iterator[Task]:
        """Open a task; its last line stands when it is done."""
        line = _Line(self, name, total, unit)
        yield line
        line.end()


class _Line:
    def __init__(self, lines: Lines, name: str, total: int | None, unit: str) -> None:
        self._lines, self._name, self._total, self._unit = lines, name, total, unit
        self._done, self._said, self._note = 0, 0, ""
        self._start = self._shown = time.monotonic()

    def advance(self, count: int = 1) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._shown >= max(_EVERY_S, (now - self._start) / _MOST_LINES):
            self._show()

    def expect(self, total: int) -> None:
        self._total = total

    def note(self, text: str) -> None:
        self._note = text

    def end(self) -> None:
        whole, self._total = self._total == self._done == self._said, self._done
        if self._done and not whole:
            self._show()

    def _show(self) -> None:
        now = time.monotonic()
        self._shown = now
        took = max(now - self._start, 1e-9)
        rate = self._done / took
        if self._total is None:
            state = f"{self._done:,} {self._unit}"
        elif self._total > self._done:
            state = f"{self._done:,} of {self._total:,} {self._unit}, {_time((self._total - self._done) / rate)} left"
        else:
            state = f"{self._done:,} {self._unit} in {took:.1f} s"
        note = f", {self._note}" if self._note else ""
        self._lines.say(f"{self._name}: {state}, {_rate(rate)} {self._unit}/s{note}")
        self._said = self._done


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


class Bars:
    """Rich's progress bars, with rate and time left; a finished bar stays."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console: Console = Console(file=stream)

    def say(self, text: str) -> None:
        """Write one line above the bars."""
        self._console.print(text, highlight=False, markup=False)

    @contextmanager
    def task(self, name: str, total: int | None, unit: str = "rows") -> Iterator[Task]:
        """Open a task with a bar of its own."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}"),
        )
        with Progress(*columns, console=self._console) as bars:
            yield _Bar(bars, bars.add_task(name, total=total, note="", rate=""), unit)


class _Bar:
    def __init__(self, bars: RichBars, task: TaskID, unit: str) -> None:
        self._bars, self._task, self._unit = bars, task, unit
        self._start, self._done = time.monotonic(), 0

    def advance(self, count: int = 1) -> None:
        self._done += count
        rate = self._done / max(time.monotonic() - self._start, 1e-9)
        self._bars.update(self._task, advance=count, rate=f"{_rate(rate)} {self._unit}/s")

    def expect(self, total: int) -> None:
        self._bars.update(self._task, total=max(total, self._done))

    def note(self, text: str) -> None:
        self._bars.update(self._task, note=text)
