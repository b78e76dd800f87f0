"""From a layout to a dataset: every row accounted for, vectors checked, shards committed, the manifest last."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr import storage
from dfndr.format.manifest import Manifest, Shard, Step, canonical, write_manifest
from dfndr.format.uid import pack_uids
from dfndr.progress import SILENT, Progress
from dfndr_builders.engines.base import Engine
from dfndr_builders.engines.inline import Inline
from dfndr_builders.imports.check import CheckVectors
from dfndr_builders.imports.join import Beside, run_join
from dfndr_builders.imports.layout import Layout
from dfndr_builders.imports.pictured import FOUND, LookAtPictures, Missing, SettlePictures, with_picture_columns
from dfndr_builders.imports.records import Imported, pool_of, recipe_of, record_of
from dfndr_builders.output import claimed, sweep
from dfndr_builders.phase import made_with, phase_digest, run_phase, step_of
from dfndr_builders.pools.base import Pool
from dfndr_builders.sources import count_files, counts_by_source
from dfndr_builders.stage import Chain, Stage
from dfndr_builders.work import Job, Unit

__all__ = ["Join", "import_dataset"]

_HERE = Inline()


@dataclass(frozen=True)
class Join:
    """Where the pictures and texts of the rows are (`None`: in the files themselves), and what to do without one.

    `thumbnail` is the longest side of the small picture that is kept, 0 for none.
    """

    pool: Pool | None = None
    path: str = ""
    missing: Missing = "keep"
    thumbnail: int = 96


@dataclass(frozen=True)
class _Rows:
    """The rows of a layout but those whose uid came before (positions by shard), with what was found beside them."""

    layout: Layout
    repeats: Mapping[int, frozenset[int]]
    beside: Beside | None = None

    def schema(self) -> pa.Schema:
        given = self.layout.schema()
        return given if self.beside is None else with_picture_columns(given)

    def read(self, unit: Unit) -> Iterator[pa.Table]:
        shard = self.layout.shards()[unit.start]
        left_out, start = self.repeats.get(unit.start, frozenset()), 0
        told = None if self.beside is None else self.beside.told(self.layout.uids(shard))
        for table in self.layout.read(shard):
            rows = len(table)
            if self.beside is not None and told is not None:
                table = self.beside.joined(table, told.slice(start, rows))
            kept = [row for row in range(rows) if start + row not in left_out]
            yield table if len(kept) == rows else table.take(pa.array(kept, pa.int64()))
            start += rows

    def describe(self, unit: Unit) -> str:
        return self.layout.shards()[unit.start].name


def import_dataset(
    layout: Layout,
    given: Imported,
    out: str | os.PathLike[str],
    *,
    join: Join | None = None,
    engine: Engine = _HERE,
    progress: Progress = SILENT,
) -> Manifest:
    """Import a layout into the folder `out`; running it again goes on where it stopped.

    Of rows with one uid the first is kept, the others are dropped as `duplicate`; 16 bytes a row are held for that.
    Rows with a vector that is not what the space promises fail as `vector_not_finite`. Where pictures are at hand, in
    the files or in `join`, rows get their sizes, sha256 and thumbnails, and the manifest's provenance says how many of
    them have none. Raises PoolError and FormatError where the files are no such layout, UsageError where `out` holds
    something else.
    """
    root, shards, how = os.fspath(out), layout.shards(), join or Join()
    listing = [[shard.name.rsplit("/", 1)[-1], shard.size_bytes] for shard in shards]
    told = {"kind": layout.kind, "spaces": [space.to_json() for space in layout.spaces()], **given.to_json()}
    if how.pool is not None or layout.has_pictures:
        told["pictures"] = {"join": how.path, "missing": how.missing, "thumbnail": how.thumbnail}
    recipe_digest = hashlib.sha256(canonical(told)).hexdigest()
    with claimed(root, recipe_digest):
        uids, starts = _uids(layout, progress)
        repeats = _repeats(uids, starts)
        beside = None
        if how.pool is not None:
            wanted = np.unique(uids)
            beside = run_join(root, how.pool, wanted, how.thumbnail, progress=progress, engine=engine)
        records = [] if beside is None else [shard.to_json() for shard in beside.shards]
        digest = phase_digest("import", told=told, listing=listing, beside=records)
        job = Job(root, digest, _Rows(layout, repeats, beside), _stages(layout, how), layout.spaces())
        units = [Unit(number, layout.split(shard), number, number + 1) for number, shard in enumerate(shards)]
        sizes = [shard.size_bytes for shard in shards]
        done = run_phase("import", job, units, progress, sizes=sizes, engine=engine)
        whole = tuple(_with_repeats(shard, len(repeats.get(shard.index, ()))) for shard in done)
        provenance: dict[str, object] = {"phase": digest, "pools": [pool_of(layout)], "made_with": made_with()}
        if "pictures" in told:
            provenance["pictures"] = {"join": how.path, **_pictures(root, whole)}
        manifest = Manifest(
            name=given.name,
            license=given.license,
            recipe=recipe_of(layout, given),
            recipe_digest=recipe_digest,
            seed=0,
            spaces=layout.spaces(),
            encoders={teacher.name: record_of(teacher, layout) for teacher in given.teachers},
            scorers={},
            shards=whole,
            funnel=(_step(root, layout, whole),),
            provenance=provenance,
        )
        write_manifest(root, manifest)
        sweep(root, manifest)
    return manifest


def _stages(layout: Layout, how: Join) -> Stage:
    """Return the stages that rows go through: their vectors are looked at, and their pictures where there are any."""
    stages: list[Stage] = [CheckVectors(layout.spaces())]
    if how.pool is None and layout.has_pictures:
        stages.append(LookAtPictures(how.thumbnail))
    if how.pool is not None or layout.has_pictures:
        stages.append(SettlePictures(how.missing))
    return Chain(tuple(stages))


def _pictures(root: str, shards: Sequence[Shard]) -> dict[str, int]:
    """Return how many rows that are there have a picture, and how many have none, by what is wrong."""
    import pyarrow.parquet as pq

    found: Counter[str] = Counter()
    for shard in shards:
        with storage.open_read(storage.join(root, shard.files["rows"].path)) as file:
            found.update(pq.read_table(file, columns=["picture"])["picture"].to_pylist())
    return {FOUND: found.pop(FOUND, 0), **dict(sorted(found.items()))}


def _uids(layout: Layout, progress: Progress) -> tuple[npt.NDArray[np.bytes_], list[int]]:
    """Return the uids of all rows, 16 bytes each, and where each shard's begin."""
    packed, starts = [], [0]
    with progress.task("read uids", None) as task:
        for shard in layout.shards():
            packed.append(pack_uids(layout.uids(shard), shard.name))
            starts.append(starts[-1] + len(packed[-1]))
            task.advance(len(packed[-1]))
    uids = np.concatenate(packed) if packed else np.empty((0, 16), dtype=np.uint8)
    return uids.view("S16").reshape(-1), starts


def _repeats(uids: npt.NDArray[np.bytes_], starts: Sequence[int]) -> dict[int, frozenset[int]]:
    """Return, by shard, the positions of rows whose uid stood in a row before."""
    _, firsts = np.unique(uids, return_index=True)
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
