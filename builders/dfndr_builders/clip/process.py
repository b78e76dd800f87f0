"""The parent's half of a DFN training: start the child process, let it go, and read its log as it writes it."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, cast

from dfndr import storage
from dfndr.errors import ModelError
from dfndr.progress import Task

__all__ = ["CHECKPOINT", "FAILED", "NOT_FINITE", "follow", "read_losses", "started_trainer"]

FAILED = "training failed: "
"""What the child's last word begins with where it fails; libraries may log more after it."""
NOT_FINITE = "the weights are not finite"
CHECKPOINT = "run/checkpoints/epoch_latest.pt"
"""The weights and the optimizer after the last finished round, renamed into place, in the work folder."""

_LINE = re.compile(r"Train Epoch: (\d+) \[\s*(\d+)/(\d+) .* Loss: (\S+) \(")


@contextmanager
def started_trainer(folder: str, *, threads: int, processes: int = 1) -> Iterator[subprocess.Popen[str]]:
    """Start the child, or torchrun and its children, which load libraries until they are told to go.

    Leaving early ends them.
    """
    command = [sys.executable, "-m", "dfndr_builders.clip.child", folder]
    if processes > 1:
        torchrun = ["torch.distributed.run", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--max-restarts=0"]
        command[2:2] = [*torchrun, f"--nproc-per-node={processes}", "-m"]
    settings = {
        # A module in the present folder must not shadow an installed one, in torchrun's children neither.
        "PYTHONSAFEPATH": "1",
        "OMP_NUM_THREADS": str(threads),
        # On a busy machine threads that spin while they wait for each other take ten times as long as those that sleep.
        "OMP_WAIT_POLICY": "PASSIVE",
        # What makes the sums of cuBLAS repeatable: docs.nvidia.com/cuda/cublas, "Results reproducibility".
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }
    with subprocess.Popen(
        command,
        env={**os.environ, **settings},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        try:
            yield process
        finally:
            process.kill()
            process.wait()  # what closes a Popen leaves a busy machine a quarter of a second, and then goes on
            if processes > 1:
                _wait_for_all(process)


def _wait_for_all(process: subprocess.Popen[str]) -> None:
    """Wait until torchrun's children are gone too: they end with their standard input, and hold standard output."""
    with suppress(BrokenPipeError):
        cast("IO[str]", process.stdin).close()
    for _ in cast("IO[str]", process.stdout):
        pass


def read_losses(folder: str, batch_size: int) -> dict[int, float]:
    """Return the losses that earlier, interrupted runs logged, by step."""
    log = storage.join(folder, "run", "out.log")
    lines = storage.read_bytes(log).decode(errors="replace").splitlines() if storage.exists(log) else []
    return {at[0]: at[1] for at in (_parse(line, batch_size) for line in lines) if at is not None}


def follow(
    process: subprocess.Popen[str],
    folder: str,
    batch_size: int,
    losses: dict[int, float],
    task: Task,
) -> None:
    """Let the child go and report what it logs until it ends; raises ModelError where it fails or the loss does."""
    go, said = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
    done, reason = 0, ""
    with suppress(BrokenPipeError):  # it ended before it was let go; what it said tells why
        go.write("\n")
        go.flush()
    for line in said:
        now = _parse(line, batch_size)
        if now is not None:
            step, loss = now
            if not math.isfinite(loss):
                raise _not_finite(f"clip training, step {step}", "a finite loss", str(loss), folder)
            losses[step] = loss
            task.advance(step * batch_size - done)
            task.note(f"loss {loss:.3f}")
            done = step * batch_size
        elif not reason.startswith(FAILED):
            reason = line.strip() or reason
    if process.wait() != 0:
        if reason.startswith(FAILED + NOT_FINITE):
            raise _not_finite("clip training", "finite weights", reason.removeprefix(FAILED), folder)
        ended = f"signal {-process.returncode} (too little memory?)" if process.returncode < 0 else reason
        do = "Mend what it names, and run the same command again; it goes on from the last finished epoch."
        found = ended.removeprefix(FAILED) or f"exit status {process.returncode}"
        raise ModelError("clip training", expected="open_clip's trainer to finish", found=found, do=do)


def _not_finite(where: str, expected: str, found: str, folder: str) -> ModelError:
    """Return the error, which tells where the last good weights lie; the child keeps no others."""
    kept = storage.join(folder, CHECKPOINT)
    do = "Lower learning_rate, or lengthen warmup_steps"
    if storage.exists(kept):
        do += f'; to go on from the last good weights rather than afresh, say pretrained = "{kept}"'
    return ModelError(where, expected=expected, found=found, do=do + ".")


def _parse(line: str, batch_size: int) -> tuple[int, float] | None:
    """Return (step since the start, loss) of a line of the trainer's log, if it is of that kind."""
    found = _LINE.search(line)
    if found is None:
        return None
    epoch, seen, total = (int(found[group]) for group in (1, 2, 3))
    return (epoch * total + seen) // batch_size, float(found[4])
