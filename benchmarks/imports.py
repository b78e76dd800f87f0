"""Importing tars of reinforced samples beside plain reading of the same tars, turn about, each in a process of its own.

    python benchmarks/imports.py --rows 100000 --runs 5

exports 500 rows of unit vectors of two encoders as `dr`, repeats their members under other uids until there are enough
rows, in tars of 12,500, and then alternates: `plain` reads every member with Python's tarfile and does nothing with it,
`import` is `dfndr import dr`. Figures are rows a second, CPU seconds and peak memory of the process; the ratio of a
pair of runs is taken within the pair, by the clock and by CPU seconds, which say more where other programs run too.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from dfndr_builders.exports import Form, export
from dfndr_builders.imports import import_dataset, open_import
from dfndr_builders.imports.layout import Teacher

from dfndr.format.manifest import Manifest, Shard, Step, write_manifest
from dfndr.format.schema import EncoderRecord, Preprocess, Space
from dfndr.format.shard import rows_path, vectors_path, write_rows, write_vectors

TAR_ROWS, SAMPLES = 12_500, 500
ENCODERS = ("first", "second")
VIEW = "[[32,291,657,709],[[2,-0.09000000357627869],[4,-30.45317268371582]]]"


def main() -> None:
    """Write what is not there yet, measure in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=64, help="of each of the two encoders")
    parser.add_argument("--views", type=int, default=5)
    parser.add_argument("--captions", type=int, default=5)
    parser.add_argument("--bfloat16", action="store_true", help="tars of .pth.gz")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keep the tars here; else a temporary folder")
    parser.add_argument("--only", choices=["plain", "import"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        print(json.dumps(measured(given.only, given.folder, given.dim)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        if not (folder / "tars").exists():
            write_tars(folder, given)
        size = sum(path.stat().st_size for path in (folder / "tars").glob("*.tar"))
        print(f"{given.rows:,} rows, {size / 1e9:.2f} GB of tars, {size / given.rows:,.0f} bytes a row")
        pairs = []
        for _ in range(given.runs):
            pair = {only: one_run(only, folder, given.dim) for only in ("plain", "import")}
            pairs.append(pair)
            for only, took in pair.items():
                rate = given.rows / took["wall_s"]
                told = f"{took['cpu_s']:7.1f} s CPU {took['peak_mib']:6.0f} MiB peak"
                print(f"{only:8} {rate:8,.0f} rows/s {told}", flush=True)
        for name in ("wall_s", "cpu_s"):
            ratios = [pair["plain"][name] / pair["import"][name] for pair in pairs]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            print(f"import / plain by {name}: median {statistics.median(ratios):.2f}, {spread}, {given.runs} runs")


def one_run(only: str, folder: Path, dim: int) -> dict[str, float]:
    """Measure one thing in a new process."""
    command = [sys.executable, __file__, "--folder", str(folder), "--dim", str(dim), "--only", only]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measured(what: str, folder: Path, dim: int) -> dict[str, float]:
    """Do one thing and return what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    if what == "plain":
        for path in sorted((folder / "tars").glob("*.tar")):
            with tarfile.open(path, "r|") as tar:
                for member in tar:
                    tar.extractfile(member).read()  # type: ignore[union-attr]
    else:
        shutil.rmtree(folder / "imported", ignore_errors=True)
        teachers = [Teacher(name, "made", "made", dim) for name in ENCODERS]
        layout, given = open_import("dr", str(folder / "tars" / "*.tar"), teachers, name="made", license="CC0-1.0")
        import_dataset(layout, given, folder / "imported")
    took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    return took | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def write_tars(folder: Path, given: argparse.Namespace) -> None:
    """Write the tars; they go by their name once they are whole."""
    write_dataset(folder / "given", given)
    export(str(folder / "given"), "dr", str(folder / "one"), form=Form(bfloat16=given.bfloat16))
    samples: dict[str, dict[str, bytes]] = {}
    with tarfile.open(folder / "one" / "00000000.tar") as tar:
        for member in tar:
            uid, _, suffix = member.name.partition(".")
            samples.setdefault(uid, {})[suffix] = tar.extractfile(member).read()  # type: ignore[union-attr]
    several = list(samples.values())
    (folder / "begun").mkdir()
    for number, start in enumerate(range(0, given.rows, TAR_ROWS)):
        with tarfile.open(folder / "begun" / f"{number:08d}.tar", "w") as tar:
            for row in range(start, min(start + TAR_ROWS, given.rows)):
                uid = f"{row:032x}"
                about = json.dumps({"uid": uid, "sha256": uid * 2}).encode()
                for suffix, data in {**several[row % len(several)], "json": about}.items():
                    info = tarfile.TarInfo(f"{uid}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    (folder / "begun").rename(folder / "tars")


def write_dataset(folder: Path, given: argparse.Namespace) -> None:
    """Write a dataset of random unit vectors."""
    counts = (("image", given.views), ("text", 1), ("caption", given.captions))
    spaces = tuple(
        Space(modality, name, given.dim, count)  # type: ignore[arg-type]
        for name in ENCODERS
        for modality, count in counts
    )
    files = {"rows": write_rows(str(folder), rows_path("train", 0), table_of(SAMPLES, given))}
    for place, space in enumerate(spaces):
        vectors = np.random.default_rng(place).standard_normal((SAMPLES, space.per_row, space.dim), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
        path = vectors_path(space, "train", 0)
        files[space.name] = write_vectors(str(folder), path, space, [vectors.astype(np.float16)])
    about = dict(name="made", license="cc0-1.0", recipe="", recipe_digest="0" * 64, seed=0, scorers={}, provenance={})
    encoders = {name: record(name, given.dim) for name in ENCODERS}
    shards, funnel = (Shard(0, "train", SAMPLES, SAMPLES, files),), (Step("made", SAMPLES, SAMPLES),)
    write_manifest(str(folder), Manifest(spaces=spaces, encoders=encoders, shards=shards, funnel=funnel, **about))


def table_of(rows: int, given: argparse.Namespace) -> pa.Table:
    """Return rows as the published sets have them."""
    uids = [f"{number:032x}" for number in range(rows)]
    captions = [[f"a synthetic caption, number {place} of {uid}" for place in range(given.captions)] for uid in uids]
    return pa.table(
        {
            "uid": uids,
            "url": [f"https://example.org/pictures/{uid}.jpg" for uid in uids],
            "sha256": [uid * 2 for uid in uids],
            "captions": captions,
            "caption_models": [["syn_text"] * given.captions] * rows,
            "views": [[VIEW] * given.views] * rows,
        }
    )


def record(name: str, dim: int) -> EncoderRecord:
    """Return the record of an encoder that never was."""
    seen = Preprocess((224, 224), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", "shortest")
    return EncoderRecord(name, "made", "made", "0" * 64, dim, 77, seen, "fp32", 100.0, "CC0-1.0", 64, 2)


if __name__ == "__main__":
    main()
