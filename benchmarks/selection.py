"""Selection among many rows beside reading the same Parquet with DuckDB: seconds, peak memory, disk.

    python benchmarks/selection.py [--rows 10000000] [--threads 2] [--folder DIR] [--check] [--narrow]

The rows have a uid, three scores and two categories, in shards of a million (40 MB each), and a thousandth of the uids
come again; they are written once and kept where a folder is given. What is measured is the exact top 15 % by one score
with at most a tenth of it from any one source. `scan` is one query that takes the sum or the largest of every column,
`fetch` hands every column to Python as Arrow. Each runs in a process of its own, so its peak memory is its own. CPU
seconds say more than wall seconds where other programs run too. Disk is what the selection has there at most, its own
files and what it sorts in, beside the rows. `--narrow` writes a uid, one score and one category alone, which is what
this selection reads, 17 MB a shard (half of each uid is zeros): so that a billion rows fit on a smaller disk. `--check`
compares with a brute-force answer (NumPy).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from dfndr_builders.select import Quota, Rule, select

from dfndr import open_dataset
from dfndr.dataset import Dataset
from dfndr.format.manifest import Manifest, Shard, Step, write_manifest
from dfndr.format.shard import rows_path, write_rows

SHARD_ROWS, REPEATED = 1_000_000, 1000
SHARE, MOST = 0.15, 0.1


def main() -> None:
    """Write the rows where they are not there yet, measure each thing in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep the rows here; else a temporary folder")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--narrow", action="store_true")
    parser.add_argument("--only", choices=["scan", "fetch", "select"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        print(json.dumps(measured(given.only, given.folder, given.threads)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        if not (folder / "scores" / "manifest.json").exists():
            write_scores(folder / "scores", given.rows, narrow=given.narrow)
        size = sum(path.stat().st_size for path in (folder / "scores").rglob("*.parquet"))
        rows = len(open_dataset(folder / "scores", check="size"))
        print(f"{rows:,} rows, {size / 1e9:.2f} GB of Parquet, {given.threads} threads, DuckDB {duckdb.__version__}")
        for only in ("scan", "fetch", "select", "scan"):
            options = ["--folder", str(folder), "--threads", str(given.threads), "--only", only]
            done = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True, check=True)
            found = json.loads(done.stdout)
            told = f"{only:8}{found['wall_s']:8.2f} s wall{found['cpu_s']:8.2f} s CPU{found['peak_mib']:8.0f} MiB peak"
            print(f"{told}{found['disk_gb']:8.2f} GB of disk", flush=True)
        if given.check:
            print("brute force agrees" if agrees(folder) else "BRUTE FORCE DISAGREES")


def measured(what: str, folder: Path, threads: int) -> dict[str, float]:
    """Do one thing and return what it took."""
    dataset = open_dataset(folder / "scores", check="size")
    out, ended = folder / "selected", threading.Event()
    with ThreadPoolExecutor(1) as watching:
        most = watching.submit(disk_peak, out, ended)
        wall, cpu = time.perf_counter(), time.process_time()
        if what == "select":
            rule = Rule("dfn", top_fraction=SHARE, quota=Quota("source", most_share=MOST))
            select(dataset, rule, str(out), threads=threads, sorting=str(out / "sorting"))
        else:
            read(dataset, threads, fetch=what == "fetch")
        took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        ended.set()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return took | {"peak_mib": peak, "disk_gb": most.result() / 1e9 if what == "select" else 0.0}


def disk_peak(folder: Path, ended: threading.Event) -> int:
    """Return the most bytes that lie in a folder, looked at twice a second."""
    most = 0
    while not ended.wait(0.5):
        used = 0
        for path in folder.rglob("*"):
            with suppress(FileNotFoundError):
                used += path.stat().st_blocks * 512
        most = max(most, used)
    return most


def read(dataset: Dataset, threads: int, *, fetch: bool) -> None:
    """Read every column of every row with DuckDB."""
    files = [str(dataset.local_file(shard.files["rows"])) for shard in dataset.shards]
    with duckdb.connect() as database:
        database.execute(f"SET threads = {threads}; SET memory_limit = '1GB'")
        if fetch:
            for _ in database.sql(f"SELECT * FROM read_parquet({files})").to_arrow_reader(100_000):
                pass
        else:
            tests = {"uid": "max(uid)", "source": "max(source)", "language": "max(language)"}
            columns = ", ".join(tests.get(name, f"sum({name})") for name in dataset.schema().names)
            database.execute(f"SELECT {columns} FROM read_parquet({files})").fetchall()


def agrees(folder: Path) -> bool:
    """Say whether the kept uids are those that a plain walk, best first, keeps; all rows are held in memory."""
    rows = open_dataset(folder / "scores", check="size").rows(["uid", "dfn", "source"])
    uids, scores = rows["uid"].to_numpy(), rows["dfn"].to_numpy()
    sources = rows["source"].to_pylist()
    _, first = np.unique(uids, return_index=True)  # sorted by uid
    order = first[np.argsort(-scores[first], kind="stable")]
    kept, taken = int(len(first) * 15) // 100, Counter[str]()
    most, wanted = kept // 10, set()
    for row in order.tolist():
        if len(wanted) < kept and taken[sources[row]] < most:
            taken[sources[row]] += 1
            wanted.add(uids[row])
    return set(pq.read_table(folder / "selected" / "train.parquet")["uid"].to_pylist()) == wanted


def write_scores(folder: Path, rows: int, *, narrow: bool) -> None:
    """Write a dataset of scores: uid, three scores, two categories; a thousandth of the uids come again.

    Narrow ones have one score and one category.
    """
    shards = []
    for number in range(rows // SHARD_ROWS):
        files = {"rows": write_rows(str(folder), rows_path("train", number), shard_of(number, narrow=narrow))}
        shards.append(Shard(number, "train", SHARD_ROWS, SHARD_ROWS, files))
    empty = dict(license="cc0-1.0", recipe="", recipe_digest="0" * 64, seed=0, spaces=(), encoders={}, scorers={})
    funnel = (Step("score", rows, rows),)
    write_manifest(str(folder), Manifest("scores", shards=tuple(shards), funnel=funnel, provenance={}, **empty))


def shard_of(number: int, *, narrow: bool) -> pa.Table:
    """Return a shard of a million rows, the same each time."""
    random = np.random.default_rng(number)
    packed = np.frombuffer(np.random.default_rng([number, 1]).bytes(16 * SHARD_ROWS), np.uint8).reshape(-1, 16).copy()
    if number:
        earlier = np.random.default_rng([number - 1, 1]).bytes(16 * REPEATED)
        packed[-REPEATED:] = np.frombuffer(earlier, np.uint8).reshape(-1, 16)
    if narrow:
        packed[:, 8:] = 0
    offsets = pa.py_buffer(np.arange(0, 32 * SHARD_ROWS + 1, 32, dtype=np.int32))
    source = np.minimum(random.geometric(0.2, SHARD_ROWS) - 1, 19)
    language = random.integers(0, 5, SHARD_ROWS)
    table = pa.table(
        {
            "uid": pa.StringArray.from_buffers(SHARD_ROWS, offsets, pa.py_buffer(packed.tobytes().hex().encode())),
            "dfn": random.standard_normal(SHARD_ROWS, dtype=np.float32),
            "clip": random.standard_normal(SHARD_ROWS, dtype=np.float32),
            "quality": random.random(SHARD_ROWS, dtype=np.float32),
            "source": pa.array([f"source-{value:02d}" for value in range(20)]).take(pa.array(source)),
            "language": pa.array(["en", "de", "fr", "vi", "ar"]).take(pa.array(language)),
        }
    )
    return table.select(["uid", "dfn", "source"]) if narrow else table


if __name__ == "__main__":
    main()
