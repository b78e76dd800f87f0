"""What of a pool was kept: the rows of a list of uids, in the pool's order, and one for each uid that is absent."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from dfndr_builders.pools.glyphs import GlyphsPool
from dfndr_builders.pools.kept import ABSENT, Kept
from support.pools import rows_of

from dfndr.format.uid import pack_uids

POOL = GlyphsPool(count=300)


def _packed(uids: list[str]) -> np.ndarray:
    return pack_uids(uids, "test")


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 1.0])
def test_the_rows_are_those_of_a_loop_over_the_pool_in_its_order(share):
    rows = rows_of(POOL)
    drawn = np.random.default_rng(0).permutation(len(rows))[: int(share * len(rows))]
    uids = [rows[place]["uid"] for place in drawn]
    given = Kept(POOL, _packed([*uids, *uids[:7]]))
    assert rows_of(given) == [row for row in rows if row["uid"] in set(uids)]


def test_a_uid_that_the_pool_lacks_is_a_row_with_a_problem_whatever_was_read_before():
    there, gone = [row["uid"] for row in rows_of(POOL)][:5], ["0" * 32, "f" * 30 + "00", "ab" * 16]
    given = Kept(POOL, _packed([*gone, *there]))
    expected = [(uid, uid, ABSENT) for uid in sorted(gone)]
    for pool in (given, Kept(POOL, _packed([*gone, *there]))):  # the second one's last shard is read alone
        (*_, last) = pool.shards()
        if pool is given:
            assert [row["uid"] for row in rows_of(pool) if row["problem"] is None] == there
        table = pa.concat_tables(pool.read(last))
        assert [tuple(row.values()) for row in table.select(["uid", "key", "problem"]).to_pylist()] == expected
        assert table.schema == POOL.schema()


def test_uids_that_differ_in_a_last_zero_byte_are_told_apart():
    rows = rows_of(POOL)[:1]
    one = rows[0]["uid"][:30] + "00"
    given = Kept(POOL, _packed([one, one[:28] + "0000"]))
    assert [row["uid"] for row in rows_of(given)] == sorted([one, one[:28] + "0000"])


def test_its_name_says_which_uids_whatever_their_order():
    uids = [row["uid"] for row in rows_of(POOL)][:9]
    assert repr(Kept(POOL, _packed(uids))) == repr(Kept(POOL, _packed(uids[::-1])))
    assert repr(Kept(POOL, _packed(uids))) != repr(Kept(POOL, _packed(uids[1:])))
