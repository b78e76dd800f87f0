"""The paper's claims in small: `python -m benchmarks.claims a b --seeds 0 1 2 --scale cpu`, from the repository's root.

Each experiment (a to g; all by default) is the trainings that it needs and have not been done yet, for each seed, and
then its table and its plot: of the scale "cpu" in docs/claims.md and docs/images, from the numbers in
benchmarks/claims/results, of others in the folder `--work`. Models and scores are kept there, and a run that was
interrupted goes on there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.claims.cifar import cifar_folder
from benchmarks.claims.experiments import EXPERIMENTS
from benchmarks.claims.photos import photos_folder
from benchmarks.claims.plots import drawn
from benchmarks.claims.results import collected, read_results, results_file
from benchmarks.claims.running import run_all
from benchmarks.claims.runs import PhotoFilter
from benchmarks.claims.scales import SCALES
from benchmarks.claims.sets import work_folder
from benchmarks.claims.tables import table_of, verdicts, written

DOCS = Path(__file__).parents[2] / "docs"
PAGE_SCALE = "cpu"
"""The scale that docs/claims.md tells of; the numbers of others stay in the work folder."""


def main() -> None:
    """Do what is still to be done, write down what was measured, draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", default=[*EXPERIMENTS], help=", ".join(EXPERIMENTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--scale", choices=[*SCALES], default="cpu")
    parser.add_argument("--work", type=Path, default=Path("work/claims"), help="models and scores: a few GB")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    runs = [(run, seed) for name in given.experiments for seed in given.seeds for run in EXPERIMENTS[name].runs]
    for folder in {photos_folder() if isinstance(run, PhotoFilter) else cifar_folder() for run, _ in runs}:
        if not folder.is_dir():
            raise SystemExit(f"{folder}: expected the pictures; name the folder above it with POOLS")
    scale = SCALES[given.scale]
    root = work_folder(given.work.absolute(), scale)
    run_all([*dict.fromkeys(runs)], scale, root, processes=given.processes, tell=lambda said: print(said, flush=True))
    file = results_file(scale.name) if scale.name == PAGE_SCALE else root / "results.json"
    collected(root, file)
    results = read_results(file)
    for name in given.experiments:
        print(f"\n{name}. {EXPERIMENTS[name].title}\n\n{table_of(name, results)}\n\n{verdicts(name, results)}")
        images = DOCS / "images" if scale.name == PAGE_SCALE else root
        drawn(name, results, images / f"claims-{name}.png")
    if scale.name == PAGE_SCALE:
        written(DOCS / "claims.md", results)


if __name__ == "__main__":
    main()
