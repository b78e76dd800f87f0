"""Kill builds hard at random moments, by any engine, and run each again: the digest, the workers, what is left behind.

    python benchmarks/faults/kills.py --kills 100 --engine processes --folder DIR

Each build is the command in a process of its own, killed (SIGKILL, the driver alone) at a moment drawn uniformly from
the time between its taking the output folder and its end. Then nobody that it started may live on, the same command
must end in the digest of an undisturbed build, `verify` must find nothing, and no temporary file may be left.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from dfndr_builders.output import LOCK

from dfndr.format.manifest import MANIFEST, read_manifest
from dfndr.verify import verify

MARK = "DFNDR_KILLED_BUILD"
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


def started(folder: Path, out: Path, options: list[str], mark: str) -> subprocess.Popen[bytes]:
    """Start the command; all that it starts carries the mark in its environment."""
    command = [
        sys.executable,
        "-m",
        "dfndr",
        "build",
        str(folder / "recipe.toml"),
        "--out",
        str(out),
        "--device",
        "cpu",
    ]
    with open(folder / "log", "ab") as log:
        return subprocess.Popen([*command, *options], env={**os.environ, MARK: mark}, stdout=log, stderr=log)


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
    """Wait until nobody carries the mark, for a minute at most, and return how long that took."""
    begun = time.monotonic()
    while living(mark) and time.monotonic() - begun < 60:
        time.sleep(0.05)
    return time.monotonic() - begun


def whole(folder: Path, out: Path, options: list[str]) -> float:
    """Build to the end; return how long it took from the moment when the folder was taken."""
    process = started(folder, out, options, "whole")
    while process.poll() is None and not (out / LOCK).exists():
        time.sleep(0.02)
    begun = time.monotonic()
    if process.wait():
        raise SystemExit(f"a build ended with {process.returncode}; see {folder / 'log'}")
    return time.monotonic() - begun


def main() -> None:
    """Kill, run again, compare, and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--engine", default="inline", choices=["inline", "processes", "ray"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True, help="A new folder for the builds.")
    given = parser.parse_args()
    folder: Path = given.folder
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "model.json").write_text(MODEL)
    options = [] if given.engine == "inline" else ["--engine", given.engine, "--workers", str(given.workers)]
    whole(folder, folder / "undisturbed", [])
    wanted = read_manifest(str(folder / "undisturbed")).digest
    took = whole(folder, folder / "timed", options)
    moments, landed, slowest, wrong = random.Random(given.seed), 0, 0.0, 0
    for number in range(given.kills):
        out = folder / f"killed-{number}"
        process = started(folder, out, options, str(number))
        while process.poll() is None and not (out / LOCK).exists():
            time.sleep(0.02)
        moment = moments.uniform(0, took)
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()
        was_killed = process.returncode == -signal.SIGKILL
        gone_s = until_gone(str(number))
        reached = "finished" if (out / MANIFEST).exists() else f"{len(list(out.rglob('shards/*/*.json')))} records"
        whole(folder, out, options)
        found = read_manifest(str(out)).digest
        left = [path.name for path in out.rglob(".tmp-*")]
        is_right = found == wanted and verify(str(out)).ok and not left and gone_s < 60
        landed, wrong, slowest = landed + was_killed, wrong + (not is_right), max(slowest, gone_s)
        print(f"{number}: killed after {moment:.1f} s, {reached}; {'right' if is_right else 'WRONG'}", flush=True)
    print(
        f"{given.engine}: {given.kills} builds, {landed} killed before they ended, {wrong} wrong; "
        f"what they had started was gone after {slowest:.1f} s at the latest"
    )
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
