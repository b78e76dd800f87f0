"""What reinforced training buys and costs: `python -m benchmarks.claims.reinforced samples costs views --seeds 0 1 2`.

Run from the repository's root; all parts by default. Teachers, the dataset, and each student's accuracy are kept in the
folder `--work`, so that a run which was interrupted goes on there. What scale "cpu" measures goes to
benchmarks/claims/results/reinforced.json, and from there to docs/claims.md and docs/images.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.claims.cifar import cifar_folder
from benchmarks.claims.reinforced_building import TEACHERS, reinforced_dataset, train_teacher
from benchmarks.claims.reinforced_costs import costs
from benchmarks.claims.reinforced_plots import drawn_students
from benchmarks.claims.reinforced_runs import accuracy, do_student, plain_runs, reinforced_runs, varied_runs, whole_runs
from benchmarks.claims.reinforced_scales import STUDENT_SCALES, StudentScale
from benchmarks.claims.reinforced_sets import write_student_sets
from benchmarks.claims.reinforced_tables import PARTS, filled_students, read_students
from dfndr import storage
from dfndr.dataset import Dataset

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = Path(__file__).parent / "results" / "reinforced.json"
PAGE_SCALE = "cpu"


def main() -> None:
    """Do what is still to be done, write down what was measured, draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[*PARTS], help=", ".join(PARTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--scale", choices=[*STUDENT_SCALES], default=PAGE_SCALE)
    parser.add_argument("--work", type=Path, default=Path("work/reinforced"), help="models and the dataset: about 1 GB")
    given = parser.parse_args()
    if not cifar_folder().is_dir():
        raise SystemExit(f"{cifar_folder()}: expected the pictures; name the folder above it with POOLS")
    scale = STUDENT_SCALES[given.scale]
    root = given.work.absolute() / scale.name
    sets = write_student_sets(root / "sets", scale.rows)
    for name in TEACHERS:
        train_teacher(name, scale, sets, root)
        print(f"teacher {name}: {accuracy(root / f'teacher-{name}', scale):.1%}", flush=True)
    dataset, seconds = reinforced_dataset(scale, root)
    _students(given.parts, given.seeds, scale, dataset, root)
    if "costs" in given.parts:
        _costs(scale, dataset, seconds, root)
    file = RESULTS if scale.name == PAGE_SCALE else root / "results.json"
    _collected(scale, root, file)
    results = read_students(file)
    drawn_students(results, DOCS / "images" if scale.name == PAGE_SCALE else root)
    if scale.name == PAGE_SCALE:
        page = DOCS / "claims.md"
        page.write_text(filled_students(page.read_text(), results))
    print(filled_students("".join(f"<!-- students-{name} -->\n<!-- /students-{name} -->\n" for name in PARTS), results))


def _students(parts: list[str], seeds: list[int], scale: StudentScale, dataset: Dataset, root: Path) -> None:
    wanted = [*plain_runs(scale), *reinforced_runs(scale)] * ("samples" in parts) + varied_runs(scale) * (
        "views" in parts
    )
    pairs = [(run, seed) for seed in seeds for run in dict.fromkeys(wanted)]
    pairs += [(run, seed) for seed in seeds for run in whole_runs(scale)] if "samples" in parts else []
    for run, seed in pairs:
        record = do_student(run, scale, seed, dataset, root)
        print(f"{run.name}, seed {seed}: {record['accuracy']:.1%}, {record['seconds']} s", flush=True)


def _costs(scale: StudentScale, dataset: Dataset, seconds: float, root: Path) -> None:
    made = {"milliseconds": costs(scale, dataset, root), "generation_s": seconds, "rows": len(dataset)}
    made |= {"views": scale.views, "captions": scale.captions}
    storage.put(str(root), "costs.json", json.dumps(made).encode())


def _collected(scale: StudentScale, root: Path, file: Path) -> None:
    """Write all records under the work folder, and the costs, into one file; sorted."""
    records = [json.loads(path.read_text()) for path in sorted((root / "records").glob("*.json"))]
    timed: dict[str, Any] = json.loads((root / "costs.json").read_text()) if (root / "costs.json").exists() else {}
    teachers = {name: accuracy(root / f"teacher-{name}", scale) for name in TEACHERS}
    about = {
        "scale": scale.name,
        "teachers": teachers,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {package: version(package) for package in ("torch", "open_clip_torch", "numpy", "pillow")},
    }
    lines = ",\n".join(json.dumps(record) for record in records)
    text = f'{{"about": {json.dumps(about)},\n"costs": {json.dumps(timed)},\n"records": [\n{lines}\n]}}\n'
    storage.put(str(file.parent), file.name, text.encode())


if __name__ == "__main__":
    main()
