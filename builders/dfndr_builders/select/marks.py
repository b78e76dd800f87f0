"""Rows that are named one by one: those on lists of uids, and those that a better duplicate replaces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from dfndr.errors import UsageError
from dfndr.format.uid import unpack_uids
from dfndr_builders.select.database import literal, number
from dfndr_builders.select.running import EXCLUDED, INCLUDED, Running

__all__ = ["Uids", "mark_groups", "mark_listed"]

Uids: TypeAlias = Any
"""Uids as a pyarrow array of text, or packed: uint8 of shape (n, 16)."""

_PIECE = 1_000_000


def mark_listed(running: Running, *, include: Uids | None, exclude: Uids | None) -> dict[str, int]:
    """Mark the rows on the lists (a row on both is excluded); return how many listed uids are nowhere, by list."""
    database, absent = running.database, dict[str, int]()
    for name, mark, uids in (("exclude", EXCLUDED, exclude), ("include", INCLUDED, include)):
        if uids is None:
            continue
        database.execute("CREATE OR REPLACE TEMP TABLE listed (uid VARCHAR)")
        for piece in _pieces(uids, name):
            database.register("given", pa.table({"uid": piece}))
            database.execute("INSERT INTO listed SELECT uid FROM given")
            database.unregister("given")
        database.execute(
            "CREATE OR REPLACE TEMP TABLE found AS SELECT place, uid, "
            f"{running.is_finite} AS is_finite FROM scores SEMI JOIN listed USING (uid)"
        )
        listed, found = (number(database, f"SELECT count(DISTINCT uid) FROM {table}") for table in ("listed", "found"))
        absent[name] = listed - found
        database.execute(
            f"INSERT INTO marks SELECT place, {mark} FROM found ANTI JOIN (FROM marks) USING (place) WHERE is_finite"
        )
    return absent


def mark_groups(running: Running) -> None:
    """Drop all rows of a group of duplicates but the one included first, then best by `by`, then of smallest uid.

    Groups are applied in order, each to the rows still in the running. The table `audit` says who went because of whom.
    """
    database = running.database
    database.execute(
        "CREATE OR REPLACE TEMP TABLE audit (number INTEGER, place BIGINT, uid VARCHAR, reason VARCHAR, "
        "kept_uid VARCHAR, kept_place BIGINT)"
    )
    for group, (reason, _) in enumerate(running.rule.groups):
        column, score = f"g{group}", running.scores[running.rule.by]
        database.execute(
            f"CREATE OR REPLACE TEMP TABLE members AS SELECT place, uid, forced, {score} AS score, {column} AS label "
            f"FROM running SEMI JOIN (SELECT {column} AS label FROM running WHERE {column} IS NOT NULL "
            f"GROUP BY 1 HAVING count(*) > 1) repeated ON {column} = repeated.label"
        )
        database.execute(
            f"INSERT INTO audit SELECT {group}, place, uid, {literal(reason)}, kept_uid, kept_place FROM ("
            "SELECT place, uid, first_value(uid) OVER best AS kept_uid, first_value(place) OVER best AS kept_place "
            "FROM members WINDOW best AS (PARTITION BY label ORDER BY forced DESC, score DESC, uid)) "
            "WHERE place <> kept_place"
        )
        gone = f"(SELECT place FROM audit WHERE number = {group})"
        database.execute(f"DELETE FROM marks WHERE place IN {gone}")
        database.execute(f"INSERT INTO marks SELECT place, {running.code(group)} FROM {gone}")
        running.define()


def _pieces(uids: Uids, name: str) -> Iterator[pa.Array]:
    """Yield uids as text, a million at a time."""
    is_packed = isinstance(uids, np.ndarray)
    if is_packed and (uids.dtype != np.uint8 or uids.ndim != 2 or uids.shape[1] != 16):
        found = f"{uids.dtype} of shape {uids.shape}"
        raise UsageError(name, expected="packed uids, uint8 of shape (n, 16)", found=found, do="Read them again.")
    for start in range(0, len(uids), _PIECE):
        piece = uids[start : start + _PIECE]
        if is_packed:
            yield pa.array(unpack_uids(np.asarray(piece)), pa.string())
        else:
            yield (piece.combine_chunks() if isinstance(piece, pa.ChunkedArray) else piece).cast(pa.string())
