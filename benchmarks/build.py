"""How near a build comes to the bare forward passes of its model, in one run; and clip-retrieval beside it if asked.

    python benchmarks/build.py --pool ../shared/pools/flickr8k_native1k --rows 1000 --runs 5

A build of a random score and one open_clip model's image and text vectors, thumbnails included, is set beside the same
weights called in a loop on tensors that are there already, with all cores at each pass; each build has bare passes of
256 rows before and after it. Rates are by the clock, and by the CPU time of the process: other work disturbs that less.
Loading the model is stated apart. `texts cut` is the bare pass with the texts at the length that the build cut them to.

    python benchmarks/build.py --pool ../shared/pools/flickr8k --rows 4000 --memory

makes one build and prints the most memory that the process had; with fewer rows it is to be the same.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import shutil
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from dfndr_builders.build import build

from dfndr.encoder import Encoder, EncoderSpec, open_encoder
from dfndr.passes import cores

RECIPE = """
name = "bench"
license = "none"
[[pool]]
kind = "webdataset"
path = "pool.tar"
[[score]]
name = "chance"
kind = "random"
[select]
by = "chance"
top_fraction = 1.0
[[embed]]
encoder = "one"
model = "{model}"
pretrained = "random:0"
precision = "{precision}"
[output]
validation = 0.0
rows_per_shard = {rows_per_shard}
[compute]
threads = {threads}
decode = "{decode}"
"""

BARE_ROWS = 256


class Took(NamedTuple):
    """Seconds by the clock, and of the CPU."""

    wall: float
    cpu: float


def timed(work: Callable[[], object]) -> Took:
    """Return how long something takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - wall, time.process_time() - cpu)


def shorten(pool: str, rows: int, out: Path) -> list[str]:
    """Copy the first samples of a pool to one tar and return their texts."""
    texts: list[str] = []
    seen: set[str] = set()
    with tarfile.open(out, "w") as short:
        for path in sorted(Path(pool).rglob("*.tar")):
            with tarfile.open(path) as tar:
                for member in tar:
                    key = member.name.split(".")[0]
                    if key not in seen and len(seen) == rows:
                        break
                    seen.add(key)
                    file = tar.extractfile(member)
                    if file is not None:
                        data = file.read()
                        short.addfile(member, io.BytesIO(data))
                        texts += [data.decode()] if member.name.endswith(".txt") else []
    return texts


def bare(encoder: Encoder, texts: list[str], *, is_cut: bool) -> Callable[[], object]:
    """Return the forward passes of as many pictures and texts as there are texts, in batches of 64."""
    images = torch.rand(64, 3, *encoder.record.preprocess.size).to(encoder._dtype)
    tokens = encoder._tokens(texts)
    groups = list(encoder._tower.groups(tokens)) if is_cut else [(list(range(len(texts))), tokens.shape[1])]

    def run() -> None:
        with torch.inference_mode():
            for start in range(0, len(texts), 64):
                encoder._model.encode_image(images[: len(texts) - start])
            for rows, length in groups:
                for start in range(0, len(rows), 64):
                    encoder._tower.encode(tokens[rows[start : start + 64], :length])

    return run


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", default="../shared/pools/flickr8k_native1k")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--model", default="ViT-S-32-alt")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--decode", default="exact")
    parser.add_argument("--threads", type=int, default=1, help="of the build's recipe")
    parser.add_argument("--bare-threads", type=int, default=cores())
    parser.add_argument("--rows-per-shard", type=int, default=10_000)
    parser.add_argument("--memory", action="store_true", help="one build, and its peak of memory")
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="dfndr-bench-"))
    texts = shorten(asked.pool, asked.rows, work / "pool.tar")
    settings = {name: getattr(asked, name) for name in ("model", "precision", "threads", "decode", "rows_per_shard")}
    (work / "recipe.toml").write_text(RECIPE.format(**settings))
    spec = EncoderSpec("one", asked.model, "random:0", asked.precision, 64, asked.threads, decode=asked.decode)
    print(f"loading the model: {timed(lambda: open_encoder(spec)).wall:.1f} s", flush=True)
    if asked.memory:
        build(work / "recipe.toml", work / "out", device="cpu")
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{len(texts)} rows: {most:.0f} MiB at most")
        shutil.rmtree(work)
        return
    encoder, found = open_encoder(spec), []
    torch.set_num_threads(asked.bare_threads)
    few = texts[:: max(1, len(texts) // BARE_ROWS)][:BARE_ROWS]
    passes = {"texts whole": bare(encoder, few, is_cut=False), "texts cut": bare(encoder, few, is_cut=True)}
    build(work / "recipe.toml", work / "warm", device="cpu")
    before = {name: timed(run) for name, run in passes.items()}
    for _ in range(asked.runs):
        ours = timed(lambda: build(work / "recipe.toml", work / "out", device="cpu"))
        torch.set_num_threads(asked.bare_threads)
        lines = [json.loads(line) for line in (work / "out/phases/timings.jsonl").read_text().splitlines()]
        shutil.rmtree(work / "out")
        after = {name: timed(run) for name, run in passes.items()}
        spent = next(line["spent"] for line in lines if line["phase"] == "build")
        busy = spent["models"] / sum(spent.values())
        told = [f"build {len(texts) / ours.wall:.1f} rows/s, {ours.cpu / ours.wall:.2f} cores, encoder busy {busy:.2f}"]
        row = [busy]
        for name in passes:
            wall, cpu = ((before[name][part] + after[name][part]) / 2 / len(few) * len(texts) for part in (0, 1))
            row += [wall / ours.wall, cpu / ours.cpu]
            told.append(f"bare, {name}: {len(texts) / wall:.1f} rows/s, ratio {row[-2]:.2f}, of CPU time {row[-1]:.2f}")
        print("; ".join(told), flush=True)
        found.append(row)
        before = after
    names = ["busy", *(f"{name}{kind}" for name in passes for kind in ("", ", CPU"))]
    for name, column in zip(names, zip(*found, strict=True), strict=True):
        print(f"{name}: median {statistics.median(column):.2f} ({min(column):.2f} to {max(column):.2f})")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
