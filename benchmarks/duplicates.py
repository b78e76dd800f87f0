"""Seconds, memory and recall of the search for duplicates, over synthetic rows with planted duplicates.

    python benchmarks/duplicates.py near     [--rows 1000000] [--radius 8] [--giant 100000] [--faiss QUERIES]
    python benchmarks/duplicates.py semantic [--rows 1000000] [--dim 512] [--cosine 0.95] [--probes 4] [--dir DIR]

A tenth of the rows are planted: each is another row with up to `radius` bits flipped, or turned to a cosine between
`cosine` and 1. The other rows are random: hashes of even bits, vectors in all directions alike, in which k-means finds
no structure to go by, so a pair is parted by a border of clusters more often than in real spaces. A pair is recalled
where its two rows are in one group. With --all-pairs, which fits tens of thousands of rows, recall is also told over
every pair that brute force finds.

Memory is looked at ten times a second while the search runs: "own" is what the process allocated (RssAnon), "with
files" adds the pages of mapped files that the system keeps for it and may take back at any time. Set
OMP_WAIT_POLICY=PASSIVE, and OPENBLAS_NUM_THREADS to choose the number of threads.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from dfndr_builders.duplicates.near import NearDuplicates
from dfndr_builders.duplicates.semantic import SemanticDuplicates

from dfndr import open_dataset
from dfndr.console import console_progress
from dfndr.dataset import Dataset
from dfndr.format.manifest import Manifest, Shard, Step, write_manifest
from dfndr.format.schema import EncoderRecord, Preprocess, Space
from dfndr.format.shard import rows_path, vectors_path, write_rows, write_vectors

SHARDS = 20
SPACE = "image/random"


def main() -> None:
    """Make the rows, search them, print what it took and what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    near, semantic = kinds.add_parser("near"), kinds.add_parser("semantic")
    for kind in (near, semantic):
        kind.add_argument("--rows", type=int, default=1_000_000)
        kind.add_argument("--all-pairs", action="store_true", help="also compare with brute force")
        kind.add_argument("--dir", type=Path, help="keep the dataset here; else a temporary folder")
    near.add_argument("--radius", type=int, default=8)
    near.add_argument("--giant", type=int, default=100_000, help="so many rows share one hash")
    near.add_argument("--faiss", type=int, metavar="QUERIES", help="also time FAISS, its flat index on so many queries")
    semantic.add_argument("--dim", type=int, default=512)
    semantic.add_argument("--cosine", type=float, default=0.95)
    semantic.add_argument("--probes", type=int, default=4)
    semantic.add_argument("--clusters", type=int)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        (of_hashes if given.kind == "near" else of_vectors)(given, given.dir or Path(temporary))


