"""What may happen around builds, played with real commands: each scene must end in the digest of an undisturbed build.

    python benchmarks/faults/scenes.py --folder DIR [--scene twice ...]

twice         two builds begin at the same moment in one folder, by each engine: one says so and stops, or, as tasks of
              one array, both end well
clock         the clock of a build and of its workers jumps up to a year, both ways, twice a second (needs faketime)
disk          the disk is full, again and again, and grows by some kilobytes before each try (needs the right to mount)
read only     the folder may not be written (mounted so)
interrupted   Ctrl-C at a random moment, by each engine: it ends within five seconds with status 130
pool          between two runs a tar is replaced by another of the same size, and another one is gone
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "tests")]

from support.pairs import jpeg  # noqa: E402
from support.pools import tar_of  # noqa: E402

from benchmarks.faults.kills import MODEL, RECIPE  # noqa: E402
from dfndr.format.manifest import MANIFEST, read_manifest  # noqa: E402
from dfndr.verify import verify  # noqa: E402

ENGINES = {
    "inline": [],
    "processes": ["--engine", "processes", "--workers", "2"],
    "ray": ["--engine", "ray", "--workers", "2"],
    "slurm-array": ["--engine", "slurm-array", "--workers", "1", "--task"],
}
TARS = 'pool = [{ kind = "webdataset", path = "pool-{0..9}.tar" }]'
YEAR_S = 365 * 86_400


def command(folder: Path, out: Path, options: list[str], *before: str) -> list[str]:
    """Return the words of a build's command, after what is to run it."""
    return [*before, sys.executable, "-m", "dfndr", "build", str(folder / "recipe.toml"), "--out", str(out), *options]


def begun(folder: Path, out: Path, options: list[str], *before: str) -> subprocess.Popen[str]:
    """Start a build."""
    words = [*command(folder, out, options, *before), "--device", "cpu"]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return a build's exit status, and the last line that it said."""
    _, said = process.communicate()
    return process.returncode, (said.strip().splitlines() or [""])[-1]


def is_whole(out: Path, wanted: str) -> bool:
    """Say whether a folder holds the dataset, and nothing half written."""
    return read_manifest(str(out)).digest == wanted and verify(str(out)).ok and not list(out.rglob(".tmp-*"))


def _told(scene: str, right: bool, words: str) -> bool:
    print(f"{scene}: {'right' if right else 'WRONG'}: {words}", flush=True)
    return right


def _twice(folder: Path, wanted: str) -> Iterator[bool]:
    for name, options in ENGINES.items():
        out = folder / f"twice-{name}"
        tasks = [[*options, f"{task}/2"] if name == "slurm-array" else options for task in (0, 1)]
        both = [ended(process) for process in [begun(folder, out, its) for its in tasks]]
        statuses = sorted(status for status, _ in both)
        refused = [line for status, line in both if status == 2]
        right = statuses == ([0, 0] if name == "slurm-array" else [0, 2]) and is_whole(out, wanted)
        yield _told(f"twice by {name}", right, f"exit statuses {statuses}{': ' + refused[0] if refused else ''}")


def _clock(folder: Path, wanted: str) -> Iterator[bool]:
    if shutil.which("faketime") is None:
        print("clock: not tried: no faketime")
        return
    draw = random.Random(1)
    library = next(iter(Path("/usr/lib").glob("**/libfaketimeMT.so.1")))
    for name in ("inline", "processes"):
        out, offset = folder / f"clock-{name}", folder / "offset"
        offset.write_text("+0")
        faked = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1"}
        faked |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DISABLE_SHM": "1"}
        process = begun(folder, out, ENGINES[name], "env", *(f"{key}={value}" for key, value in faked.items()))
        jumps = 0
        while process.poll() is None:
            time.sleep(0.5)
            offset.write_text(f"{draw.randrange(-YEAR_S, YEAR_S):+d}")
            jumps += 1
        status, line = ended(process)
        right = status == 0 and is_whole(out, wanted)
        yield _told(f"clock by {name}", right, f"{jumps} jumps, exit status {status} {line if status else ''}")


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path | None]:
    """A disk of a size; None where nobody may mount one."""
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=False).returncode == 0
    try:
        yield folder if made else None
    finally:
        if made:
            subprocess.run(["umount", folder], check=True)


def _disk(folder: Path, wanted: str) -> Iterator[bool]:
    with mounted(folder / "disk", "64k") as place:
        if place is None:
            print("disk: not tried: no right to mount")
            return
        tries, places = 0, set()
        for kilobytes in range(64, 100_000, 256):
            subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", place], check=True)
            status, line = ended(begun(folder, place / "out", ENGINES["processes"] if tries % 2 else []))
            if status == 0:
                break
            tries += 1
            places.add(line.partition(":")[0])
            if "The disk is full" not in line and "No space left on device" not in line:
                yield _told("disk", False, line)
        yield _told("disk", is_whole(place / "out", wanted), f"full {tries} times, each said, then done")


