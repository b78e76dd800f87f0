"""Tars that are cut, damaged or hold anything at all give rows with reasons; only a disk that fails is an error."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest
from dfndr_builders.pools import files
from dfndr_builders.pools.webdataset import WebDatasetPool
from hypothesis import given, settings
from hypothesis import strategies as st
from support import webdatasets
from support.pools import rows_of, seen, tar_of
from support.webdatasets import BLUE, PAIRS, RED, with_checksums

from dfndr.errors import StorageError
from dfndr.format.schema import FAILED

pool_of = webdatasets.pool_of


def test_wherever_a_tar_is_cut_the_samples_before_are_given_and_one_row_tells(pool_of):
    keys = "abcd"
    whole = tar_of([member for key in keys for member in ((f"{key}.png", RED), (f"{key}.txt", key))])
    end = 4 * 4 * 512  # four samples of two headers and two blocks
    assert not any(whole[end:])
    for cut in range(0, end + 1, 128):
        got = seen(pool_of(whole[:cut]))
        if cut < 512:
            assert got == [("pool.tar", "shard_unreadable")]
            continue
        begun = (cut - 512) // 2048  # the sample whose first header is the last one that is whole
        assert got == [(key, None) for key in keys[:begun]] + [(keys[begun], "shard_truncated")]
    assert seen(pool_of(whole[: end + 512])) == [(key, None) for key in keys]


def test_a_damaged_header_is_no_end_of_the_archive(pool_of):
    tar = bytearray(tar_of(PAIRS))
    tar[2048 + 150] ^= 1  # the checksum of b.png's header
    assert seen(pool_of(bytes(tar))) == [("a", "shard_truncated")]


@pytest.mark.parametrize("content", [b"", b"no tar at all", b"\x1f\x8b but no gzip", b"x" * 20_000])
def test_a_file_that_is_no_tar_is_one_row(pool_of, content):
    assert seen(pool_of(content)) == [("pool.tar", "shard_unreadable")]


def test_a_header_that_asks_for_a_lot_of_memory_is_refused(pool_of):
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    tar = tar_of(PAIRS)[:4096] + header.tobuf(tarfile.GNU_FORMAT) + bytes(10_240)
    assert seen(pool_of(tar)) == [("a", None), ("b", "shard_truncated")]


def test_a_disk_that_fails_is_an_error_and_no_damage(pool_of, monkeypatch):
    pool = pool_of(tar_of(PAIRS))
    pool.shards()

    class Failing(io.BytesIO):
        def read(self, size: int = -1) -> bytes:
            if self.tell() > 0:
                raise OSError("Input/output error")
            return super().read(512)

    monkeypatch.setattr(files.storage, "open_read", lambda path: Failing(tar_of(PAIRS)))
    with pytest.raises(StorageError, match="Input/output error"):
        rows_of(pool)


WHOLE = tar_of([*PAIRS, ("b.json", {"uid": "0" * 32, "source": "web"}), ("c/d.png", BLUE), ("c/d.txt", "é")])


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged") / "damaged.tar"


@settings(max_examples=200, deadline=None)
@given(data=st.data(), compressed=st.booleans(), mend=st.booleans())
def test_a_damaged_tar_gives_rows_with_reasons_and_nothing_else(scratch: Path, data, compressed, mend):
    damaged = bytearray(gzip.compress(WHOLE) if compressed else WHOLE)
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, min(len(damaged), 7 * 1024) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.integers(1, len(damaged))) :]
    scratch.write_bytes(with_checksums(bytes(damaged)) if mend and not compressed else bytes(damaged))
    rows = rows_of(WebDatasetPool((str(scratch),), uid="json:uid"))
    assert rows
    assert {row["problem"] for row in rows} - {None} <= set(FAILED)


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_a_json_holds_is_kept_or_refused(scratch: Path, value):
    scratch.write_bytes(tar_of([*PAIRS[:2], ("a.json", json.dumps({"caption": value, "note": value}))]))
    row = rows_of(WebDatasetPool((str(scratch),), text="json:caption", keep=("note",)))[0]
    assert row["problem"] in (None, "text_missing", "text_empty", "text_not_utf8", "json_unreadable")
    assert row["note"] is None or isinstance(row["note"], str)
