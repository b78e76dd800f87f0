"""Trainings that start as forks of this process, which has loaded the libraries once.

A training starts a child process of its own, which loads torch, open_clip and its trainer: half of the processor time
of a training as small as those here. Forked, the same child's `main` finds them loaded. Nothing else is different.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from dfndr_builders.clip import child, train
from dfndr_builders.clip.process import FAILED

__all__ = ["fork_trainings", "load_libraries"]

_LIBRARIES = ("torch", "open_clip", "open_clip_train.main", "webdataset", "safetensors.torch", "PIL.Image")


class _Forked:
    """What `train_clip` asks of a started process: its pipes, its end, a way to end it."""

    def __init__(self, pid: int, stdin: IO[str], stdout: IO[str]) -> None:
        self.pid, self.stdin, self.stdout = pid, stdin, stdout
        self.returncode: int | None = None

    def wait(self) -> int:
        """Wait for the end and return the exit status, negative for a signal."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def close(self) -> None:
        """End it, where it has not ended."""
        self.stdin.close()
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.wait()
        self.stdout.close()


def load_libraries() -> None:
    """Load what trainings need, so that forks of this process have it."""
    for name in _LIBRARIES:
        importlib.import_module(name)


def fork_trainings() -> None:
    """Let `train_clip` fork this process, which should have one thread, instead of starting Python anew."""
    train.started_trainer = _forked_trainer


@contextmanager
def _forked_trainer(folder: str, *, threads: int, processes: int = 1) -> Iterator[_Forked]:
    go_read, go_write = os.pipe()
    said_read, said_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_the_child(folder, go_read, said_write, (go_write, said_read))
    os.close(go_read)
    os.close(said_write)
    process = _Forked(
        pid, os.fdopen(go_write, "w", encoding="utf-8"), os.fdopen(said_read, encoding="utf-8", errors="replace")
    )
    try:
        yield process
    finally:
        with suppress(BrokenPipeError):
            process.close()


def _be_the_child(folder: str, go_read: int, said_write: int, others: tuple[int, int]) -> None:
    for descriptor in others:
        os.close(descriptor)
    os.dup2(go_read, 0)
    os.dup2(said_write, 1)
    os.dup2(said_write, 2)
    status = 0
    try:
        child.main(folder)
    except BaseException as error:  # the fork must never go on with what its parent was doing
        print(FAILED + " ".join(f"{type(error).__name__}: {error}".split()), file=sys.stderr, flush=True)
        status = 1
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)