def _read_only(folder: Path, wanted: str) -> Iterator[bool]:
    with mounted(folder / "read-only", "64k") as place:
        if place is None:
            print("read only: not tried: no right to mount")
            return
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        for name in ("inline", "processes"):
            status, line = ended(begun(folder, place / "out", ENGINES[name]))
            yield _told(f"read only by {name}", status == 1 and "read-only" in line, line)


def _interrupted(folder: Path, wanted: str) -> Iterator[bool]:
    draw = random.Random(2)
    for name in ("inline", "processes", "ray"):
        for number in range(3):
            out = folder / f"interrupted-{name}-{number}"
            process = begun(folder, out, ENGINES[name])
            while process.poll() is None and not out.exists():
                time.sleep(0.05)
            time.sleep(draw.uniform(0, 8))
            process.send_signal(signal.SIGINT)
            pressed = time.monotonic()
            status, line = ended(process)
            took = time.monotonic() - pressed
            said = (status == 130 and "run the same command again" in line) or (out / MANIFEST).exists()
            again, _ = ended(begun(folder, out, ENGINES[name]))
            right = said and took < 5 and again == 0 and is_whole(out, wanted)
            yield _told(
                f"interrupted by {name}", right, f"exit status {status} after {took:.1f} s; done when run again"
            )


def _pool(folder: Path, wanted: str) -> Iterator[bool]:
    place, out = folder / "tars", folder / "tars" / "out"
    place.mkdir()
    (place / "model.json").write_text(MODEL)
    (place / "recipe.toml").write_text(RECIPE.replace('pool = [{ kind = "glyphs", count = 2_000 }]', TARS, 1))
    tars = [place / f"pool-{number}.tar" for number in range(4)]
    for number, tar in enumerate(tars):
        parts = [(f"{number}{row:02d}", jpeg(colour=(row * 5, number * 60, 9))) for row in range(50)]
        members = [[(f"{key}.jpg", image), (f"{key}.txt", f"number {key}")] for key, image in parts]
        tar.write_bytes(tar_of([member for pair in members for member in pair]))
    first = ended(begun(place, out, []))[0]
    before = {path.stem: path.stat().st_mtime_ns for path in out.glob("phases/score-*/shards/*/*.json")}
    tars[1].write_bytes(tars[1].read_bytes().replace(b"number ", b"NUMBER "))
    second = ended(begun(place, out, ENGINES["processes"]))[0]
    after = {path.stem: path.stat().st_mtime_ns for path in out.glob("phases/score-*/shards/*/*.json")}
    redone = [name for name in after if after[name] != before[name]]
    anew = ended(begun(place, place / "anew", []))[0]
    right = (first, second, anew, redone) == (0, 0, 0, ["00001"])
    right = right and is_whole(out, read_manifest(str(place / "anew")).digest)
    yield _told("pool changed", right, f"of {len(after)} shards scored again: {', '.join(redone)}")
    tars[3].unlink()
    status, line = ended(begun(place, out, []))
    yield _told("pool shard gone", status == 1 and "pool-3.tar is gone" in line, line)


SCENES: dict[str, Callable[[Path, str], Iterator[bool]]] = {
    "twice": _twice,
    "clock": _clock,
    "disk": _disk,
    "read only": _read_only,
    "interrupted": _interrupted,
    "pool": _pool,
}


def main() -> None:
    """Play the scenes, and print a line or more of each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="A new folder for the builds.")
    parser.add_argument("--scene", action="append", choices=list(SCENES))
    given = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores Ctrl-C, and so would builds
    given.folder.mkdir(parents=True)
    (given.folder / "recipe.toml").write_text(RECIPE.replace("count = 2_000", "count = 600"))
    (given.folder / "model.json").write_text(MODEL)
    undisturbed = given.folder / "undisturbed"
    if ended(begun(given.folder, undisturbed, []))[0] or not (undisturbed / MANIFEST).exists():
        raise SystemExit("the undisturbed build did not end well")
    wanted = read_manifest(str(undisturbed)).digest
    outcomes = [right for name in given.scene or SCENES for right in SCENES[name](given.folder, wanted)]
    print(f"{len(outcomes)} scenes, {outcomes.count(False)} wrong")
    raise SystemExit(not all(outcomes))


if __name__ == "__main__":
    main()
