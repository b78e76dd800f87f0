"""The same build by each engine, in turn: how long it took in all, how fast each phase was, and that it is the same.

    python benchmarks/engines.py --runs 3 --folder DIR
    python benchmarks/engines.py --runs 1 --folder DIR --pools ../shared/pools
    python benchmarks/engines.py --runs 1 --folder DIR --recipe builders/recipes/quickstart.toml

A pool of 10,000 glyphs, or of 3,108 real pictures, scored, captioned and embedded by a small model at one thread, or a
recipe of one's own: one process, two, two actors of Ray, and two tasks of an array. Each build is the command in a
process of its own, so starting Python and loading torch is part of it.
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
{pool}
score = [{{ name = "dfn", model = "model.json", pretrained = "random:0" }}]
select = {{ by = "dfn", top_fraction = 0.4 }}
caption = [{{ kind = "retrieval", per_image = 2, bank = {bank} }}]
embed = [{{ encoder = "vit", model = "model.json", pretrained = "random:1", of = ["image", "text", "caption"] }}]
output = {{ rows_per_shard = 500 }}
compute = {{ batch_size = 64, threads = 1 }}
"""
GLYPHS = """pool = [{ kind = "glyphs", count = 10_000 }]"""
REAL = """pool = [
    {{ kind = "webdataset", path = "{pools}/flickr8k/flickr8k-dev-000000.tar" }},
    {{ kind = "webdataset", path = "{pools}/alttext_web/*.tar" }},
    {{ kind = "webdataset", path = "{pools}/flickr8k_native1k/*.tar" }},
]"""
BANK = """{ kind = "glyphs", count = 2_000 }"""
ENGINES = {
    "inline": [[]],
    "processes": [["--engine", "processes", "--workers", "2"]],
    "ray": [["--engine", "ray", "--workers", "2"]],
    "slurm-array": [["--engine", "slurm-array", "--task", f"{task}/2", "--workers", "1"] for task in range(2)],
}


def built(folder: Path, recipe: Path, name: str) -> dict[str, float]:
    """Build once; return the seconds in all and the rows a second of each phase."""
    out = folder / name
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "dfndr", "build", str(recipe), "--out", str(out), "--device", "cpu"]
    begun = time.monotonic()
    with open(folder / f"{name}.log", "wb") as log:
        tasks = [subprocess.Popen([*command, *options], stdout=log, stderr=log) for options in ENGINES[name]]
    if any([task.wait() for task in tasks]):
        raise SystemExit(f"{name} failed; see {folder / name}.log")
    took = time.monotonic() - begun
    lines = (out / "phases" / "timings.jsonl").read_text().splitlines()
    phases = {line["phase"]: line["rows"] / line["seconds"] for line in map(json.loads, lines) if line["rows"]}
    return {"in all": took, **phases}


def shown(values: list[float]) -> str:
    """Return the median and the ends."""
    return f"{statistics.median(values):,.2f} ({min(values):,.2f} to {max(values):,.2f})"


def main() -> None:
    """Build in turn, compare the digests, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument(
        "--pools", type=Path, help="Where the tars of photographs and of the web are, in place of glyphs."
    )
    parser.add_argument("--recipe", type=Path, help="Build this one, and none of ours.")
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    folder: Path = given.folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.toml").write_text(
        RECIPE.format(pool=REAL.format(pools=given.pools.resolve()) if given.pools else GLYPHS, bank=BANK)
    )
    (folder / "model.json").write_text(MODEL)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in given.engines}
    for _ in range(given.runs):
        for name in given.engines:
            found[name].append(built(folder, given.recipe or folder / "recipe.toml", name))
            print(name, found[name][-1], file=sys.stderr, flush=True)
    digests = {read_manifest(str(folder / name)).digest for name in given.engines}
    print(f"median of {given.runs} runs (least to most); digests: {', '.join(digest[:12] for digest in digests)}")
    phases = [name for name in found[given.engines[0]][0] if name != "in all"]
    print(
        f"| engine | seconds in all | beside {given.engines[0]} | {' | '.join(f'{name}, rows/s' for name in phases)} |"
    )
    print("|---|---|---|" + "---|" * len(phases))
    for name, runs in found.items():
        ratios = [run["in all"] / first["in all"] for run, first in zip(runs, found[given.engines[0]], strict=True)]
        cells = [shown([run[key] for run in runs]) for key in ("in all", *phases)]
        print(f"| {name} | {cells[0]} | {shown(ratios)} | {' | '.join(cells[1:])} |")
    raise SystemExit(len(digests) != 1)


if __name__ == "__main__":
    main()
