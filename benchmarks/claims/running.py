"""Runs done side by side, each in a fork of this process, those that others need first."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.claims.doing import RECORD, do, folder_of, photos_sets, sets_folder
from benchmarks.claims.forked import fork_trainings, load_libraries
from benchmarks.claims.photos import write_photos
from benchmarks.claims.runs import PhotoFilter, Run
from benchmarks.claims.scales import Scale
from benchmarks.claims.sets import write_sets
from dfndr.locks import locked

__all__ = ["run_all"]

Told = Callable[[str], None]


def run_all(runs: Sequence[tuple[Run, int]], scale: Scale, root: Path, *, processes: int, tell: Told) -> None:
    """Do each run of a seed that has no record yet; raises SystemExit where some could not be done.

    Killed in the middle, the same call goes on: runs that are done are not done again. Raises UsageError while another
    call does the runs of this folder.
    """
    waiting = [pair for pair in runs if not (folder_of(*pair, root) / RECORD).exists()]
    tell(f"{len(waiting)} of {len(runs)} runs to do")
    if waiting:
        # The runs inherit the lock: where this process is killed, it is free again once they have ended too.
        with locked(str(root), ".lock"):
            _run_all(waiting, scale, root, processes=processes, tell=tell)


def _run_all(waiting: list[tuple[Run, int]], scale: Scale, root: Path, *, processes: int, tell: Told) -> None:
    # All sets are written before there are two that would write them.
    if any(isinstance(run, PhotoFilter) for run, _ in waiting):
        write_photos(photos_sets(root), scale)
    for seed in {seed for run, seed in waiting if not isinstance(run, PhotoFilter)}:
        write_sets(sets_folder(seed, root), scale, seed)
    load_libraries()
    fork_trainings()
    going: dict[int, tuple[Run, int, float]] = {}
    failed: list[str] = []
    while waiting or going:
        ready = next((pair for pair in waiting if _is_ready(*pair, root)), None)
        if ready is not None and len(going) < processes:
            waiting.remove(ready)
            going[_forked(ready, scale, root)] = (*ready, time.perf_counter())
        elif going:
            process, status = os.wait()
            run, seed, began = going.pop(process)
            tell(f"{'FAILED' if status else 'done'} {run.name}, seed {seed}: {time.perf_counter() - began:.0f} s")
            failed += [f"{run.name}, seed {seed}"] * (status != 0)
        else:
            failed += [f"{run.name}, seed {seed} (needs one that failed)" for run, seed in waiting]
            break
    if failed:
        raise SystemExit("could not be done: " + "; ".join(failed))


def _is_ready(run: Run, seed: int, root: Path) -> bool:
    return all((folder_of(need, seed, root) / RECORD).exists() for need in run.needs)


def _forked(pair: tuple[Run, int], scale: Scale, root: Path) -> int:
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        status = 1
        try:
            do(pair[0], scale, pair[1], root)
            status = 0
        except BaseException:  # the fork must never go on with what its parent was doing
            traceback.print_exc()
        os._exit(status)
    return process
