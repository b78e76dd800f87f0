"""CIFAR-10 for students: clean pairs to be reinforced, and all others, which teachers are trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from benchmarks.claims.captions import caption_of
from benchmarks.claims.cifar import train_samples
from benchmarks.claims.sets import write_table
from dfndr.seeds import hash_int, rng_for

__all__ = ["StudentSets", "write_student_sets"]


@dataclass(frozen=True)
class StudentSets:
    """Parquet files of clean pairs that share no picture, and the bank that captions are retrieved from."""

    folder: Path

    @property
    def rows(self) -> Path:
        """Return the file of the pairs that are reinforced, and students trained on."""
        return self.folder / "rows.parquet"

    @property
    def taught(self) -> Path:
        """Return the file of all other pairs, which teachers are trained on; it is written last."""
        return self.folder / "teachers.parquet"


def write_student_sets(folder: Path, rows: int) -> StudentSets:
    """Return the sets, written where they are not there yet; they are the same for all seeds."""
    sets = StudentSets(folder)
    if sets.taught.exists():
        return sets
    folder.mkdir(parents=True, exist_ok=True)
    samples, rng = train_samples(), rng_for(0, "reinforced", "captions")
    order = [int(place) for place in rng_for(0, "reinforced", "split").permutation(len(samples))]
    for path, part in ((sets.rows, order[:rows]), (sets.taught, order[rows:])):
        columns = {
            "uid": [f"{hash_int(0, 'reinforced', place):016x}{place:016x}" for place in part],
            "image": [samples[place][0] for place in part],
            "text": [caption_of(samples[place][1], rng) for place in part],
        }
        write_table(pa.table(columns), path)
    return sets
