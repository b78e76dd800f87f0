"""The exact place of a cut among any number of rows, by histograms that grow finer; uids are read only where rows tie.

One order is used everywhere: best first is the higher value, and among equal values the smaller uid.
"""

from __future__ import annotations

from typing import Any

from dfndr_builders.select.database import literal, number, rows_of

__all__ = ["cut_at", "find_cuts", "within"]

_CELLS = 1 << 22
_NAMED = 1000


def find_cuts(database: Any, table: str, *, relation: str, wanted: str, uids: str = "scores") -> None:  # noqa: ANN401
    """Write `table` (part, cut_value, cut_all) and `<table>_ties` (place): of each part its `wanted` best rows.

    They are the rows above `cut_value`, and those at it where `cut_all`, else those at it whose place is among the
    ties. `relation` has part (an integer), value (a float, never null or NaN) and place; `wanted` has part and wanted;
    `uids` has place and uid. Spans of values that hold the cuts are narrowed until each is a single value.
    """
    database.execute(
        "CREATE OR REPLACE TEMP TABLE spans AS SELECT w.part, w.wanted, r.low, r.high, r.rows "
        f"FROM {wanted} w JOIN (SELECT part, min(value) AS low, max(value) AS high, count(*) AS rows "
        f"FROM {relation} GROUP BY part) r ON w.part = r.part "
        "WHERE w.wanted BETWEEN 1 AND r.rows - 1"
    )
    parts = number(database, "SELECT count(*) FROM spans")
    buckets = max(16, min(1 << 16, _CELLS // max(1, parts)))
    while number(database, "SELECT count(*) FROM spans WHERE low < high"):
        _narrow(database, relation, buckets)
    tied = f"(SELECT * FROM {_rows_in(database, relation)} WHERE wanted < rows)"
    database.execute(f"CREATE OR REPLACE TEMP TABLE tied AS SELECT part, wanted, place FROM {tied}")
    database.execute(
        f"CREATE OR REPLACE TEMP TABLE {table}_ties AS SELECT place FROM (SELECT place, wanted, row_number() OVER "
        f"(PARTITION BY tied.part ORDER BY uid) AS nth FROM tied JOIN {uids} USING (place)) WHERE nth <= wanted"
        if number(database, "SELECT count(*) FROM tied")
        else f"CREATE OR REPLACE TEMP TABLE {table}_ties (place BIGINT)"
    )
    database.execute(
        f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT part, CAST(low AS DOUBLE) AS cut_value, wanted = rows AS "
        "cut_all FROM spans UNION ALL SELECT part, CAST(CASE WHEN wanted < 1 THEN 'inf' ELSE '-inf' END AS DOUBLE), "
        f"wanted > 0 FROM {wanted} w WHERE NOT EXISTS (FROM spans s WHERE s.part = w.part)"
    )


def cut_at(database: Any, value: str, relation: str, *, kept: int, table: str, uids: str = "scores") -> str:  # noqa: ANN401
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


def _rows_in(database: Any, relation: str, scale: str = "0") -> str:  # noqa: ANN401
    """Return the relation's rows that lie in a span, with its columns; constants let DuckDB skip what lies outside."""
    found = rows_of(database, f"SELECT part, wanted, low, high, rows, typeof(low), {scale} FROM spans LIMIT 2")
    if len(found) == 1 and found[0][0] == 0:  # the one part of `cut_at`
        _, wanted, low, high, rows, kind, factor = found[0]
        low, high = (f"CAST({literal(repr(limit))} AS {kind})" for limit in (low, high))
        return (
            f"(SELECT part, value, place, {wanted} AS wanted, {low} AS low, {high} AS high, {rows} AS rows, "
            f"{literal(float(factor))} AS scale FROM {relation} WHERE value BETWEEN {low} AND {high})"
        )
    spans = f"(SELECT *, {scale} AS scale FROM spans)"
    return (
        f"(SELECT r.part, r.value, r.place, s.wanted, s.low, s.high, s.rows, s.scale FROM {relation} r "
        f"JOIN {spans} s ON r.part = s.part WHERE r.value BETWEEN s.low AND s.high)"
    )


def _narrow(database: Any, relation: str, buckets: int) -> None:  # noqa: ANN401
    """Replace each span by that of its buckets which holds the cut; the first and the last value never share one."""
    width = f"({buckets - 1} / (CAST(high AS DOUBLE) - CAST(low AS DOUBLE)))"
    scale = f"CASE WHEN low < high AND isfinite({width}) THEN {width} ELSE 0 END"
    bucket = "CAST((CAST(value AS DOUBLE) - CAST(low AS DOUBLE)) * scale AS INTEGER)"
    rows = _rows_in(database, relation, scale)
    is_simple = number(database, f"SELECT count(*) FROM spans WHERE {scale} = 0") == 0
    if not is_simple:  # spans of one value, or so wide or narrow that floats cannot tell how wide
        bucket = f"CASE WHEN scale > 0 THEN {bucket} ELSE CAST(value > low AS INTEGER) END"
    database.execute(
        "CREATE OR REPLACE TEMP TABLE cells AS SELECT part, bucket, count(*) AS rows, min(value) AS low, max(value) AS "
        f"high FROM (SELECT part, value, {bucket} AS bucket FROM {rows}) GROUP BY part, bucket"
    )
    database.execute(
        "CREATE OR REPLACE TEMP TABLE narrowed AS WITH counted AS (SELECT *, sum(rows) OVER (PARTITION BY part "
        "ORDER BY bucket DESC) - rows AS before FROM cells) SELECT s.part, CAST(s.wanted - c.before AS BIGINT) AS "
        "wanted, c.low, c.high, c.rows FROM spans s JOIN counted c ON s.part = c.part "
        "WHERE c.before < s.wanted AND s.wanted <= c.before + c.rows"
    )
    database.execute("CREATE OR REPLACE TEMP TABLE spans AS SELECT * FROM narrowed")
