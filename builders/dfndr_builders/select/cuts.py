"""The exact place of a cut among any number of rows; uids are read only where rows tie at it.

One order is used everywhere: best first is the higher value, and among equal values the smaller uid.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from dfndr_builders.select.database import literal, number, rows_of
from dfndr_builders.select.frame import SHARD
from dfndr_builders.select.nth_best import Floats, Whole, nth_best
from dfndr_builders.select.pieces import pieces_of

__all__ = ["cut_at", "find_cuts", "within"]

_NAMED = 1000


def find_cuts(database: Any, table: str, *, relation: str, wanted: str, uids: str = "uids") -> None:  # noqa: ANN401
    """Write `table` (part, cut_value, cut_all) and `<table>_ties` (place): of each part its `wanted` best rows.

    They are the rows above `cut_value`, and those at it where `cut_all`, else those at it whose place is among the
    ties. `relation` has part (a whole number from 0), value (a float, never null or NaN) and place; `wanted` has part
    and wanted, of every part; `uids` has uid and place.
    """
    query = f"SELECT CAST(part AS BIGINT), CAST(wanted AS BIGINT) FROM {wanted}"
    parts, counts = (column.to_numpy() for column in database.sql(query).to_arrow_table().columns)
    is_short = database.sql(f"SELECT value FROM {relation}").types[0] == "FLOAT"

    def read(low: float, high: float) -> Iterator[tuple[Whole, Floats]]:
        limits = "" if high - low == np.inf else f"WHERE value BETWEEN {literal(low)} AND {literal(high)}"
        query = f"SELECT part, value FROM {relation} {limits}"
        for piece in pieces_of(database, query):
            yield piece[0], piece[1]

    values, left, there = nth_best(read, parts, wanted=counts, bits=32 if is_short else 64)
    cuts = {"part": parts, "cut_value": values, "cut_all": (left >= there) & (counts > 0), "wanted": left}
    database.register("given", pa.table(cuts))
    database.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT part, cut_value, cut_all FROM given")
    database.execute("CREATE OR REPLACE TEMP TABLE split AS FROM given WHERE wanted > 0 AND NOT cut_all")
    database.unregister("given")
    _write_ties(database, f"{table}_ties", relation, uids)


def _write_ties(database: Any, table: str, relation: str, uids: str) -> None:  # noqa: ANN401
    """Write the places of the rows at the cuts in `split` that are wanted."""
    database.execute(f"CREATE OR REPLACE TEMP TABLE {table} (place BIGINT)")
    limits = rows_of(database, "SELECT min(cut_value), max(cut_value) FROM split")[0]
    if None in limits:
        return
    low, high = (literal(limit) for limit in limits)
    database.execute(
        f"CREATE OR REPLACE TEMP TABLE tied AS SELECT wanted, r.part, place, place // {SHARD} AS shard, "
        f"place % {SHARD} AS row FROM (SELECT * FROM {relation} WHERE value BETWEEN {low} AND {high}) r "
        "JOIN split ON r.part = split.part AND value = cut_value"
    )
    database.execute(
        f"INSERT INTO {table} SELECT place FROM (SELECT place, wanted, row_number() OVER (PARTITION BY tied.part "
        f"ORDER BY uid) AS nth FROM tied JOIN {uids} USING (place, shard, row)) WHERE nth <= wanted"
    )


def cut_at(database: Any, value: str, relation: str, *, kept: int, table: str, uids: str = "uids") -> str:  # noqa: ANN401
    """Return the condition that a row is among the `kept` best of a relation; `table` is a new name."""
    given = f"(SELECT 0 AS part, {value} AS value, place FROM {relation})"
    find_cuts(database, table, relation=given, wanted=f"(SELECT 0 AS part, {kept} AS wanted)", uids=uids)
    limit, is_all = rows_of(database, f"SELECT cut_value, cut_all FROM {table}")[0]
    if is_all:
        return f"({value} >= {literal(limit)})"
    return f"({value} > {literal(limit)} OR ({value} = {literal(limit)} AND {_is_tied(database, table)}))"


def within(database: Any, value: str, table: str) -> str:  # noqa: ANN401
    """Return the condition that a row is among the best of its part, where the table of cuts is joined to it."""
    return f"({value} > cut_value OR ({value} = cut_value AND (cut_all OR {_is_tied(database, table)})))"


def _is_tied(database: Any, table: str) -> str:  # noqa: ANN401
    """Return the condition that a row's place is among a table's ties; a few places are named."""
    if number(database, f"SELECT count(*) FROM {table}_ties") > _NAMED:
        return f"place IN (SELECT place FROM {table}_ties)"
    places = [str(place) for (place,) in rows_of(database, f"SELECT place FROM {table}_ties ORDER BY place")]
    return f"place IN ({', '.join(places)})" if places else "false"
