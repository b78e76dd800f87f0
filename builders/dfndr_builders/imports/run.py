"""From a layout to a dataset: every row accounted for, vectors checked, shards committed, the manifest last."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa

from dfndr.format.manifest import Manifest, Shard, Step, canonical, write_manifest
from dfndr.format.schema import EncoderRecord, Preprocess
from dfndr.format.uid import pack_uids
from dfndr.progress import SILENT, Progress
from dfndr_builders.imports.check import CheckVectors
from dfndr_builders.imports.layout import Layout, Teacher
from dfndr_builders.output import claimed, sweep
from dfndr_builders.phase import made_with, phase_digest, run_phase, step_of
from dfndr_builders.sources import count_files, counts_by_source
from dfndr_builders.stage import Stage
from dfndr_builders.work import Job, Unit

__all__ = ["Imported", "import_dataset"]

_UNKNOWN = Preprocess((0, 0), (), (), "unknown", "unknown")


@dataclass(frozen=True)
class Imported:
    """What a layout's files do not say: the dataset's name and licence, and which encoders gave the vectors."""

    name: str
    license: str
    teachers: tuple[Teacher, ...]


@dataclass(frozen=True)
class _Rows:
    """The rows of a layout but those whose uid came before: positions by shard."""

    layout: Layout
    repeats: Mapping[int, frozenset[int]]

    def schema(self) -> pa.Schema:
        return self.layout.schema()

    def read(self, unit: Unit) -> Iterator[pa.Table]:
        left_out, start = self.repeats.get(unit.start, frozenset()), 0
        for table in self.layout.read(self.layout.shards()[unit.start]):
            kept = [row for row in range(len(table)) if start + row not in left_out]
            yield table if len(kept) == len(table) else table.take(pa.array(kept, pa.int64()))
            start += len(table)


def import_dataset(
    layout: Layout, given: Imported, out: str | os.PathLike[str], *, progress: Progress = SILENT
) -> Manifest:
    """Import a layout into the folder `out`; running it again goes on where it stopped.

    Of rows with one uid the first is kept, the others are dropped as `duplicate`; 16 bytes a row are held for that.
    Rows with a vector that is not what the space promises fail as `vector_not_finite`. Raises PoolError and FormatError
    where the files are no such layout, UsageError where `out` holds something else.
    """
    root, shards = os.fspath(out), layout.shards()
    listing = [[shard.name.rsplit("/", 1)[-1], shard.size_bytes] for shard in shards]
    told = {"kind": layout.kind, "spaces": [space.to_json() for space in layout.spaces()], **asdict(given)}
    recipe_digest = hashlib.sha256(canonical(told)).hexdigest()
    with claimed(root, recipe_digest):
        digest = phase_digest("import", told=told, listing=listing)
        repeats = _repeats(layout, progress)
        stage: Stage = CheckVectors(layout.spaces())
        job = Job(root, digest, _Rows(layout, repeats), stage, layout.spaces())
        units = [Unit(number, "train", number, number + 1) for number in range(len(shards))]
        sizes = [shard.size_bytes for shard in shards]
        done = run_phase("import", job, units, progress, sizes=sizes)
        whole = tuple(_with_repeats(shard, len(repeats.get(shard.index, ()))) for shard in done)
        manifest = Manifest(
            name=given.name,
            license=given.license,
            recipe=_recipe(layout, given),
            recipe_digest=recipe_digest,
            seed=0,
            spaces=layout.spaces(),
            encoders={teacher.name: _record(teacher, layout) for teacher in given.teachers},
            scorers={},
            shards=whole,
            funnel=(_step(root, layout, whole),),
            provenance={"phase": digest, "pools": [_pool(layout)], "made_with": made_with()},
        )
        write_manifest(root, manifest)
        sweep(root, manifest)
    return manifest


def _repeats(layout: Layout, progress: Progress) -> dict[int, frozenset[int]]:
    """Return, by shard, the positions of rows whose uid stood in a row before."""
    packed, starts = [], [0]
    with progress.task("read uids", None) as task:
        for shard in layout.shards():
            packed.append(pack_uids(layout.uids(shard), shard.name))
            starts.append(starts[-1] + len(packed[-1]))
            task.advance(len(packed[-1]))
    uids = np.concatenate(packed) if packed else np.empty((0, 16), dtype=np.uint8)
    _, firsts = np.unique(uids.view("V16").ravel(), return_index=True)
    is_first = np.zeros(len(uids), dtype=bool)
    is_first[firsts] = True
    found = {
        number: frozenset(np.flatnonzero(~is_first[start:stop]).tolist())
        for number, (start, stop) in enumerate(pairwise(starts))
    }
    return {number: rows for number, rows in found.items() if rows}


def _with_repeats(shard: Shard, repeats: int) -> Shard:
    return replace(shard, rows_in=shard.rows_in + repeats, dropped={"duplicate": repeats}) if repeats else shard


def _step(root: str, layout: Layout, shards: Sequence[Shard]) -> Step:
    """Return the funnel's one line; all rows are of one source."""
    counted = count_files(root, shards)
    repeats = sum(shard.dropped.get("duplicate", 0) for shard in shards)
    if counted is None:
        return step_of("import", shards)
    if repeats:
        dropped = {"source": layout.source, "outcome": "dropped", "reason": "duplicate", "count": repeats}
        counted = pa.concat_tables([counted, pa.Table.from_pylist([dropped], schema=counted.schema)])
    return step_of("import", shards, counts_by_source(counted))


def _record(teacher: Teacher, layout: Layout) -> EncoderRecord:
    """Return what is known of an encoder: what it is called. No hash of its weights stands in such files."""
    dims = {space.dim for space in layout.spaces() if space.encoder == teacher.name}
    return EncoderRecord(
        name=teacher.name,
        model=teacher.model,
        pretrained=teacher.pretrained,
        weights_sha256="",
        dim=dims.pop(),
        context_length=0,
        preprocess=_UNKNOWN,
        precision="fp32",
        logit_scale=teacher.logit_scale,
        license=teacher.license,
        batch_size=64,
        threads=2,
        distillation_scale=teacher.distillation_scale,
    )


def _pool(layout: Layout) -> dict[str, object]:
    given = {"kind": layout.kind, "path": layout.path, "source": layout.source, "license": layout.license}
    return {name: value for name, value in given.items() if value is not None}


def _recipe(layout: Layout, given: Imported) -> str:
    """Return what was imported as TOML, for people: a build has no use for it."""

    def lines(values: Mapping[str, object]) -> list[str]:
        return [f"{name} = {_toml(value)}" for name, value in values.items() if value is not None]

    text = [f"# {layout.kind}, imported", *lines({"name": given.name, "license": given.license}), "", "[import]"]
    text += lines(_pool(layout))
    for teacher in given.teachers:
        text += ["", "[[import.encoder]]", *lines(asdict(teacher))]
    return "\n".join(text) + "\n"


def _toml(value: object) -> str:
    """Return a string or a number as TOML: JSON's escapes are TOML's."""
    return canonical(value).decode() if isinstance(value, str) else repr(value)
