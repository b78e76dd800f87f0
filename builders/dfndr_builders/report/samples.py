"""Some of the rows that a build dropped, kept with small pictures so that the report can show them.

A dataset holds no picture of what it dropped, and the pool may be far away by the time somebody asks. So the build
picks a few rows for each reason, from a few shards of the pool alone, and reads those once more.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import DataError
from dfndr.format.shard import parquet_errors, write_rows
from dfndr.images import BadImage, decode, thumbnail
from dfndr_builders.pools.base import Pool
from dfndr_builders.stage import good_rows

__all__ = ["AUDIT", "DROPPED", "SAMPLES", "choose", "collect"]

DROPPED = "dropped_samples.parquet"
"""What a selection leaves: a sample of the dropped rows (shard, row, uid, score, reason)."""

AUDIT = "audit.parquet"
"""What a selection leaves: who was removed because of whom (uid, reason, kept_uid, kept_shard, kept_row)."""

SAMPLES = "samples.parquet"
"""What `collect` leaves: the chosen rows as they were scored, with reason, kept_uid and thumbnail."""

_CHOSEN = pa.schema(
    [
        ("shard", pa.int32()),
        ("row", pa.int32()),
        ("uid", pa.string()),
        ("reason", pa.string()),
        ("kept_uid", pa.string()),
        ("selected_by", pa.float32()),
    ]
)
_LONGEST = 128
_EACH, _BELOW, _LOWEST = 8, 16, 8


def choose(selection: str, *, shards: int = 32) -> pa.Table:
    """Return the rows to show: shard, row, uid, reason, kept_uid, selected_by (the score, null where there is none).

    Of each reason 8, but of `not_selected` the 16 nearest below the cut and the 8 lowest. `kept_uid` is the row that a
    duplicate was removed because of, which comes along with a null reason. The removed are from at most `shards`
    shards and those they gave way to from as many others. The choice depends on what was selected alone.
    """
    path = storage.join(selection, DROPPED)
    if not storage.exists(path):
        return _CHOSEN.empty_table()
    wanted = _wanted(_read(path).to_pylist())
    few = _few_shards([(place[1], group) for group, rows in wanted.items() for place in rows], shards)
    taken = [(group, place) for group, rows in wanted.items() for place in rows if place[1] in few]
    kept = _kept_of(storage.join(selection, AUDIT), {place[3] for _, place in taken})
    rows: list[dict[str, object]] = []
    for group, (score, shard, row, uid) in taken:
        kept_uid = kept[uid, group][0] if (uid, group) in kept else None
        reason = "not_selected" if group in ("below", "lowest") else group
        about = {"reason": reason, "kept_uid": kept_uid, "selected_by": score}
        rows.append({"shard": shard, "row": row, "uid": uid, **about})
    partners = {kept[uid, group] for group, (*_, uid) in taken if (uid, group) in kept}
    places = sorted((shard, row, uid) for uid, shard, row in partners if shard is not None and row is not None)
    near = [place for place in places if place[0] in few]
    far = [place for place in places if place[0] not in few]
    more = _few_shards([(place[0], "kept") for place in far], shards)
    rows += [{"shard": shard, "row": row, "uid": uid} for shard, row, uid in [*near, *far] if shard in few | more]
    table = pa.Table.from_pylist(rows, _CHOSEN)
    return table.sort_by([("shard", "ascending"), ("row", "ascending"), ("reason", "ascending")])


Place = tuple[float | None, int, int, str]
"""Score, shard, row, uid."""


def _wanted(rows: Sequence[dict[str, object]]) -> dict[str, list[Place]]:
    """Return the rows to show by group: a reason, or `below` and `lowest` for those that were not selected."""
    groups: dict[str, list[Place]] = {}
    for row in rows:
        score = row.get("score")
        place = (score if isinstance(score, float) else None, int(str(row["shard"])), int(str(row["row"])))
        groups.setdefault(str(row["reason"]), []).append((*place, str(row["uid"])))
    found = {}
    for reason, places in sorted(groups.items()):
        if reason == "not_selected":
            by_score = sorted(
                {place for place in places if place[0] is not None}, key=lambda place: (place[0], place[3])
            )
            found["below"] = by_score[-_BELOW:]
            found["lowest"] = by_score[:-_BELOW][:_LOWEST]
        else:
            found[reason] = sorted(set(places), key=lambda place: _hash(place[3]))[:_EACH]
    return found


def _few_shards(places: Iterable[tuple[int, str]], limit: int) -> set[int]:
    """Return at most `limit` shards, those first that bring most of what is rare so far; ties by number."""
    by_shard: dict[int, Counter[str]] = {}
    for shard, group in places:
        by_shard.setdefault(shard, Counter())[group] += 1
    chosen: set[int] = set()
    have: Counter[str] = Counter()
    while by_shard and len(chosen) < limit:
        gain = {
            shard: sum(count / (1 + have[group]) for group, count in groups.items())
            for shard, groups in by_shard.items()
        }
        best = min(gain, key=lambda shard: (-gain[shard], shard))
        have.update(by_shard.pop(best))
        chosen.add(best)
    return chosen


def _hash(uid: str) -> str:
    return hashlib.md5(uid.encode(), usedforsecurity=False).hexdigest()


def _read(path: str) -> pa.Table:
    with storage.open_read(path) as source, parquet_errors(path):
        return pq.read_table(source)


def _is_whole(path: str) -> bool:
    """Say whether a file is there that was written to its end."""
    try:
        with storage.open_read(path) as source, parquet_errors(path):
            return "thumbnail" in pq.read_schema(source).names
    except DataError:
        return False


def _kept_of(path: str, uids: set[str]) -> dict[tuple[str, str], tuple[str, int | None, int | None]]:
    """Return (kept uid, its shard, its row) by (removed uid, reason), of some removed uids; the audit is streamed."""
    found: dict[tuple[str, str], tuple[str, int | None, int | None]] = {}
    if not uids or not storage.exists(path):
        return found
    wanted = pa.array(sorted(uids))
    with storage.open_read(path) as source, parquet_errors(path), pq.ParquetFile(source) as file:
        there = file.schema_arrow.names
        columns = [name for name in ("uid", "reason", "kept_uid", "kept_shard", "kept_row") if name in there]
        for batch in file.iter_batches(columns=columns):
            for row in batch.filter(pc.is_in(batch["uid"], wanted)).to_pylist():
                place = (row["kept_uid"], row.get("kept_shard"), row.get("kept_row"))
                found.setdefault((row["uid"], row["reason"]), place)
    return found


def collect(pool: Pool, scores: Dataset, chosen: pa.Table, root: str) -> None:
    """Read the chosen rows from the pool and write `root/samples.parquet`; nothing is done where it is there, whole.

    Its columns are those of the scores, reason, kept_uid, selected_by and thumbnail (at most 128 pixels a side). A row
    that the pool no longer has, or that cannot be decoded, is written without a thumbnail.
    """
    if _is_whole(storage.join(root, SAMPLES)):
        return
    tables = [_empty(scores)] if scores.manifest.shards else []
    for shard in dict.fromkeys(chosen["shard"].to_pylist()):
        here = chosen.filter(pc.equal(chosen["shard"], shard))
        stored = scores.shards[shard].files["rows"]
        scored = pq.read_table(str(scores.local_file(stored))).take(here["row"])
        pictures = _pictures(
            pool, shard, dict(zip(scored["uid"].to_pylist(), scored["sha256"].to_pylist(), strict=True))
        )
        for name in ("reason", "kept_uid", "selected_by"):
            scored = scored.append_column(name, here[name])
        small = pa.array([pictures.get(uid) for uid in scored["uid"].to_pylist()], pa.binary())
        tables.append(scored.append_column("thumbnail", small))
    if tables:
        write_rows(root, SAMPLES, pa.concat_tables([table.cast(tables[0].schema) for table in tables]))


def _empty(scores: Dataset) -> pa.Table:
    more = [_CHOSEN.field(name) for name in ("reason", "kept_uid", "selected_by")]
    return pa.schema([*scores.schema(), *more, pa.field("thumbnail", pa.binary())]).empty_table()


def _pictures(pool: Pool, shard: int, hashes: dict[str, str]) -> dict[str, bytes]:
    """Return small pictures by uid; reading stops where the last one is found."""
    found: dict[str, bytes] = {}
    waiting = set(hashes)
    for table in pool.read(pool.shards()[shard]):
        for row in good_rows(table):
            uid = table["uid"][row].as_py()
            if uid not in waiting:
                continue
            image = table["image"][row].as_py()
            if hashlib.sha256(image).hexdigest() != hashes[uid]:
                continue
            waiting.discard(uid)
            try:
                found[uid] = thumbnail(decode(image), _LONGEST)
            except BadImage:
                continue
        if not waiting:
            break
    return found
