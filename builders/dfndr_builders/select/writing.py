"""What a selection leaves on disk: kept rows by split, who went because of whom, and some of the dropped rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from dfndr import storage
from dfndr.format.schema import SPLITS
from dfndr.storage import Stored
from dfndr_builders.select.database import literal, rows_of
from dfndr_builders.select.frame import SHARD

__all__ = ["write_audit", "write_kept", "write_samples"]

_PIECE = 100_000
_PLACE = [("shard", pa.int32()), ("row", pa.int32())]
_FEW = ["shard", "reason"]  # columns of few values; a dictionary of uids takes time and room
_SAMPLED, _DRAWN_FROM = 16, 1024
_NEAREST, _LOWEST = 32, 8


def write_kept(
    database: Any,  # noqa: ANN401
    out: str,
    *,
    ranges: Sequence[range],
    floats: Sequence[str],
    deciles: Sequence[str],
) -> list[Stored]:
    """Write `<split>.parquet` from the table `kept`, in the pool's order; shards are sorted range by range."""
    schema = pa.schema([*_PLACE, ("uid", pa.string()), *((name, pa.float32()) for name in ["score", *floats])])
    for name in deciles:
        schema = schema.append(pa.field(f"{name}_decile", pa.int8()))
    made = [*(f"e{number}" for number in range(len(floats))), *(f"r{number}" for number in range(len(deciles)))]
    columns = ", ".join(["shard", "row", "uid", "score", *made])
    stored = []
    for place, split in enumerate(SPLITS):
        query = f"SELECT {columns} FROM kept WHERE split = {place}"
        parts = [
            f"{query} AND place BETWEEN {shards[0] * SHARD} AND {shards[-1] * SHARD + SHARD - 1} ORDER BY place"
            for shards in ranges
        ]
        stored.append(_put(database, out, f"{split}.parquet", parts, schema))
    return stored


def write_audit(database: Any, out: str) -> Stored:  # noqa: ANN401
    """Write `audit.parquet`: of each duplicate the row that stayed instead, in the order of groups and the pool's."""
    schema = pa.schema([(name, pa.string()) for name in ("uid", "reason", "kept_uid")] + _PLACE)
    for name in ("kept_shard", "kept_row"):
        schema = schema.append(pa.field(name, pa.int32()))
    query = f"SELECT uid, reason, kept_uid, {_place('place', '')}, {_place('kept_place', 'kept_')} FROM audit"
    return _put(database, out, "audit.parquet", [f"{query} ORDER BY number, place"], schema)


def write_samples(database: Any, out: str, *, reasons: Sequence[str], counts: dict[int, int], score: str) -> Stored:  # noqa: ANN401
    """Write `dropped_samples.parquet`: some of the rows that `final` drops, in the order of reasons and the pool's.

    Of each reason 16, drawn by a hash of their place in the pool; and of `not_selected` the 32 nearest below the cut
    and the 8 lowest as well, the first in the pool's order among equals. `counts` has the number of dropped
    rows by code.
    """
    schema = pa.schema([*_PLACE, ("uid", pa.string()), ("score", pa.float32()), ("reason", pa.string())])
    last, dropped = len(reasons) - 1, f"(SELECT place, {score} AS score, fate FROM final WHERE fate > 1)"
    shares = {code: min(1.0, _DRAWN_FROM / rows) for code, rows in counts.items()}
    limits = " ".join(f"WHEN {code} THEN {int(share * (2**64 - 1))}" for code, share in shares.items())
    drawn = f"SELECT * FROM {dropped} WHERE hash(place) <= CASE fate {limits or 'WHEN 0 THEN 0'} ELSE 0 END"
    ordered = "row_number() OVER (PARTITION BY fate ORDER BY hash(place), place)"
    below = f"FROM {dropped} WHERE fate = {last} ORDER BY score"
    database.execute(
        f"CREATE OR REPLACE TEMP TABLE sampled AS SELECT DISTINCT place, score, fate, {_place('place', '')} FROM ("
        f"(SELECT place, score, fate FROM ({drawn}) QUALIFY {ordered} <= {_SAMPLED}) UNION ALL "
        f"({below} DESC, place LIMIT {_NEAREST}) UNION ALL ({below}, place LIMIT {_LOWEST}))"
    )
    reason = " ".join(f"WHEN {code} THEN {literal(name)}" for code, name in enumerate(reasons))
    query = f"SELECT shard, row, uid, score, CASE fate {reason} END AS reason FROM sampled JOIN {_named(database)} "
    return _put(database, out, "dropped_samples.parquet", [f"{query} USING (place) ORDER BY fate, place"], schema)


def _named(database: Any) -> str:  # noqa: ANN401
    """Return the places and uids of the rows in `sampled`: asked for shard by shard, so that little is read of each."""
    by_shard = rows_of(database, "SELECT shard, string_agg(row, ', ') FROM sampled GROUP BY shard")
    parts = [f"SELECT place, uid FROM uids WHERE shard = {shard} AND row IN ({rows})" for shard, rows in by_shard]
    return f"({' UNION ALL '.join(parts) or 'SELECT place, uid FROM uids WHERE false'})"


def _place(place: str, prefix: str) -> str:
    parts = (("shard", f"{place} // {SHARD}"), ("row", f"{place} % {SHARD}"))
    return ", ".join(f'CAST({text} AS INTEGER) AS "{prefix}{name}"' for name, text in parts)


def _put(database: Any, out: str, path: str, queries: Sequence[str], schema: pa.Schema) -> Stored:  # noqa: ANN401
    """Write what some queries give, one after the other, whatever they call the columns of the schema."""

    def write(file: BinaryIO) -> None:
        with (
            pa.PythonFile(file, mode="w") as sink,
            pq.ParquetWriter(sink, schema, compression="zstd", use_dictionary=_FEW) as writer,
        ):
            for query in queries:
                for batch in database.sql(query).to_arrow_reader(_PIECE):
                    writer.write_batch(batch.rename_columns(schema.names).cast(schema))

    return storage.put(out, path, write)
