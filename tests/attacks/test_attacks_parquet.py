"""Parquet files that unpack to far more than they are: refused by what their footer says, before anything is read."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from dfndr_builders.imports import open_layout
from dfndr_builders.imports.layout import Teacher
from dfndr_builders.pools.parquet import ParquetPool
from dfndr_builders.uid_lists import read_uids
from support.pools import picture, seen
from support.tiny import write_dataset

from dfndr import open_dataset
from dfndr.errors import FormatError
from dfndr.format import footers
from dfndr.format.shard import read_parquet

UIDS = [f"{number:032x}" for number in range(4)]
PLAIN = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}


def bomb(path: Path, size_bytes: int) -> str:
    """Write four rows of which the texts are so many bytes in all, and next to nothing when packed."""
    text = "x" * (size_bytes // 4)
    vectors = pa.array([[1.0] * 4] * 4, pa.list_(pa.float32(), 4))
    table = pa.table({"uid": UIDS, "image": [picture()] * 4, "text": [text] * 4, "image__enc": vectors})
    pq.write_table(table, path, **PLAIN)
    assert path.stat().st_size < 4_000
    return str(path)


@pytest.fixture
def lower(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a small file passes."""
    monkeypatch.setattr(footers, "MOST_BYTES", 1 << 20)
    monkeypatch.setattr(footers, "MOST_ROWS", 1_000)


@pytest.mark.usefixtures("lower")
def test_a_row_group_that_unpacks_to_more_than_anybody_wants_is_refused_by_every_reader(tmp_path: Path) -> None:
    path = bomb(tmp_path / "0.parquet", 2 << 20)
    for read in (
        lambda: read_parquet(path, 4),
        lambda: read_uids(path),
        lambda: open_layout("parquet", path, (Teacher("enc", "ViT-B-32", "openai"),)).shards(),
    ):
        with pytest.raises(FormatError, match=r"at most 100 times the file.*, found one that unpacks to 2,"):
            read()
    whole = bomb(tmp_path / "1.parquet", 1 << 10)
    pool = ParquetPool((whole, path))
    assert seen(pool)[4:] == [("0.parquet", "shard_unreadable")], "it is counted, and the other file is read"
    assert len(seen(pool)) == 5


@pytest.mark.usefixtures("lower")
def test_more_rows_than_bytes_are_refused_and_a_datasets_own_files_are_not(tmp_path: Path) -> None:
    write_dataset(tmp_path, (2_000,), columns={"text": ["x"] * 2_000, "captions": [[]] * 2_000})
    dataset = open_dataset(tmp_path)
    assert len(dataset.rows(["uid"])) == len(dataset.rows(["uid"], where=pc.field("text") == "x")) == 2_000
    path = str(dataset.local_file(dataset.shards[0].files["rows"]))
    pq.write_table(pa.table({"uid": pa.nulls(2_000, pa.string()), "text": pa.nulls(2_000, pa.string())}), path)
    with pytest.raises(FormatError, match="one of 2,000 rows in"):
        read_parquet(path, 2_000)


def test_rows_beyond_counting_are_refused_and_real_files_are_not(tmp_path: Path) -> None:
    nothing = pa.table({"uid": pa.nulls(3_000_000, pa.string())})
    pq.write_table(nothing, tmp_path / "0.parquet", row_group_size=3_000_000)
    with pytest.raises(FormatError, match=r"one of 3,000,000 rows in [0-9,]+ bytes"):
        read_uids(str(tmp_path / "0.parquet"))
    same = pa.table({"uid": UIDS * 250_000, "n": pc.cast(pa.array([7] * 1_000_000), pa.int32())})
    pq.write_table(same, tmp_path / "1.parquet", compression="zstd")
    assert len(read_uids(str(tmp_path / "1.parquet"))) == 1_000_000
