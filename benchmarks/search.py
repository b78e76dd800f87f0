"""Search: every kind of index beside bare FAISS in one run; latency, throughput, recall; and building out of core.

    python benchmarks/search.py make --folder DIR [--rows 300000] [--dim 256]
    python benchmarks/search.py build --folder DIR --kind ivf
    python benchmarks/search.py measure --folder DIR [--kinds exact,ivf,ivfpq,hnsw] [--queries 1000] [--runs 5]
    VENV/bin/python benchmarks/search.py autofaiss --folder DIR [--memory 500MB]

`make` writes a dataset of made-up vectors: 2,000 clusters, 64 directions of falling strength within each, and noise.
`build` makes one index in a process of its own, saves it in DIR/KIND, and tells the seconds and the peak of memory,
of all and without mapped files (`RssAnon`, looked at ten times a second). `measure` loads what was built and asks,
run by run and kind after kind, a thousand queries at once and a fifth of them one at a time; `flat` is FAISS's
IndexFlatIP with nothing around it, over the same vectors. Ratios are those of the same run. `autofaiss` needs a Python
that has that package, and nothing of dfndr: it takes the vectors that `make` left, lets autofaiss choose, and measures
the same.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SHARD, QUERIES, K = 20_000, 1000, 10


def main() -> None:
    """Do one of the four."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "build", "measure", "autofaiss"])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--kind", default="ivf")
    parser.add_argument("--kinds", default="exact,ivf,ivfpq,hnsw")
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", default="500MB")
    given = parser.parse_args()
    doing: dict[str, Callable[[argparse.Namespace], None]]
    doing = {"make": make, "build": build, "measure": measure, "autofaiss": autofaiss}
    if given.what != "make":
        import faiss

        faiss.omp_set_num_threads(given.threads)
    doing[given.what](given)


