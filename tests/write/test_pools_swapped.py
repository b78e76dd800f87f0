"""Texts that are swapped on purpose: the truth is known, and everything else stays as it was."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from dfndr_builders.pools.swapped import Swapped
from dfndr_builders.pools.webdataset import WebDatasetPool
from support.pools import picture, rows_of, tar_of

from dfndr.errors import RecipeError

ROWS = 400
OWN = "f" * 32


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Two shards of 200 samples, of which some are bad and one has a uid of its own."""
    folder = tmp_path_factory.mktemp("pool")
    for shard in range(2):
        members = []
        for n in range(200 * shard, 200 * shard + 200):
            members += [(f"{n:03d}.png", picture((n % 256, n // 256, 0)))]
            members += [(f"{n:03d}.txt", "" if n % 50 == 7 else f"text {n}")]
            members += [(f"{n:03d}.json", {"uid": OWN})] if n == 3 else []
        (folder / f"{shard}.tar").write_bytes(tar_of(members))
    return WebDatasetPool((str(folder / "*.tar"),), uid="json:uid")


def test_about_the_fraction_of_the_rows_is_swapped_and_the_column_says_which(pool):
    before, after = rows_of(pool), rows_of(Swapped(pool, 0.5, seed=7))
    for old, new in zip(before, after, strict=True):
        assert new["swapped"] == (new["text"] != old["text"])
        assert {name: new[name] for name in old if name not in ("text", "uid")} == {
            name: old[name] for name in old if name not in ("text", "uid")
        }
    assert 0.4 * ROWS < sum(row["swapped"] for row in after) < 0.6 * ROWS


def test_swapped_texts_are_those_of_other_rows_of_the_shard_each_once(pool):
    before, after = rows_of(pool), rows_of(Swapped(pool, 0.5, seed=7))
    for part in (slice(0, 200), slice(200, 400)):
        assert Counter(row["text"] for row in before[part]) == Counter(row["text"] for row in after[part])


def test_a_uid_is_made_again_from_the_new_text_and_the_pools_own_stays(pool):
    after = rows_of(Swapped(pool, 1.0, seed=7))
    for row in after:
        content = hashlib.sha256(row["image"] + b"\0" + row["text"].encode()).hexdigest()[:32]
        assert row["uid"] == (OWN if row["key"] == "003" else content)
    assert sum(row["swapped"] for row in after) == ROWS - 8  # the bad rows take no part
    assert {row["problem"] for row in after if not row["swapped"]} == {"text_empty"}


def test_the_same_seed_swaps_the_same_and_another_one_does_not(pool):
    texts = [[row["text"] for row in rows_of(Swapped(pool, 0.3, seed))] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_rows_that_take_part_alone_or_share_one_text_stay_as_they_are(tmp_path):
    alone = tar_of([("a.png", picture("red")), ("a.txt", "x")])
    same = tar_of([member for n in range(5) for member in ((f"{n}.png", picture((n, 0, 0))), (f"{n}.txt", "x"))])
    for tar in (alone, same):
        (tmp_path / "pool.tar").write_bytes(tar)
        pool = WebDatasetPool((str(tmp_path / "pool.tar"),))
        after = rows_of(Swapped(pool, 1.0, seed=0))
        assert [{**row, "swapped": False} for row in rows_of(pool)] == after


def test_a_fraction_that_is_none_and_a_column_that_is_there_are_refused(pool):
    with pytest.raises(RecipeError, match=r"a fraction from 0 to 1, found 1\.5"):
        Swapped(pool, 1.5, seed=0)
    with pytest.raises(RecipeError, match="no column 'swapped'"):
        Swapped(Swapped(pool, 0.1, seed=0), 0.1, seed=0).schema()
