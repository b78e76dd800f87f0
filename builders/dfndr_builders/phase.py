"""A phase: one job over its units under a digest of all it depends on; run to its end, or found finished."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version

from dfndr import storage
from dfndr.encoder import Encoder, open_encoder
from dfndr.errors import DataError
from dfndr.format.manifest import Counts, Manifest, Shard, Step, canonical
from dfndr.format.schema import FORMAT, EncoderRecord
from dfndr.models import EncoderSpec
from dfndr.progress import Progress, Task
from dfndr_builders.engines.base import Engine
from dfndr_builders.engines.inline import Inline
from dfndr_builders.timings import Timing, Timings
from dfndr_builders.work import Finished, Job, Unit, recorded

__all__ = ["STAGES", "Model", "content_digest", "made_with", "phase_digest", "run_phase", "step_of"]

STAGES = 5
"""Raised whenever a stage, a pool or the rendering of glyphs starts to give other bytes for the same recipe."""

_TOLD_ABOVE_S = 1.0
_HERE = Inline()


@dataclass(frozen=True)
class Model:
    """A model of the recipe: how to open it here, and the words under which it is recorded everywhere.

    `config` is where in the dataset a config file of the recipe's own was copied to, "" for a built-in model;
    `distillation_scale` is what the recipe wants to be recorded.
    """

    spec: EncoderSpec
    pretrained: str
    config: str = ""
    distillation_scale: float | None = None

    def open(self) -> Encoder:
        """Load it, once per process."""
        return open_encoder(self.spec)

    @property
    def record(self) -> EncoderRecord:
        """What the manifest says of it."""
        record = self.open().record
        model = self.config or record.model
        return replace(record, pretrained=self.pretrained, model=model, distillation_scale=self.distillation_scale)


def phase_digest(kind: str, **parts: object) -> str:
    """Return the digest of a phase: of its kind, of everything it depends on, and of the version of the stages."""
    return hashlib.sha256(canonical({"format": FORMAT, "stages": STAGES, "kind": kind, **parts})).hexdigest()


def content_digest(manifest: Manifest) -> str:
    """Return the digest of what a phase gave, which the next one depends on: its shards, and under which digest.

    Its manifest's own digest will not do: it also covers the recipe's name, comments, and what later phases are told.
    """
    given = [manifest.provenance["phase"], [shard.to_json() for shard in manifest.shards]]
    return hashlib.sha256(canonical(given)).hexdigest()


@dataclass(frozen=True)
class _Noted:
    """A step beside which something is shown whenever it comes on."""

    task: Task
    told: Callable[[], str]

    def advance(self, count: int = 1) -> None:
        self.task.advance(count)
        self.task.note(self.told())

    def expect(self, total: int) -> None:
        self.task.expect(total)

    def note(self, text: str) -> None:
        self.task.note(text)


def run_phase(
    name: str,
    job: Job,
    units: Sequence[Unit],
    progress: Progress,
    *,
    sizes: Sequence[int | None] = (),
    timings: Timings | None = None,
    note: Callable[[], str] | None = None,
    engine: Engine = _HERE,
) -> tuple[Shard, ...]:
    """Do the units that are not recorded yet and return every unit's shard, in order.

    `sizes` are the units' sizes in bytes, from which the number of rows is estimated as long as it is not known;
    `timings` is where to write down how long it took; `note` gives what to show beside the step; `engine` does the
    units.
    """
    if not engine.shared:  # files that look like a killed build's may be those of another task's that lives
        storage.sweep_temporary(job.root)
    done = recorded(job.root, job.phase, units)
    todo = [unit for unit in units if unit.index not in done]
    if done and todo:
        progress.say(f"{name}: {len(done)} of {len(units)} shards are there already; {len(todo)} to do")
    known = None if sizes else sum(unit.stop - unit.start for unit in todo)
    timed = timings.timed(name, job.phase) if timings else nullcontext(Timing(name, job.phase))
    with timed as timing, progress.task(name, total=known) as task:
        weights = {unit.index: size or 1 for unit, size in zip(units, sizes or [1] * len(units), strict=True)}
        rows, weight, whole = 0, 0, sum(weights[unit.index] for unit in todo)
        with closing(engine.run(job, todo, _Noted(task, note) if note else task)) as shards:
            for shard in shards:
                if isinstance(shard, Finished):
                    timing.spent, shard = timing.spent + shard.spent, shard.record()
                done[shard.index] = shard
                rows, weight = rows + shard.rows_in, weight + weights[shard.index]
                timing.rows, timing.units = rows, len(todo)
                if known is None:
                    task.expect(rows * whole // weight)
    if timing.spent.whole >= _TOLD_ABOVE_S:
        progress.say(f"{name}: {timing.spent.in_words()}")
    return tuple(done[unit.index] for unit in units)


def step_of(name: str, shards: Sequence[Shard], sources: Mapping[str, Counts] | None = None) -> Step:
    """Return the funnel's line for a phase: its shards' counts added up, and what its files hold of each source.

    Raises DataError where a row was lost.
    """

    def total(reasons: Sequence[Mapping[str, int]]) -> dict[str, int]:
        names = sorted({name for counts in reasons for name in counts})
        return {name: sum(counts.get(name, 0) for counts in reasons) for name in names}

    step = Step(
        name,
        sum(shard.rows_in for shard in shards),
        sum(shard.rows for shard in shards),
        total([shard.dropped for shard in shards]),
        total([shard.failed for shard in shards]),
        sources or {},
    )
    accounted = step.rows_out + sum(step.dropped.values()) + sum(step.failed.values())
    if step.rows_in != accounted:
        do = "Report this: rows were lost."
        raise DataError(f"step {name}", expected=f"{step.rows_in} rows", found=f"{accounted} accounted for", do=do)
    return step


def made_with() -> dict[str, str]:
    """Return the versions of the libraries that can change a byte of what is written."""
    found = {}
    for package in ("dfndr", "numpy", "open_clip_torch", "pillow", "pyarrow", "torch"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
