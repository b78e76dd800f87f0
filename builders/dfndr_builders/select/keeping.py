"""The kept rows with their uids and deciles, as a table in the pool's order.

The uids of a pool are far more than fit in memory, so they are joined some shards at a time: a join of all would write
every uid there is to the disk.
"""

from __future__ import annotations

from collections.abc import Sequence

from dfndr.format.schema import SPLITS
from dfndr_builders.select.cuts import cut_at
from dfndr_builders.select.database import rows_of
from dfndr_builders.select.frame import SHARD
from dfndr_builders.select.running import KEPT, Running
from dfndr_builders.select.selection import share_limit

__all__ = ["keep", "ranges_of"]

_ROWS = 8_000_000


def ranges_of(counts: Sequence[int]) -> list[range]:
    """Return all shards in ranges that follow each other, of eight million rows at most or of one shard."""
    ranges, first, rows = [], 0, 0
    for shard, count in enumerate(counts):
        if shard > first and rows + count > _ROWS:
            ranges.append(range(first, shard))
            first, rows = shard, 0
        rows += count
    return [*ranges, range(first, len(counts))] if len(counts) else []


def keep(running: Running, ranges: Sequence[range]) -> dict[str, int]:
    """Make the table `kept` of place, shard, row, uid, score, fusions, deciles and split, in the pool's order.

    The fusions are columns e0, e1, ..., the deciles r0, r1, ...: a recipe's names might be ours. Return the rows by
    split. The view `final` says which are kept.
    """
    database, rule = running.database, running.rule
    fusions = [f"{running.scores[fusion.name]} AS e{number}" for number, fusion in enumerate(rule.fusions)]
    ranked = [f"{running.scores[name]} AS d{number}" for number, name in enumerate(rule.deciles)]
    scores = ", ".join([f"{running.scores[rule.by]} AS score", *fusions, *ranked])
    database.execute(f"CREATE OR REPLACE TEMP TABLE chosen AS SELECT place, {scores} FROM final WHERE fate = {KEPT}")
    is_validation = f"substr(md5(uid), 1, 8) < '{share_limit(rule.validation)}'" if rule.validation else "false"
    query = (
        "SELECT place, CAST(shard AS INTEGER) AS shard, CAST(row AS INTEGER) AS row, uid, chosen.* EXCLUDE (place), "
        f"CAST({is_validation} AS UTINYINT) AS split FROM chosen JOIN uids USING (place)"
    )
    database.execute(f"CREATE OR REPLACE TEMP TABLE kept AS {query} LIMIT 0")
    for shards in ranges:
        first, last = shards[0], shards[-1]
        within = f"shard BETWEEN {first} AND {last} AND place BETWEEN {first * SHARD} AND {last * SHARD + SHARD - 1}"
        database.execute(f"INSERT INTO kept {query} WHERE {within} ORDER BY place")
    database.execute("DROP TABLE chosen")
    by_split = dict(rows_of(database, "SELECT split, count(*) FROM kept GROUP BY split"))
    rows = {split: int(by_split.get(number, 0)) for number, split in enumerate(SPLITS)}
    if rule.deciles:
        _rank(running, sum(rows.values()))
    return rows


def _rank(running: Running, rows: int) -> None:
    """Add to `kept` the deciles that the rule asks for."""
    database, deciles = running.database, running.rule.deciles
    columns = [f"{_decile(running, number, rows)} AS r{number}" for number in range(len(deciles))]
    database.execute(f"CREATE OR REPLACE TEMP VIEW with_deciles AS SELECT *, {', '.join(columns)} FROM kept")
    database.execute("CREATE OR REPLACE TEMP TABLE ranked AS SELECT * FROM with_deciles")
    database.execute("DROP VIEW with_deciles; DROP TABLE kept; ALTER TABLE ranked RENAME TO kept")


def _decile(running: Running, number: int, rows: int) -> str:
    """Return the decile among the kept rows as an expression: floor(10 * rows that are worse / rows), so 9 is best."""
    tests, score = [], f"d{number}"
    for decile in range(9, 0, -1):
        worse = -(-decile * rows // 10)  # a row is in this decile or above where so many are worse
        table = f"decile_{number}_{decile}"
        is_within = cut_at(running.database, score, "kept", kept=rows - worse, table=table, uids="kept")
        tests.append(f"WHEN {is_within} THEN {decile}")
    return f"CAST(CASE {' '.join(tests)} ELSE 0 END AS TINYINT)"
