"""From what a person says of an engine to the engine."""

from __future__ import annotations

import re
from typing import Literal

from dfndr.errors import UsageError
from dfndr_builders.engines.array import SlurmArray
from dfndr_builders.engines.base import Engine
from dfndr_builders.engines.inline import Inline
from dfndr_builders.engines.on_ray import OnRay
from dfndr_builders.engines.processes import Processes

__all__ = ["EngineName", "FailedUnits", "engine_of"]

EngineName = Literal["inline", "processes", "ray", "slurm-array"]
FailedUnits = Literal["stop", "count", "retry"]


def engine_of(
    name: EngineName,
    *,
    workers: int | None = None,
    address: str | None = None,
    task: str | None = None,
    unit_timeout_s: float | None = None,
    failed_units: FailedUnits = "stop",
) -> Engine:
    """Return the engine of a name; raises UsageError for what it cannot be told, or for a task that is none."""
    given = {
        "--workers": workers,
        "--address": address,
        "--task": task,
        "--unit-timeout-s": unit_timeout_s,
        "--failed-units count": failed_units == "count" or None,
    }
    takes = {
        "inline": (),
        "processes": ("--workers", "--unit-timeout-s", "--failed-units count"),
        "ray": ("--workers", "--unit-timeout-s", "--failed-units count", "--address"),
        "slurm-array": ("--workers", "--unit-timeout-s", "--failed-units count", "--task"),
    }[name]
    idle = [option for option, value in given.items() if value is not None and option not in takes]
    if idle:
        expected = ", ".join(takes) or "no option of an engine that starts workers"
        raise UsageError(f"--engine {name}", expected=expected, found=idle[0], do="Leave it out, or see docs/scale.md.")
    if name == "inline":
        return Inline()
    on_failed: Literal["stop", "count"] = "count" if failed_units == "count" else "stop"
    if name == "ray":
        return OnRay(workers or 0, address or "", on_failed, unit_timeout_s)
    processes = Processes(workers or 0, on_failed, unit_timeout_s)
    return processes if name == "processes" else SlurmArray(*_task(task), processes)


def _task(given: str | None) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", given or "")
    if found is None or not int(found[1]) < int(found[2]):
        do = "In a job of SLURM: --task $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT, with --array=0-N."
        raise UsageError("--task", expected="i/n with i from 0 to n - 1", found=repr(given), do=do)
    return int(found[1]), int(found[2])
