"""What a selection leaves on disk: kept rows by split, who went because of whom, and some of the dropped rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from dfndr import storage
from dfndr.format.schema import SPLITS
from dfndr.storage import Stored
from dfndr_builders.select.database import literal, number, quoted, rows_of

__all__ = ["write_audit", "write_kept", "write_samples"]

_PIECE = 100_000
_PLACE = [("shard", pa.int32()), ("row", pa.int32())]
_SAMPLED = 16
_NEAREST, _LOWEST = 32, 8
_LOOKED_AT = 50_000


def write_kept(database: Any, out: str, *, floats: Sequence[str], deciles: Sequence[str]) -> list[Stored]:  # noqa: ANN401
    """Write `<split>.parquet` from the table `kept`, in the pool's order."""
    schema = pa.schema([*_PLACE, ("uid", pa.string()), *((name, pa.float32()) for name in ["score", *floats])])
    for name in deciles:
        schema = schema.append(pa.field(f"{name}_decile", pa.int8()))
    columns = ", ".join(quoted(name) for name in schema.names[3:])
    return [
        _put(
            database,
            out,
            f"{split}.parquet",
            f"SELECT {_place('place', '')}, uid, {columns} FROM kept WHERE split = {place} ORDER BY place",
            schema,
        )
        for place, split in enumerate(SPLITS)
    ]


def write_audit(database: Any, out: str) -> Stored:  # noqa: ANN401
    """Write `audit.parquet`: of each duplicate the row that stayed instead, in the order of groups and the pool's."""
    schema = pa.schema([(name, pa.string()) for name in ("uid", "reason", "kept_uid")] + _PLACE)
    for name in ("kept_shard", "kept_row"):
        schema = schema.append(pa.field(name, pa.int32()))
    query = f"SELECT uid, reason, kept_uid, {_place('place', '')}, {_place('kept_place', 'kept_')} FROM audit"
    return _put(database, out, "audit.parquet", f"{query} ORDER BY number, place", schema)


def write_samples(database: Any, out: str, *, reasons: Sequence[str], counts: dict[int, int], score: str) -> Stored:  # noqa: ANN401
    """Write `dropped_samples.parquet`: some of the rows that `final` drops, in the order of reasons and the pool's.

    Of each reason the 16 of smallest uid (a hash, or an id that means nothing); and of `not_selected` the 32 nearest
    below the cut and the 8 lowest as well. `counts` has the number of dropped rows by code.
    """
    schema = pa.schema([*_PLACE, ("uid", pa.string()), ("score", pa.float32()), ("reason", pa.string())])
    last = len(reasons) - 1
    dropped = f"(SELECT place, {score} AS score, fate FROM final WHERE fate > 1)"
    share = min(1.0, _LOOKED_AT / number(database, "SELECT count(*) FROM final"))
    ending = "" if share == 1.0 else f"WHERE uid < {literal(f'{int(share * 16**8):08x}')}"
    database.execute(f"CREATE OR REPLACE TEMP TABLE looked_at AS SELECT place, uid FROM scores {ending}")
    query = f"SELECT fate, count(*) FROM looked_at JOIN {dropped} USING (place) GROUP BY fate"
    found = dict(rows_of(database, query))
    rare = [str(code) for code, rows in counts.items() if found.get(code, 0) < min(_SAMPLED, rows)]
    more = [f"fate IN ({', '.join(rare)})"] if rare else []
    for order, most, sign in (("DESC", _NEAREST, ">="), ("ASC", _LOWEST, "<=")):
        query = f"SELECT score FROM {dropped} WHERE fate = {last} ORDER BY score {order} LIMIT {most}"
        if limits := [score for (score,) in rows_of(database, query)]:
            more.append(f"(fate = {last} AND score {sign} {literal(limits[-1])})")
    if more:
        places = f"(SELECT place FROM {dropped} WHERE {' OR '.join(more)}) JOIN scores USING (place)"
        database.execute(f"INSERT INTO looked_at SELECT place, uid FROM {places}")
    reason = " ".join(f"WHEN {code} THEN {literal(name)}" for code, name in enumerate(reasons))
    nth = "row_number() OVER (PARTITION BY fate ORDER BY "
    query = (
        f"SELECT {_place('place', '')}, uid, score, CASE fate {reason} END AS reason FROM (SELECT *, "
        f"{nth} uid, place) AS nth, {nth} score DESC, uid) AS below_cut, {nth} score, uid DESC) AS above_lowest "
        f"FROM (SELECT DISTINCT * FROM looked_at) JOIN {dropped} USING (place)) WHERE nth <= {_SAMPLED} OR "
        f"(fate = {last} AND (below_cut <= {_NEAREST} OR above_lowest <= {_LOWEST})) ORDER BY fate, place"
    )
    return _put(database, out, "dropped_samples.parquet", query, schema)


def _place(place: str, prefix: str) -> str:
    parts = (("shard", f"{place} // 4294967296"), ("row", f"{place} % 4294967296"))
    return ", ".join(f'CAST({text} AS INTEGER) AS "{prefix}{name}"' for name, text in parts)


def _put(database: Any, out: str, path: str, query: str, schema: pa.Schema) -> Stored:  # noqa: ANN401
    return storage.put(out, path, _writer(database, query, schema))


def _writer(database: Any, query: str, schema: pa.Schema) -> Callable[[BinaryIO], None]:  # noqa: ANN401
    def write(file: BinaryIO) -> None:
        found = database.sql(query)
        with pa.PythonFile(file, mode="w") as sink, pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            for batch in found.to_arrow_reader(_PIECE):
                writer.write_batch(batch.cast(schema))

    return write