def shard_of(number: int, rows: int, dim: int) -> np.ndarray:
    """Return the unit vectors of one shard, the same each time."""
    common, rng = np.random.default_rng(0), np.random.default_rng([1, number])
    centers = 0.5 * common.standard_normal((2000, dim), dtype=np.float32)
    within = np.linalg.qr(common.standard_normal((dim, min(64, dim))))[0].T / (1 + np.arange(min(64, dim)))[:, None]
    within *= np.sqrt(dim) / np.linalg.norm(within)
    found = centers[rng.integers(0, len(centers), rows)]
    found += rng.standard_normal((rows, len(within)), dtype=np.float32) @ within.astype(np.float32)
    found += 0.15 * rng.standard_normal((rows, dim), dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def make(given: argparse.Namespace) -> None:
    """Write the dataset, and the queries, which are none of its rows."""
    import pyarrow as pa

    from dfndr.format.manifest import Manifest, Shard, Step, write_manifest
    from dfndr.format.schema import EncoderRecord, Preprocess, Space
    from dfndr.format.shard import rows_path, vectors_path, write_rows, write_vectors

    root, space, shards = str(given.folder / "dataset"), Space("image", "made-up", dim=given.dim), []
    for number, start in enumerate(range(0, given.rows, SHARD)):
        count = min(SHARD, given.rows - start)
        packed = np.random.default_rng([2, number]).bytes(16 * count).hex()
        uids = [packed[place : place + 32] for place in range(0, len(packed), 32)]
        table = pa.table({"uid": uids, "text": [""] * count, "part": pa.array(np.arange(count) % 100, pa.int32())})
        vectors = [shard_of(number, count, given.dim)[:, None]]
        files = {
            "rows": write_rows(root, rows_path("train", number), table),
            space.name: write_vectors(root, vectors_path(space, "train", number), space, vectors),
        }
        shards.append(Shard(number, "train", count, count, files))
    prepared = Preprocess((32, 32), (0.5,) * 3, (0.5,) * 3, "bicubic", "shortest")
    named = ("made-up", "none", "random:0", "0" * 64, given.dim, 16, prepared, "float32", 100.0, "cc0-1.0", 1, 1)
    empty = dict(license="cc0-1.0", recipe="", recipe_digest="0" * 64, seed=0, scorers={}, provenance={})
    empty |= dict(funnel=(Step("pool", given.rows, given.rows),), encoders={"made-up": EncoderRecord(*named)})
    write_manifest(root, Manifest("made-up", shards=tuple(shards), spaces=(space,), **empty))
    np.save(given.folder / "queries.npy", shard_of(1 << 20, QUERIES, given.dim))


def build(given: argparse.Namespace) -> None:
    """Make and save one index."""
    from dfndr import Index, open_dataset

    ended, peaks = threading.Event(), {"RssAnon": 0.0, "VmHWM": 0.0}
    watching = threading.Thread(target=watch, args=(ended, peaks))
    watching.start()
    start = time.perf_counter()
    dataset = open_dataset(str(given.folder / "dataset"), check="size")
    index = Index.build(dataset, "image/made-up", kind=given.kind)
    built_s = time.perf_counter() - start
    index.save(str(given.folder / given.kind))
    saved_s = time.perf_counter() - start - built_s
    ended.set()
    watching.join()
    size = sum(path.stat().st_size for path in (given.folder / given.kind).iterdir())
    told = f"built in {built_s:.0f} s, saved in {saved_s:.0f} s, {size / 1e9:.2f} GB; at most "
    print(f"{index!r}: {told}{peaks['RssAnon']:.2f} GiB beside files, {peaks['VmHWM']:.2f} GiB with mapped ones")


def watch(ended: threading.Event, peaks: dict[str, float]) -> None:
    """Keep the most memory that this process has had."""
    while not ended.wait(0.1):
        status = dict(re.findall(r"(\w+):\s+(\d+) kB", Path("/proc/self/status").read_text()))
        for name in peaks:
            peaks[name] = max(peaks[name], int(status[name]) / (1 << 20))


Search = Callable[[np.ndarray], Any]


def timed(search: Search, queries: np.ndarray) -> dict[str, float]:
    """Return queries a second, all at once, and milliseconds of one alone: the median and the 99th percentile."""
    start = time.perf_counter()
    search(queries)
    took, times = time.perf_counter() - start, []
    for query in queries[: len(queries) // 5]:
        begun = time.perf_counter()
        search(query[None])
        times.append(time.perf_counter() - begun)
    p50, p99 = np.quantile(times, [0.5, 0.99]) * 1000
    return {"qps": len(queries) / took, "p50_ms": float(p50), "p99_ms": float(p99)}


def spread(values: list[float]) -> str:
    """Return the median, the least and the most."""
    return f"{statistics.median(values):10.2f} ({min(values):.2f} to {max(values):.2f})"


def measure(given: argparse.Namespace) -> None:
    """Measure each kind that was built, and bare FAISS."""
    import faiss
    import pyarrow.compute as pc

    from dfndr import Index, open_dataset

    dataset = open_dataset(str(given.folder / "dataset"), check="size")
    queries = np.load(given.folder / "queries.npy")[: given.queries]
    vectors = np.concatenate([np.asarray(block)[:, 0].astype(np.float32) for block in dataset.mapped("image/made-up")])
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    del vectors
    uids = np.array(dataset.rows(["uid"])["uid"].to_pylist())
    right = uids[flat.search(queries, K)[1]]
    indexes = {kind: Index.load(str(given.folder / kind), dataset=dataset) for kind in given.kinds.split(",")}
    searches: dict[str, Search] = {"flat": lambda asked: flat.search(asked, K)}
    searches |= {kind: lambda asked, index=index: index.search(asked, k=K) for kind, index in indexes.items()}
    mask = next(iter(indexes.values())).mask(pc.field("part") < 10)
    for kind, index in indexes.items():
        searches[f"{kind}, 1 in 10"] = lambda asked, index=index: index.search(asked, k=K, mask=mask)
    print(f"{len(uids):,} x {queries.shape[1]}, {given.threads} threads, FAISS {faiss.__version__}, {given.runs} runs")
    for index in indexes.values():
        found = index.search(queries, k=K).uids
        recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(found, right, strict=True)])
        print(f"{index!r}: recall@10 of {len(queries)} new queries {recall:.3f}", flush=True)
    runs = [{name: timed(search, queries) for name, search in searches.items()} for _ in range(given.runs)]
    for name in searches:
        told = "".join(f"  {what} {spread([run[name][what] for run in runs])}" for what in ("qps", "p50_ms", "p99_ms"))
        ratio = spread([run["flat"]["qps"] / run[name]["qps"] for run in runs])
        alone = spread([run[name]["p50_ms"] / run["flat"]["p50_ms"] for run in runs])
        print(f"{name:16}{told}  time / flat: at once {ratio}, alone {alone}")


def autofaiss(given: argparse.Namespace) -> None:
    """Let autofaiss choose an index of the same vectors, and measure it."""
    import faiss
    from autofaiss import build_index

    names = json.loads((given.folder / "dataset" / "manifest.json").read_text())["shards"]
    paths = [given.folder / "dataset" / shard["files"]["image/made-up"]["path"] for shard in names]
    vectors = np.concatenate([np.load(path)[:, 0].astype(np.float32) for path in paths])
    queries = np.load(given.folder / "queries.npy")[: given.queries]
    start = time.perf_counter()
    asked = dict(save_on_disk=False, metric_type="ip", max_index_memory_usage=given.memory, verbose=40)
    index, infos = build_index(vectors, current_memory_available="8GB", nb_cores=given.threads, **asked)
    took = time.perf_counter() - start
    faiss.omp_set_num_threads(given.threads)
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    right, found = flat.search(queries, K)[1], index.search(queries, K)[1]
    recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(found, right, strict=True)])
    searches: dict[str, Search] = {"flat": lambda asked: flat.search(asked, K)}
    searches["autofaiss"] = lambda asked: index.search(asked, K)
    runs = [{name: timed(search, queries) for name, search in searches.items()} for _ in range(given.runs)]
    chosen = f"{infos.get('index_key')}, {infos.get('index_param')}, {infos.get('size in bytes', 0) / 1e6:.0f} MB"
    print(f"autofaiss chose {chosen}; built in {took:.0f} s, recall@10 {recall:.3f}")
    for name in searches:
        print(name, *(f"{what} {spread([run[name][what] for run in runs])}" for what in ("qps", "p50_ms", "p99_ms")))


if __name__ == "__main__":
    sys.exit(main())
