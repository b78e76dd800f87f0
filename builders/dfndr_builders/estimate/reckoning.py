"""An estimate: all that can be said of a build before it runs, in one value, as JSON and in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dfndr.progress import SILENT, Progress
from dfndr_builders.dfn.cost import cost_of
from dfndr_builders.estimate.disk import disk_of
from dfndr_builders.estimate.forward import Passes, passes_of
from dfndr_builders.estimate.pool_size import PoolSize, size_of_pools
from dfndr_builders.estimate.probe import Probe, probe
from dfndr_builders.recipe import Recipe
from dfndr_builders.sections.endpoint import Endpoint

__all__ = ["Asked", "Estimate", "estimate"]


@dataclass(frozen=True)
class Asked:
    """What an estimate is made for: rows where the pool cannot tell them, how many workers, with a probe or without."""

    rows: int | None = None
    workers: int = 1
    probe: bool = False
    device: str = "auto"


@dataclass(frozen=True)
class Estimate:
    """Rows, units, bytes on disk by name, forward passes, and with a probe the seconds of every phase."""

    pool: PoolSize
    kept: int | None = None
    shards: int | None = None
    passes: tuple[Passes, ...] = ()
    requests: Mapping[str, int] = field(default_factory=dict)
    """To servers that write captions, by captioner, where each caption is asked for once."""
    training_flops: float | None = None
    disk: Mapping[str, int | None] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    workers: int = 1
    worker_seconds: Mapping[str, float] = field(default_factory=dict)
    probe: Probe | None = None

    @property
    def gpu_hours(self) -> float | None:
        """Hours of one GPU for all forward passes; None where a model's operations are not known."""
        hours = [one.gpu_hours for one in self.passes]
        return None if None in hours else sum(one for one in hours if one is not None)

    @property
    def disk_bytes(self) -> int:
        """All that is known of."""
        return sum(size or 0 for size in self.disk.values())

    def to_json(self) -> dict[str, object]:
        """Return it as JSON."""
        return {**asdict(self), "gpu_hours": self.gpu_hours, "disk_bytes": self.disk_bytes}


def estimate(recipe: Recipe, folder: Path, asked: Asked = Asked(), *, progress: Progress = SILENT) -> Estimate:
    """Reckon what a recipe's build would take; raises PoolError for a probe of a pool that is not there."""
    pool = size_of_pools(recipe.pool, folder, recipe.seed)
    if asked.rows is not None:
        pool = PoolSize(pool.shards, pool.size_bytes, asked.rows, False, pool.text_bytes)
    measured = probe(recipe, folder, device=asked.device, progress=progress) if asked.probe else None
    if pool.rows is None:
        return Estimate(pool, probe=measured)
    kept = _kept(recipe, pool.rows)
    shards = _shards(recipe, kept)
    passes = passes_of(recipe, folder, rows=pool.rows, kept=kept)
    text_bytes = measured.text_bytes if measured else pool.text_bytes or 60.0
    thumbnail_bytes = measured.thumbnail_bytes if measured else None
    sizes = {"rows": pool.rows, "kept": kept}
    disk = disk_of(recipe, folder, **sizes, text_bytes=text_bytes, thumbnail_bytes=thumbnail_bytes)
    seconds = _seconds(recipe, measured, passes, pool.rows, kept) if measured else {}
    units = {"score": pool.shards or 1, "build": shards}
    return Estimate(
        pool,
        kept,
        shards,
        passes,
        {one.name: kept * one.requests_each for one in recipe.caption if isinstance(one, Endpoint)},
        _training_flops(recipe),
        disk,
        seconds,
        asked.workers,
        {phase: _shared(one, units.get(phase, 1), asked.workers) for phase, one in seconds.items()},
        measured,
    )


def _kept(recipe: Recipe, rows: int) -> int:
    """Return how many rows are kept at most: rules, duplicates, a quota or a threshold may leave fewer."""
    select = recipe.select
    if select.count is not None:
        return min(select.count, rows)
    return rows if select.top_fraction is None else math.floor(rows * select.top_fraction)


def _shards(recipe: Recipe, kept: int) -> int:
    """Return how many shards the kept rows make, in two splits."""
    held_out = round(kept * recipe.output.validation)
    return sum(-(-rows // recipe.output.rows_per_shard) for rows in (kept - held_out, held_out))


def _training_flops(recipe: Recipe) -> float | None:
    """Return what training the recipe's filter takes, where the samples seen are given."""
    if recipe.dfn is None:
        return None
    stages = [recipe.dfn, *([recipe.dfn.finetune] if recipe.dfn.finetune else [])]
    costs = [cost_of(recipe.dfn.model, stage.samples_seen).flops for stage in stages if stage.samples_seen]
    return sum(one or 0.0 for one in costs) or None


def _seconds(recipe: Recipe, measured: Probe, passes: tuple[Passes, ...], rows: int, kept: int) -> dict[str, float]:
    """Return the seconds of each phase that goes over rows, one worker doing one thing after the other."""
    found = {
        "score": rows * (measured.read_s + measured.measure_s),
        "build": kept * (measured.read_s + measured.thumbnail_s),
    }
    if recipe.output.thumbnail:
        found["build"] += kept * measured.decode_s
    for one in passes:
        rate = measured.models.get(one.model)
        if rate is not None:
            of_views = rate.view_s is not None and one.is_space
            image_s = rate.view_s if of_views and rate.view_s is not None else rate.image_s
            found[one.phase] += one.images * image_s + one.texts * rate.text_s + rate.start_s
    return {phase: round(seconds, 1) for phase, seconds in found.items()}


def _shared(seconds: float, units: int, workers: int) -> float:
    """Return the seconds where workers share units: the last round may leave some of them idle."""
    return round(seconds * -(-units // min(workers, units)) / units, 1) if units else 0.0
