"""Taking rows out: a list of what is gone, a log that names nobody, and a manifest of what is left.

No shard is written again, so it takes as long as reading the uids. Files come first, the manifest last: a run that
was killed has done nothing, and doing it again is harmless.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr.format.manifest import Counts, Manifest, Shard, Step
from dfndr.format.removed import (
    LOG,
    MAX_REASON,
    ROWS,
    Entry,
    Removal,
    hashed_uid,
    read_log,
    write_log,
    write_tombstones,
)
from dfndr_builders.output import sweep
from dfndr_builders.removing.folder import commit, held, today
from dfndr_builders.sources import OTHERS

__all__ = ["Removed", "remove"]


@dataclass(frozen=True)
class Removed:
    """What became of a list of uids: rows taken out now, uids taken out before, and uids that no row has.

    `stored` counts the rows that are gone and that files still hold; `is_card_new` says whether README.md was written.
    """

    root: str
    digest: str
    rows: int
    removed: int
    already: tuple[str, ...]
    unknown: tuple[str, ...]
    stored: int
    is_card_new: bool

    def to_json(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.root}: {self.removed:,} rows removed, {self.rows:,} left; digest {self.digest}"]
        if self.already:
            lines.append(f"{len(self.already):,} uids were removed before")
        if self.unknown:
            lines.append(f"{len(self.unknown):,} uids are of no row here, such as {self.unknown[0]}")
        if self.stored:
            lines.append(
                f"files still hold {self.stored:,} removed rows, for plain Parquet readers to see: `dfndr compact` "
                "takes them out"
            )
        if self.removed and not self.is_card_new:
            lines.append("README.md is not as a build writes it, and was left as it is: `dfndr card` prints a new one")
        return "\n".join(lines)


def remove(
    root: str | os.PathLike[str], uids: Collection[str], *, reason: str = "", date: str | None = None
) -> Removed:
    """Take the rows of some uids out of a dataset in a local folder; `date` is today's, in UTC, if not given.

    Every reader of dfndr passes them over from then on; files hold them until `compact`. Raises UsageError for
    a reason of more than 500 characters and for what is no finished dataset in a local folder.
    """
    if len(reason) > MAX_REASON or not reason.isprintable():
        do = "Say it more briefly, on one line; it is published with the dataset."
        raise UsageError(
            "reason", expected=f"at most {MAX_REASON} printable characters", found=f"{reason!r:.80}", do=do
        )
    wanted = {uid.lower() for uid in uids}
    with held(os.fspath(root)) as dataset:
        found, sources = _found(dataset, wanted)
        log = _log(dataset)
        known = {entry.uid_sha256 for entry in log}
        rest = sorted(wanted - {uid for _, _, uid in found})
        already = tuple(uid for uid in rest if hashed_uid(uid) in known)
        unknown = tuple(uid for uid in rest if hashed_uid(uid) not in known)
        manifest, is_card_new = dataset.manifest, False
        if found:
            removal = Removal(dataset.digest, date or today(), reason, len(found))
            manifest = _without(dataset, found, sources, removal, log)
            is_card_new = commit(dataset, manifest)
        sweep(dataset.root, manifest, folders=("removed",))
        counts = (len(manifest), len(found), already, unknown, manifest.removed, is_card_new)
        return Removed(dataset.root, manifest.digest, *counts)


def _found(dataset: Dataset, wanted: Collection[str]) -> tuple[list[tuple[int, int, str]], Counter[str]]:
    """Return shard, row in its files and uid of each wanted row that is there, and how many of each source they are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found: list[tuple[int, int, str]] = []
    sources: Counter[str] = Counter()
    names = ["uid", *(["source"] if dataset.shards and "source" in dataset.schema().names else [])]
    values, first = pa.array(sorted(wanted), pa.string()), 0
    for table in dataset.tables(names):
        here = pc.indices_nonzero(pc.is_in(table["uid"], values)).to_numpy()
        shards, rows = dataset.places.within(here.astype(np.int64) + first)
        told = table.take(here).to_pylist()
        found += [
            (dataset.shards[shard].index, row, told_row["uid"])
            for shard, row, told_row in zip(shards.tolist(), rows.tolist(), told, strict=True)
        ]
        sources.update(str(told_row.get("source") or "") for told_row in told)
        first += len(table)
    return found, sources


def _log(dataset: Dataset) -> list[Entry]:
    stored = dataset.manifest.files.get(LOG)
    return [] if stored is None else read_log(str(dataset.local_file(stored)))


def _without(
    dataset: Dataset,
    found: Sequence[tuple[int, int, str]],
    sources: Mapping[str, int],
    removal: Removal,
    log: Sequence[Entry],
) -> Manifest:
    """Write the two lists, and return the manifest of what is left."""
    given, gone = dataset.manifest, dataset.removed
    before: list[tuple[int, int, str]] = []
    if gone is not None:
        places = [(shard, int(row)) for shard in sorted(gone.rows) for row in gone.rows[shard]]
        before = [(*place, uid) for place, uid in zip(places, gone.uids.to_pylist(), strict=True)]
    entries = {Entry(hashed_uid(uid), removal.date, removal.reason) for _, _, uid in found}
    files = {
        ROWS: write_tombstones(dataset.root, [*before, *found]),
        LOG: write_log(dataset.root, [*log, *entries]),
    }
    counts = Counter(shard for shard, _, _ in found)
    return replace(
        given,
        shards=tuple(_less(shard, counts[shard.index]) for shard in given.shards),
        funnel=_funnel(given.funnel, len(found), sources),
        files={**given.files, **files},
        removals=(*given.removals, removal),
    )


def _less(shard: Shard, count: int) -> Shard:
    if not count:
        return shard
    dropped = {**shard.dropped, "removed": shard.dropped.get("removed", 0) + count}
    return replace(shard, rows=shard.rows - count, removed=shard.removed + count, dropped=dropped)


def _funnel(funnel: tuple[Step, ...], count: int, sources: Mapping[str, int]) -> tuple[Step, ...]:
    """Return the funnel with what was removed now; all that ever was is one last step, named `remove`."""
    if not funnel:
        return ()
    last = funnel[-1]
    if last.name != "remove":
        rows = {name: Counts(part.rows_out, part.rows_out) for name, part in last.sources.items() if part.rows_out}
        last = Step("remove", last.rows_out, last.rows_out, sources=rows)
        funnel = (*funnel, last)
    gone: Counter[str] = Counter()
    for name, rows_gone in sources.items():
        gone[name if name in last.sources else OTHERS] += rows_gone
    told = {name: _fewer(part, gone[name]) for name, part in last.sources.items()}
    whole = _fewer(Counts(last.rows_in, last.rows_out, last.dropped), count)
    return (*funnel[:-1], Step("remove", whole.rows_in, whole.rows_out, whole.dropped, sources=told))


def _fewer(counts: Counts, gone: int) -> Counts:
    if not gone:
        return counts
    dropped = {"removed": counts.dropped.get("removed", 0) + gone}
    return replace(counts, rows_out=counts.rows_out - gone, dropped=dropped)
