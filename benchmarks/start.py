"""What it costs to start: `import dfndr` and `dfndr --help` beyond bare Python, measured in turns.

    python benchmarks/start.py [--repeats 15]

The first run of each, which fills the disk's cache and compiles, does not count.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "bare Python": [sys.executable, "-c", "pass"],
    "import dfndr": [sys.executable, "-c", "import dfndr"],
    "dfndr --help": [str(Path(sys.executable).with_name("dfndr")), "--help"],
}


def main() -> None:
    """Run everything in turns and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for repeat in range(repeats + 1):
        for name, command in COMMANDS.items():
            begin = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if repeat:
                seconds[name].append(time.perf_counter() - begin)
    bare = statistics.median(seconds["bare Python"])
    print(f"{'':16}{'median ms':>12}{'fastest':>10}{'slowest':>10}{'beyond bare':>14}")
    for name, runs in seconds.items():
        median, fastest, slowest = statistics.median(runs), min(runs), max(runs)
        print(f"{name:16}{1e3 * median:12.0f}{1e3 * fastest:10.0f}{1e3 * slowest:10.0f}{1e3 * (median - bare):14.0f}")


if __name__ == "__main__":
    main()
