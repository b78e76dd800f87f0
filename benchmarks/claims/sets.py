"""The sets of one (scale, seed), written once as Parquet: good pairs, raw pairs, pairs to tune on, and the pool."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from dfndr_builders.pools.parquet import ParquetPool
from dfndr_builders.pools.webdataset import WebDatasetPool
from dfndr_builders.zero_shot.sets import LabelledSet, labelled_set

from benchmarks.claims.captions import CLASSES, PROMPTS
from benchmarks.claims.cifar import held_out_tars, train_samples
from benchmarks.claims.noise import Pair, clean_pairs, noisy_pairs
from benchmarks.claims.scales import Scale
from dfndr.format.manifest import canonical
from dfndr.seeds import hash_int, rng_for

__all__ = ["Sets", "evaluation_set", "pool_of", "read_pairs", "work_folder", "write_sets", "write_table"]

VERSION = 1
"""Raised when the noise process, or a recipe here, changes: what was done before is then done again."""

CHECKED = 500
"""Pairs that averages of weights are chosen by."""


@dataclass(frozen=True)
class Sets:
    """Parquet files of pairs that share no picture.

    `good`, `tune` and `check` are clean; `raw` and `pool` are as the noise process leaves them.
    """

    folder: Path

    @property
    def good(self) -> Path:
        """Return the file of pairs that filters learn from."""
        return self.folder / "good.parquet"

    @property
    def raw(self) -> Path:
        """Return the file of unfiltered pairs that poison filters, as many as the good ones."""
        return self.folder / "raw.parquet"

    @property
    def tune(self) -> Path:
        """Return the file of clean pairs that filters are fine-tuned on."""
        return self.folder / "tune.parquet"

    @property
    def pool(self) -> Path:
        """Return the file of pairs that are to be filtered."""
        return self.folder / "pool.parquet"

    @property
    def check(self) -> Path:
        """Return the file of clean pairs that averages of weights are chosen by; it is written last."""
        return self.folder / "check.parquet"


def write_sets(folder: Path, scale: Scale, seed: int) -> Sets:
    """Return the sets of a seed, written where they are not there yet."""
    sets = Sets(folder)
    if sets.check.exists():
        return sets
    folder.mkdir(parents=True, exist_ok=True)
    samples = train_samples()
    order = [int(place) for place in rng_for(seed, "split").permutation(len(samples))]
    sizes = {"good": scale.good, "raw": scale.good, "tune": scale.tune, "pool": scale.pool, "check": CHECKED}
    for name, size in sizes.items():
        part, order = [samples[place] for place in order[:size]], order[size:]
        make = noisy_pairs if name in ("raw", "pool") else clean_pairs
        write_table(_table(make(part, seed=seed, purpose=name), seed, name), folder / f"{name}.parquet")
    return sets


def _table(pairs: Sequence[Pair], seed: int, purpose: str) -> pa.Table:
    """Return pairs as a table; each has a uid of its own, so that selection takes none for another."""
    columns = {name: [getattr(pair, name) for pair in pairs] for name in ("image", "text", "label", "kind")}
    uids = [f"{hash_int(seed, purpose, row):016x}{row:016x}" for row in range(len(pairs))]
    return pa.table({"uid": uids, **columns})


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table whole or not at all."""
    beside = path.with_suffix(".part")
    pq.write_table(table, beside, row_group_size=512)
    beside.rename(path)


def read_pairs(path: Path) -> pa.Table:
    """Return all pairs of a file."""
    return pq.read_table(path)


def pool_of(*paths: Path) -> ParquetPool:
    """Return files as a pool."""
    return ParquetPool(tuple(str(path) for path in paths), uid="uid", license="research only")


def evaluation_set(scale: Scale) -> LabelledSet:
    """Return the test set, with the prompts as templates."""
    return labelled_set("cifar10", WebDatasetPool(held_out_tars()[: scale.test_tars]), CLASSES, PROMPTS)


def work_folder(root: Path, scale: Scale) -> Path:
    """Return the folder of a scale under a root; another definition of the scale is another folder."""
    digest = hashlib.sha256(canonical({"scale": asdict(scale), "version": VERSION})).hexdigest()
    return root / f"{scale.name}-{digest[:8]}"
