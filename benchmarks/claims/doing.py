"""One run, from start to its record: what it is, and what was measured."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
from dfndr_builders.clip.train import train_clip

from benchmarks.claims.photos import photo_filter
from benchmarks.claims.runs import Filter, Model, PhotoFilter, Run
from benchmarks.claims.scales import FRACTION, Scale
from benchmarks.claims.scoring import accuracy_of, kept_rows, qualities, scores_of, spec_of, train_filter
from benchmarks.claims.sets import Sets, pool_of, read_pairs, write_table
from dfndr import storage

__all__ = ["RECORD", "do", "folder_of", "photos_sets", "sets_folder"]

RECORD = "record.json"


def folder_of(run: Run, seed: int, root: Path) -> Path:
    """Return where a run of a seed lies; its record is written last."""
    return root / f"seed-{seed}" / run.name


def sets_folder(seed: int, root: Path) -> Path:
    """Return where a seed's sets lie."""
    return root / f"seed-{seed}" / "sets"


def photos_sets(root: Path) -> Path:
    """Return where the shrunk photographs lie, for all seeds."""
    return root / "photos"


def do(run: Run, scale: Scale, seed: int, root: Path) -> None:
    """Do a run and write its record, if it is not there; the sets are. What an interrupted training left is used."""
    folder = folder_of(run, seed, root)
    if (folder / RECORD).exists():
        return
    began = time.perf_counter()
    measured = _measured(run, scale, seed, root)
    record = {"name": run.name, "seed": seed, "run": asdict(run), **measured}
    record["seconds"] = round(time.perf_counter() - began, 1)
    storage.put(str(folder), RECORD, json.dumps(record, indent=1).encode())


def _measured(run: Run, scale: Scale, seed: int, root: Path) -> dict[str, object]:
    sets, folder = Sets(sets_folder(seed, root)), folder_of(run, seed, root)
    if isinstance(run, PhotoFilter):
        return photo_filter(run, scale, seed, photos_sets(root), folder)
    if isinstance(run, Filter):
        return _filter(run, scale, seed, sets, folder)
    return _model(run, scale, seed, sets, folder)


def _filter(given: Filter, scale: Scale, seed: int, sets: Sets, folder: Path) -> dict[str, object]:
    told = train_filter(given, scale, seed, sets, folder.parent)
    scores = scores_of(given, scale, seed, sets, folder.parent)
    pairs = read_pairs(sets.pool)
    storage.put(str(folder), "scores.npy", lambda file: np.save(file, scores))
    kept = kept_rows(scores, pairs["uid"].to_pylist(), FRACTION)
    accuracy = accuracy_of(folder / "model", scale) if given.kind == "clip" else None
    return {**told, "accuracy": accuracy, **qualities(scores, pairs["kind"].to_pylist(), kept)}


def _model(given: Model, scale: Scale, seed: int, sets: Sets, folder: Path) -> dict[str, object]:
    pairs = read_pairs(sets.pool)
    kept = np.arange(len(pairs))
    if given.filter is not None:
        scores = np.load(folder.parent / given.filter.name / "scores.npy")
        kept = kept_rows(scores, pairs["uid"].to_pylist(), given.fraction)
    folder.mkdir(parents=True, exist_ok=True)
    write_table(pairs.take(kept), folder / "kept.parquet")
    paths = [folder / "kept.parquet", *([sets.good] if given.with_good else [])]
    spec = spec_of(scale, seed, samples_seen=round(scale.samples_seen * given.seen))
    train_clip(spec, pool_of(*paths), str(folder / "model"), work=str(folder / "work"))
    accuracy = accuracy_of(folder / "model", scale)
    kinds = Counter(pairs["kind"].take(kept).to_pylist())
    for name in ("model", "work"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return {"accuracy": accuracy, "kept": len(kept), "kinds": dict(sorted(kinds.items()))}
