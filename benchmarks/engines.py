"""The same build by each engine, in turn: how long it took in all, how fast each phase was, and that it is the same.

    python benchmarks/engines.py --runs 3 --folder DIR

A pool of 10,000 glyphs, scored, captioned and embedded by a small model at one thread: one process, two, and two
actors of Ray. Each build is the command in a process of its own, so starting Python and loading torch is part of it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from dfndr.format.manifest import read_manifest

MODEL = """{"embed_dim": 128,
 "vision_cfg": {"image_size": 64, "layers": 6, "width": 192, "patch_size": 8, "head_width": 32},
 "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 4}}"""
RECIPE = """
name = "engines"
license = "mit"
pool = [{{ kind = "glyphs", count = {count} }}]
score = [{{ name = "dfn", model = "model.json", pretrained = "random:0" }}]
select = {{ by = "dfn", top_fraction = 0.4 }}
caption = [{{ kind = "retrieval", per_image = 2, bank = {{ kind = "glyphs", count = 2_000 }} }}]
embed = [{{ encoder = "vit", model = "model.json", pretrained = "random:1", of = ["image", "text", "caption"] }}]
output = {{ rows_per_shard = 500 }}
compute = {{ batch_size = 64, threads = 1 }}
"""
ENGINES = {
    "inline": [],
    "processes": ["--engine", "processes", "--workers", "2"],
    "ray": ["--engine", "ray", "--workers", "2"],
}


def built(folder: Path, name: str) -> dict[str, float]:
    """Build once; return the seconds in all and the rows a second of each phase."""
    out = folder / name
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "dfndr", "build", str(folder / "recipe.toml"), "--out", str(out)]
    begun = time.monotonic()
    subprocess.run([*command, "--device", "cpu", *ENGINES[name]], check=True, capture_output=True)
    took = time.monotonic() - begun
    lines = (out / "phases" / "timings.jsonl").read_text().splitlines()
    phases = {line["phase"]: line["rows"] / line["seconds"] for line in map(json.loads, lines)}
    return {"seconds": took, **{name: phases[name] for name in ("score", "bank", "build")}}


def shown(values: list[float]) -> str:
    """Return the median and the ends."""
    return f"{statistics.median(values):,.1f} ({min(values):,.1f} to {max(values):,.1f})"


def main() -> None:
    """Build in turn, compare the digests, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    (given.folder / "recipe.toml").write_text(RECIPE.format(count=given.count))
    (given.folder / "model.json").write_text(MODEL)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in given.engines}
    for _ in range(given.runs):
        for name in given.engines:
            found[name].append(built(given.folder, name))
            print(name, found[name][-1], file=sys.stderr, flush=True)
    digests = {read_manifest(str(given.folder / name)).digest for name in given.engines}
    print(f"median of {given.runs} runs (least to most); digests: {', '.join(digest[:12] for digest in digests)}")
    print("| engine | seconds in all | beside inline | score, rows/s | bank, rows/s | build, rows/s |")
    print("|---|---|---|---|---|---|")
    for name, runs in found.items():
        ratios = [run["seconds"] / inline["seconds"] for run, inline in zip(runs, found["inline"], strict=True)]
        cells = [shown([run[key] for run in runs]) for key in ("seconds", "score", "bank", "build")]
        print(f"| {name} | {cells[0]} | {shown(ratios)} | {' | '.join(cells[1:])} |")
    raise SystemExit(len(digests) != 1)


if __name__ == "__main__":
    main()