def of_hashes(given: argparse.Namespace, root: Path) -> None:
    """Search near duplicates among hashes."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, given.rows, dtype=np.uint64)
    hashes[rng.choice(given.rows, min(given.giant, given.rows // 10), replace=False)] = 77
    ones, others = planted(given.rows, rng)
    hashes[ones] = hashes[others]
    for _ in range(given.radius):  # a bit flipped twice is not flipped, so distances run from 0 to the radius
        hashes[ones] ^= np.uint64(1) << rng.integers(0, 64, len(ones)).astype(np.uint64)
    parts = np.array_split(hashes, SHARDS)
    scores = written(root, ({"phash": pa.array(part)} for part in parts), None, ())
    with measured() as took:
        column = groups_of(NearDuplicates(given.radius), scores)
    show(f"near, radius {given.radius}", took, column, (ones, others))
    if given.all_pairs:
        pairs = [np.flatnonzero(np.bitwise_count(hashes ^ value) <= given.radius) for value in hashes]
        brute = np.repeat(np.arange(given.rows), [len(part) for part in pairs]), np.concatenate(pairs)
        print(f"{'recall of all pairs':28}{recall(column, brute):12.4f}   of {(len(brute[0]) - given.rows) // 2:,}")
    if given.faiss:
        in_faiss(np.unique(hashes), given.radius, given.faiss)


def in_faiss(hashes: np.ndarray, radius: int, queries: int) -> None:
    """Time what FAISS offers for the same search over distinct hashes."""
    import faiss

    octets = hashes.view(np.uint8).reshape(-1, 8)
    flat = faiss.IndexBinaryFlat(64)
    flat.add(octets)
    start = time.perf_counter()
    flat.range_search(octets[:queries], radius + 1)  # FAISS takes what is strictly below
    seconds = time.perf_counter() - start
    print(
        f"{'FAISS flat, all queries':28}{seconds / queries * len(octets):12.1f} s, from {queries:,} in {seconds:.1f} s"
    )
    multi = faiss.IndexBinaryMultiHash(64, 3, 21)
    start = time.perf_counter()
    multi.add(octets)
    multi.nflip = radius // 3
    built = time.perf_counter() - start
    start = time.perf_counter()
    multi.range_search(octets[:queries], radius + 1)
    seconds = time.perf_counter() - start
    total = built + seconds / queries * len(octets)
    print(f"{'FAISS multi-hash 3 x 21':28}{total:12.1f} s, from {queries:,} in {seconds:.1f} s after {built:.1f} s")


def of_vectors(given: argparse.Namespace, root: Path) -> None:
    """Search semantic duplicates among vectors."""
    rng = np.random.default_rng(0)
    ones, others = planted(given.rows, rng)
    source = np.arange(given.rows)
    source[ones] = others
    cosine = np.ones(given.rows)
    cosine[ones] = rng.uniform(given.cosine + 2e-4, 1, len(ones))  # room for rounding to float16

    def vectors() -> Iterator[np.ndarray]:
        for part in np.array_split(np.arange(given.rows), SHARDS):
            own, seeds = np.empty((len(part), given.dim), dtype=np.float32), source[part]
            for place, (row, seed) in enumerate(zip(part.tolist(), seeds.tolist(), strict=True)):
                own[place] = direction(seed, given.dim)
                if row != seed:
                    other = direction(row, given.dim)
                    other -= (other @ own[place]) * own[place]
                    own[place] *= cosine[row]
                    own[place] += np.sqrt(1 - cosine[row] ** 2) / np.linalg.norm(other) * other
            yield own.astype(np.float16)

    space = Space("image", "random", given.dim)
    parts = ({"source": pa.array(part)} for part in np.array_split(source, SHARDS))
    scores = written(root, parts, space, vectors())
    for mapped in scores.mapped(SPACE):
        mapped.max()  # read and checked before the clock starts
    with measured() as took:
        search = SemanticDuplicates(SPACE, given.cosine, given.clusters, probes=given.probes)
        column = groups_of(search, scores)
    show(f"semantic, cosine {given.cosine}", took, column, (ones, others))
    if given.all_pairs:
        every = scores.vectors(SPACE)[:, 0].astype(np.float32)
        pairs = [np.flatnonzero(every @ vector >= given.cosine) for vector in every]
        brute = np.repeat(np.arange(given.rows), [len(part) for part in pairs]), np.concatenate(pairs)
        print(f"{'recall of all pairs':28}{recall(column, brute):12.4f}   of {(len(brute[0]) - given.rows) // 2:,}")


def direction(number: int, dim: int) -> np.ndarray:
    """Return the random unit vector of a number."""
    vector = np.random.Generator(np.random.SFC64(number)).standard_normal(dim, dtype=np.float32)
    return vector / np.linalg.norm(vector)


def planted(rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a tenth of the rows, and for each another row that is not planted itself."""
    order = rng.permutation(rows)
    ones, rest = order[: rows // 10], order[rows // 10 :]
    return ones, rest[rng.integers(0, len(rest), len(ones))]


def groups_of(derived: NearDuplicates | SemanticDuplicates, scores: Dataset) -> np.ndarray:
    """Return the group of every row, -1 where it is alone."""
    tables = derived.tables(scores, console_progress())
    return pa.concat_tables(tables).column(0).fill_null(-1).to_numpy()


def recall(column: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]) -> float:
    """Return the share of the pairs of different rows that are in one group."""
    differ = pairs[0] != pairs[1]
    ones, others = column[pairs[0][differ]], column[pairs[1][differ]]
    return float(((ones == others) & (ones >= 0)).mean())


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Measure the seconds and the peak memory, in MB, of what is done inside."""
    took, done = {"own": 0.0, "files": 0.0}, threading.Event()

    def look() -> None:
        while not done.wait(0.1):
            status = Path("/proc/self/status").read_text()
            sizes = {line.split()[0]: float(line.split()[1]) / 1e3 for line in status.splitlines() if " kB" in line}
            took["own"] = max(took["own"], sizes["RssAnon:"])
            took["files"] = max(took["files"], sizes["VmRSS:"])

    watch = threading.Thread(target=look)
    watch.start()
    start = time.perf_counter()
    yield took
    took["seconds"] = time.perf_counter() - start
    done.set()
    watch.join()


def show(name: str, took: dict[str, float], column: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]) -> None:
    """Print one line each of what it took and what was found."""
    print(f"{name}, {len(column):,} rows")
    print(f"{'seconds':28}{took['seconds']:12.1f}")
    print(f"{'peak memory, own':28}{took['own']:12,.0f} MB")
    print(f"{'peak memory, with files':28}{took['files']:12,.0f} MB")
    print(f"{'rows in groups':28}{(column >= 0).sum():12,}   {len(np.unique(column)) - 1:,} groups")
    print(f"{'recall of planted pairs':28}{recall(column, pairs):12.4f}   of {len(pairs[0]):,}")


def written(
    root: Path, columns: Iterator[dict[str, pa.Array]], space: Space | None, vectors: Iterator[np.ndarray]
) -> Dataset:
    """Write a dataset of scores, shard by shard, unless it is there already, and open it."""
    if (root / "manifest.json").exists():
        return open_dataset(root, check="size")
    shards, rows, blocks = [], 0, iter(vectors)
    for index, given in enumerate(columns):
        count = len(next(iter(given.values())))
        table = pa.table({"uid": [f"{number:032x}" for number in range(rows, rows + count)], **given})
        files = {"rows": write_rows(str(root), rows_path("train", index), table)}
        if space is not None:
            path = vectors_path(space, "train", index)
            files[space.name] = write_vectors(str(root), path, space, [next(blocks)[:, None]])
        shards.append(Shard(index, "train", rows_in=count, rows=count, files=files))
        rows += count
    preprocess = Preprocess((1, 1), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bicubic", "shortest")
    made = EncoderRecord("random", "random", "random:0", "0" * 64, 1, 1, preprocess, "fp32", 1.0, "CC0-1.0", 1, 1)
    spaces = () if space is None else (space,)
    encoders = {} if space is None else {"random": made}
    funnel = (Step("random", rows, rows),)
    manifest = Manifest("random", "CC0-1.0", "", "0" * 64, 0, spaces, encoders, {}, tuple(shards), funnel, {})
    write_manifest(str(root), manifest)
    return open_dataset(root, check="size")


if __name__ == "__main__":
    main()
