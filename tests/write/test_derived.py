from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dfndr_builders.derived import derive, read_derived
from dfndr_builders.score.random import RandomScore
from support.tiny import write_dataset

from dfndr.errors import DataError
from dfndr.progress import SILENT
from dfndr.seeds import hash_fraction


@dataclass(frozen=True)
class Lengths:
    lose: int = 0

    def fields(self) -> list[pa.Field]:
        return [pa.field("length", pa.int32())]

    def tables(self, scores, progress) -> Iterator[pa.Table]:
        for table in scores.tables(["text"]):
            yield pa.table({"length": [len(text) for text in table["text"].to_pylist()][self.lose :]})


def test_a_derived_column_lies_beside_its_shard_row_by_row(tmp_path):
    scores = write_dataset(tmp_path / "scores", (5, 0, 3))
    columns = derive(Lengths(), scores, str(tmp_path / "out"), progress=SILENT)
    found = [pq.read_table(path)["length"].to_pylist() for path in columns.paths()]
    assert found == [[len(f"text of row {row}") for row in rows] for rows in (range(5), (), range(5, 8))]
    assert read_derived(str(tmp_path / "out")) == columns


def test_a_column_that_lost_its_place_is_refused(tmp_path):
    scores = write_dataset(tmp_path / "scores", (5, 3))
    with pytest.raises(DataError, match=r"shard 0.*expected 5 rows, found 4"):
        derive(Lengths(lose=1), scores, str(tmp_path / "out"), progress=SILENT)
    assert read_derived(str(tmp_path / "out")) is None


def test_finished_columns_are_found_and_damaged_ones_made_again(tmp_path):
    scores, out = write_dataset(tmp_path / "scores", (5, 3)), tmp_path / "out"
    columns = derive(Lengths(), scores, str(out), progress=SILENT)
    before = (out / "00001.parquet").stat().st_mtime_ns
    assert derive(Lengths(lose=1), scores, str(out), progress=SILENT) == columns
    assert (out / "00001.parquet").stat().st_mtime_ns == before
    (out / "00001.parquet").write_bytes(b"")
    assert read_derived(str(out)) is None
    assert derive(Lengths(), scores, str(out), progress=SILENT) == columns
    (out / "columns.json").write_text("[]")
    assert read_derived(str(out)) is None


def test_a_random_score_is_the_hash_of_seed_name_and_uid(tmp_path):
    scores = write_dataset(tmp_path, (5, 3))
    drawn = pa.concat_tables(RandomScore("luck", 7).tables(scores, SILENT))["luck"].to_pylist()
    expected = [hash_fraction(7, "luck", uid) for uid in scores.rows(["uid"])["uid"].to_pylist()]
    assert drawn == pytest.approx(expected, abs=1e-7)
    other = pa.concat_tables(RandomScore("luck", 8).tables(scores, SILENT))["luck"].to_pylist()
    assert set(drawn).isdisjoint(other)
