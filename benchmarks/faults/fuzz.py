"""Give every reader of files thousands of damaged ones: none may crash it, hold it up, or cost much memory.

    python benchmarks/faults/fuzz.py --inputs 10000 --folder DIR [--reader NAME ...]
    python benchmarks/faults/fuzz.py --replay DIR/found/NAME-1234 --reader NAME --folder DIR

Input number n of a reader is a function of (seed, reader, n). Readers run in a process of their own, which a watchdog
ends when an input takes more than ten seconds and whose address space is limited; the resident memory that an input
adds at its peak and, of every fifth, what Python allocates for it, are held against the reader's cap. What is at fault
is kept in DIR/found, and the process goes on after it.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2])]

from benchmarks.faults.files import Reader  # noqa: E402
from benchmarks.faults.readers_own import OWN  # noqa: E402
from benchmarks.faults.readers_pools import POOLS  # noqa: E402
from dfndr.errors import DfndrError  # noqa: E402

READERS = {**OWN, **POOLS}
LONGEST_S = 10
CLOSELY = 5
"""Every so many inputs are looked at closely, which takes longer than reading them."""
MORE_ADDRESSES = 4 << 30
"""What an input may ask for, touched or not, beyond what the process holds when it begins."""


def damaged(reader: str, whole: list[bytes], seed: int, number: int) -> bytes:
    """Return an input."""
    random = Random(f"{seed}/{reader}/{number}")
    return READERS[reader].mutate(random, random.choice(whole))


def fault_of(reader: Reader, read: object, data: bytes, *, closely: bool = True) -> tuple[str, str]:
    """Read an input; return what came of it, "read" or "refused" or a fault, and in words what the fault is.

    Looked at closely, what Python allocates counts too, touched or not, and the peak is that of this input alone.
    """
    before = _peak_bytes(reset=closely)
    if closely:
        tracemalloc.start()
    said = ""
    try:
        read(data)  # type: ignore[operator]
        found = "read"
    except DfndrError as error:
        found = "refused"
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MemoryError):
                found, said = "memory", f"an allocation failed: {cause}"[:300]
            cause = cause.__cause__
    except Exception as error:
        found, said = "raised", f"{type(error).__name__}: {error}"[:300]
    finally:
        _, allocated = tracemalloc.get_traced_memory()  # nothing where nothing is traced
        tracemalloc.stop()
    took = max(allocated, _peak_bytes() - before if before else 0)
    if took > reader.cap_bytes:
        return "memory", f"{took:,} bytes for a file of {len(data):,}"
    return found, said


def _peak_bytes(*, reset: bool = False) -> int:
    """Return the most memory that was resident since the last reset; 0 where the system does not tell."""
    if reset:
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return 0
    told = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(told.split()[1]) * 1024


def work(name: str, given: argparse.Namespace) -> None:
    """Be the process that reads: a line of JSON for each fault, and one with the counts at the end."""
    warnings.simplefilter("ignore")
    logging.disable()
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as folder:
        whole, read = reader.open(Path(folder))
        for data in whole:
            read(data)  # whole files are read, so libraries are loaded
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MORE_ADDRESSES, resource.RLIM_INFINITY))
        counts: Counter[str] = Counter()
        for number in range(given.first, given.inputs):
            os.pwrite(given.place, b"%12d" % number, 0)
            data = damaged(name, whole, given.seed, number)
            faulthandler.dump_traceback_later(LONGEST_S, exit=True)
            found, said = fault_of(reader, read, data, closely=number % CLOSELY == 0)
            faulthandler.cancel_dump_traceback_later()
            counts[found] += 1
            if said:
                print(json.dumps({"number": number, "found": found, "said": said}), flush=True)
        print(json.dumps({"counts": counts}), flush=True)


def run(name: str, given: argparse.Namespace) -> Counter[str]:
    """Give a reader all of its inputs, in as many processes as it takes; keep what is at fault."""
    counts: Counter[str] = Counter()
    first, found = 0, Path(given.folder, "found")
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as place:
        while first < given.inputs:
            command = [sys.executable, __file__, "--work", name, "--inputs", str(given.inputs), "--first", str(first)]
            command += ["--seed", str(given.seed), "--place", str(place.fileno())]
            ended = subprocess.run(command, pass_fds=[place.fileno()], capture_output=True, text=True, check=False)
            lines = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
            faults = [line for line in lines if "number" in line]
            if ended.returncode:
                at = int(os.pread(place.fileno(), 12, 0) or b"-1")
                if at < first:
                    raise SystemExit(f"{name}: it did not begin\n{ended.stderr}")
                how = "hang" if "Timeout" in ended.stderr else f"ended with {ended.returncode}"
                faults.append({"number": at, "found": how.split()[0], "said": how + ended.stderr[-1500:]})
                counts.update(read_or_refused=at - first - len(faults) + 1)
                first = at + 1
            else:
                counts.update({key: count for key, count in lines[-1]["counts"].items() if key in ("read", "refused")})
                first = given.inputs
            counts.update(fault["found"] for fault in faults)
            _keep(name, faults, given.seed, found)
    return counts


def _keep(name: str, faults: list[dict[str, Any]], seed: int, found: Path) -> None:
    if not faults:
        return
    with tempfile.TemporaryDirectory() as folder:
        whole, _ = READERS[name].open(Path(folder))
    for fault in faults:
        kept = found / f"{''.join(letter if letter.isalnum() else '-' for letter in name)}-{fault['number']}"
        kept.write_bytes(damaged(name, whole, seed, fault["number"]))
        print(f"  {kept.name}: {fault['said']}", flush=True)


def main() -> None:
    """Fuzz, and print a line for each reader."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--reader", action="append", choices=sorted(READERS), help="Those alone; may come again.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="What is at fault is kept in DIR/found.")
    parser.add_argument("--replay", type=Path, help="Read one file that was kept, here in this process.")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--place", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work, given)
        return
    if given.replay:
        reader = READERS[given.reader[0]]
        with tempfile.TemporaryDirectory() as folder:
            reader.open(Path(folder))[1](given.replay.read_bytes())
        return
    wrong = 0
    for name in given.reader or READERS:
        begun = time.monotonic()
        counts = run(name, given)
        faults = sum(counts.values()) - sum(counts[key] for key in ("read", "refused", "read_or_refused"))
        wrong += faults
        told = ", ".join(f"{count:,} {key}" for key, count in sorted(counts.items()))
        print(f"{name}: {told}; {faults} faults; {time.monotonic() - begun:.0f} s", flush=True)
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
