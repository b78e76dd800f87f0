"""What was measured, as one JSON file of a scale beside the scripts: tables and plots are made from it alone."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, stdev

from benchmarks.claims.doing import RECORD
from benchmarks.claims.runs import Run

__all__ = ["Measured", "Results", "collected", "read_results", "results_file"]


def results_file(scale: str) -> Path:
    """Return where the numbers of a scale are kept."""
    return Path(__file__).parent / "results" / f"{scale}.json"


@dataclass(frozen=True)
class Measured:
    """One number over seeds: mean, standard deviation (n - 1) and the seeds' own values, in the order of seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return fmean(self.values)

    @property
    def std(self) -> float:
        """The standard deviation over seeds, with n - 1; 0 for one seed."""
        return stdev(self.values) if len(self.values) > 1 else 0.0


@dataclass(frozen=True)
class Results:
    """All records of a scale, by (name of the run, seed)."""

    records: dict[tuple[str, int], dict[str, object]]

    def measured(self, run: Run | None, what: str) -> Measured | None:
        """Return a number of a run over the seeds that have it; None where there is none."""
        found = [] if run is None else [self.records[key] for key in sorted(self.records) if key[0] == run.name]
        values = tuple(float(str(record[what])) for record in found if record.get(what) is not None)
        return Measured(values) if values else None


def collected(root: Path, file: Path) -> None:
    """Write the records that lie under a work folder into one file, sorted; those of earlier work stay."""
    kept = json.loads(file.read_text())["records"] if file.exists() else []
    records = {(record["name"], record["seed"]): record for record in kept}
    for path in sorted(root.glob(f"seed-*/*/{RECORD}")):
        record = json.loads(path.read_text())
        records[record["name"], record["seed"]] = record
    packages = ("torch", "open_clip_torch", "numpy", "pillow")
    about = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {package: version(package) for package in packages},
        "work": root.name,
    }
    lines = ",\n".join(json.dumps(records[key]) for key in sorted(records))
    file.parent.mkdir(exist_ok=True)
    file.write_text(f'{{"about": {json.dumps(about)},\n"records": [\n{lines}\n]}}\n')


def read_results(file: Path) -> Results:
    """Read what `collected` wrote."""
    records = json.loads(file.read_text())["records"]
    return Results({(record["name"], record["seed"]): record for record in records})
