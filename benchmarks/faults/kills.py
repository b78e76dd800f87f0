"""Kill builds hard at random moments, by any engine, and run each again: the digest, the workers, what is left behind.

    python benchmarks/faults/kills.py --kills 100 --engine processes --folder DIR

Each build is the command in a process of its own. At a moment drawn uniformly from the time between its taking the
output folder and its end, one of its processes is killed (SIGKILL): the driver, or with `--victim any` any of those
that it started, its workers and what Ray runs. A build that lost its driver must leave nobody alive; one that did not
either goes on to the end or stops with an error. Then the same command must end in the digest of an undisturbed build,
`verify` must find nothing, and no temporary file may be left.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dfndr_builders.output import LOCK

from dfndr.format.manifest import MANIFEST, read_manifest
from dfndr.verify import verify

MARK = "DFNDR_KILLED_BUILD"
GONE_S, RAY_GONE_S, MOST_S = 60, 120, 240
"""How long what a dead driver had started may live on, by Ray too, whose own agents look for it for a minute; and how
long a build that lost another process may take."""

MODEL = """{"embed_dim": 16,
 "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16},
 "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}}"""
RECIPE = """
name = "killed"
license = "mit"
pool = [{ kind = "glyphs", count = 2_000 }]
score = [{ name = "dfn", model = "model.json", pretrained = "random:0" }]
select = { by = "dfn", top_fraction = 0.3 }
caption = [{ kind = "retrieval", per_image = 2, bank = { kind = "glyphs", count = 200 } }]
embed = [{ encoder = "tiny", model = "model.json", pretrained = "random:1", of = ["image", "text", "caption"] }]
output = { rows_per_shard = 60, thumbnail = 16, validation = 0.1 }
compute = { batch_size = 64, threads = 1 }
"""


def started(folder: Path, out: Path, options: list[list[str]], mark: str) -> list[subprocess.Popen[bytes]]:
    """Start the commands, one for each list of options; all that they start carries the mark in its environment."""
    command = [
        sys.executable,
        "-m",
        "dfndr",
        "build",
        str(folder / "recipe.toml"),
        "--device",
        "cpu",
        "--out",
        str(out),
    ]
    with open(folder / "log", "ab") as log:
        environment = {**os.environ, MARK: mark}
        return [subprocess.Popen([*command, *given], env=environment, stdout=log, stderr=log) for given in options]


def living(mark: str) -> list[int]:
    """Return the processes that carry a mark."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={mark}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def until_gone(mark: str) -> float:
    """Wait until nobody carries the mark, for two minutes at most, and return how long that took."""
    begun = time.monotonic()
    while living(mark) and time.monotonic() - begun < RAY_GONE_S:
        time.sleep(0.05)
    return time.monotonic() - begun


def ended(commands: list[subprocess.Popen[bytes]], timeout_s: float | None = None) -> list[int]:
    """Wait for all commands, for so long at most, and return the exit status of those that ended."""
    until = None if timeout_s is None else time.monotonic() + timeout_s
    for command in commands:
        with suppress(subprocess.TimeoutExpired):
            command.wait(None if until is None else max(0.0, until - time.monotonic()))
    return [command.returncode for command in commands if command.returncode is not None]


def taken(out: Path, commands: list[subprocess.Popen[bytes]]) -> float:
    """Wait until a command has taken the output folder, or all have ended, and return that moment."""
    while any(command.poll() is None for command in commands) and not (out / LOCK).exists():
        time.sleep(0.02)
    return time.monotonic()


def whole(folder: Path, out: Path, options: list[list[str]]) -> float:
    """Build to the end; return how long it took from the moment when the folder was taken."""
    commands = started(folder, out, options, "whole")
    begun = taken(out, commands)
    if any(ended(commands)):
        raise SystemExit(f"a build failed; see {folder / 'log'}")
    return time.monotonic() - begun


@dataclass(frozen=True)
class Kill:
    """What became of a build, one of whose processes was killed."""

    victim: str
    reached: str
    is_over: bool
    gone_s: float
    hung: bool = False

    def __str__(self) -> str:
        return f"{self.victim}, {self.reached}"


def killed(folder: Path, out: Path, options: list[list[str]], *, draw: random.Random, took: float, of: str) -> Kill:
    """Begin a build and kill one of its processes at a random moment; return when nobody works at it any more."""
    mark = out.name
    commands = started(folder, out, options, mark)
    taken(out, commands)
    moment = draw.uniform(0, took)
    if len(ended(commands, moment)) == len(commands):
        return Kill(f"nobody in {moment:.1f} s", reached(out), False, 0.0)
    drivers = [command.pid for command in commands if command.returncode is None]
    victim = draw.choice(drivers if of == "driver" else living(mark) or drivers)
    name = "driver" if victim in drivers else "process"
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    if name == "driver" and len(commands) == 1:
        ended(commands)
        return Kill(f"{name} after {moment:.1f} s", reached(out), True, until_gone(mark))
    hung, at = len(ended(commands, MOST_S)) < len(commands), reached(out)
    for command in commands:
        command.kill()
    ended(commands)
    return Kill(f"{name} after {moment:.1f} s", at, True, until_gone(mark), hung)


def reached(out: Path) -> str:
    """Say how far a build came."""
    return "finished" if (out / MANIFEST).exists() else f"{len(list(out.rglob('shards/*/*.json')))} records"


def main() -> None:
    """Kill, run again, compare, and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--engine", default="inline", choices=["inline", "processes", "ray", "slurm-array"])
    parser.add_argument("--victim", default="driver", choices=["driver", "any"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True, help="A new folder for the builds.")
    given = parser.parse_args()
    folder: Path = given.folder
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "model.json").write_text(MODEL)
    options = by_engine(given.engine, given.workers)
    whole(folder, folder / "undisturbed", [[]])
    wanted = read_manifest(str(folder / "undisturbed")).digest
    took = whole(folder, folder / "timed", options)
    gone_s = RAY_GONE_S if given.engine == "ray" else GONE_S
    draw, over, slowest, wrong = random.Random(given.seed), 0, 0.0, 0
    for number in range(given.kills):
        out = folder / f"killed-{number}"
        kill = killed(folder, out, options, draw=draw, took=took, of=given.victim)
        whole(folder, out, options)
        left = [path.name for path in out.rglob(".tmp-*")]
        is_same = read_manifest(str(out)).digest == wanted
        is_right = is_same and verify(str(out)).ok and not left and kill.gone_s < gone_s and not kill.hung
        over, wrong, slowest = over + kill.is_over, wrong + (not is_right), max(slowest, kill.gone_s)
        print(f"{number}: {kill}; {'right' if is_right else 'WRONG'}", flush=True)
        if is_right:
            shutil.rmtree(out)
    print(
        f"{given.engine}: {given.kills} builds, {over} killed before they ended, {wrong} wrong; "
        f"what they had started was gone after {slowest:.1f} s at the latest"
    )
    raise SystemExit(wrong > 0)


def by_engine(engine: str, workers: int) -> list[list[str]]:
    """Return the options of each command that an engine needs: one, or of an array as many as it has tasks."""
    if engine == "slurm-array":
        return [["--engine", engine, "--task", f"{task}/{workers}", "--workers", "1"] for task in range(workers)]
    return [[] if engine == "inline" else ["--engine", engine, "--workers", str(workers)]]


if __name__ == "__main__":
    main()
