"""The real pools beside a checkout, where they are: counts of rows, of distinct images and of distinct samples."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from dfndr_builders.pools.webdataset import WebDatasetPool
from support.pools import rows_of

from dfndr.images import decode

POOLS = Path(__file__).parents[3] / "shared" / "pools"

pytestmark = pytest.mark.skipif(not POOLS.is_dir(), reason=f"no real pools in {POOLS}")


def test_flickr8k_dev_is_a_thousand_whole_samples_of_five_captions():
    path = str(POOLS / "flickr8k" / "flickr8k-dev-*.tar")
    rows = rows_of(WebDatasetPool((path,), keep=("split",)))
    assert len({row["uid"] for row in rows}) == len(rows) == 1000
    assert {(row["problem"], row["source"], row["split"]) for row in rows} == {(None, "flickr8k", "dev")}
    assert decode(rows[0]["image"]).size == (224, 224)
    every = rows_of(WebDatasetPool((path,), text="json:captions", every_text=True))
    assert len(every) == 5000
    assert [row["text"] for row in every[::5]] == [row["text"] for row in rows]


def test_alttext_web_holds_the_duplicates_that_it_is_known_for():
    rows = rows_of(WebDatasetPool((str(POOLS / "alttext_web" / "*.tar"),)))
    assert len(rows) == 1108
    assert {row["problem"] for row in rows} == {None}
    assert len({hashlib.sha256(row["image"]).digest() for row in rows}) == 1029
    assert len({row["uid"] for row in rows}) == 1106
