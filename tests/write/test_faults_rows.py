"""A row that kills or holds up whoever looks at it fails alone, and everything around it is kept."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pytest
from dfndr_builders.engines.base import Engine
from dfndr_builders.engines.guarded import Guarded
from dfndr_builders.engines.inline import Inline
from dfndr_builders.engines.processes import Processes
from dfndr_builders.engines.strikes import forget
from dfndr_builders.phase import run_phase, step_of
from dfndr_builders.stage import Chain, good_rows
from PIL import Image
from support.working import ROWS, Harm, Rows, job, units

from dfndr.errors import DataError
from dfndr.format.manifest import Shard
from dfndr.format.shard import read_parquet
from dfndr.progress import SILENT

UNITS = 3


def shards_of(root: Path, engine: Engine, harm: Harm | None = None) -> tuple[Shard, ...]:
    return run_phase("score", job(root, harm), units(UNITS), SILENT, engine=engine)


def problems_of(root: Path, shard: Shard) -> list[dict[str, str]]:
    stored = shard.files["problems"]
    return read_parquet(str(root / stored.path), sum(shard.failed.values())).to_pylist()


@pytest.mark.parametrize(
    ("kind", "engine", "said"),
    [
        ("kill", Processes(1), "a process was killed by SIGKILL; then a process was killed by SIGKILL"),
        ("hang", Processes(1, unit_timeout_s=8.0), "a process took longer than 0.8 s; then a process took longer"),
    ],
    ids=["kills", "hangs"],
)
def test_a_row_that_kills_or_holds_up_who_looks_at_it_fails_alone(
    tmp_path: Path, kind: str, engine: Engine, said: str
) -> None:
    wanted = shards_of(tmp_path / "whole", Inline())
    found = shards_of(tmp_path / "out", engine, Harm(kind, "1/5", is_light=True))
    assert (found[0], found[2]) == (wanted[0], wanted[2])
    assert (found[1].rows_in, found[1].rows, dict(found[1].failed)) == (ROWS, 8, {"row_failed": 1, "text_missing": 1})
    whole = read_parquet(str(tmp_path / "whole" / wanted[1].files["rows"].path), ROWS - 1)
    kept = read_parquet(str(tmp_path / "out" / found[1].files["rows"].path), ROWS - 2)
    assert kept.to_pylist() == [row for row in whole.to_pylist() if row["key"] != "1/5"]
    (problem,) = [row for row in problems_of(tmp_path / "out", found[1]) if row["reason"] == "row_failed"]
    assert (problem["key"], problem["uid"]) == ("1/5", whole["uid"][5].as_py())
    assert problem["detail"].startswith(f"looking at it alone, {said}")
    step = step_of("score", found)
    assert step.rows_in == UNITS * ROWS == step.rows_out + sum(step.failed.values())
    assert not list(tmp_path.rglob("*.strike-*"))
    assert shards_of(tmp_path / "out", Processes(1)) == found, "it stays counted"
    assert forget(str(tmp_path / "out")) == 1, "until somebody wants it tried again"
    assert shards_of(tmp_path / "out", Processes(1)) == wanted


def test_a_picture_that_takes_too_long_to_decode_is_the_only_row_that_is_marked() -> None:
    slow, quick = io.BytesIO(), io.BytesIO()
    Image.new("L", (13_000, 13_000)).save(slow, "PNG", compress_level=1)
    Image.new("L", (12, 12)).save(quick, "PNG")

    class Pictures(Rows):
        def read(self, unit: object) -> list[pa.Table]:
            (table,) = super().read(units(1)[0])
            images = [quick.getvalue(), slow.getvalue(), *[quick.getvalue()] * (ROWS - 2)]
            return [table.set_column(3, table.schema.field("image"), pa.array(images, pa.large_binary()))]

    (table,) = Guarded(Pictures(), Chain(()), limit_s=0.25).read(units(1)[0])
    assert table["problem"].to_pylist() == [None, "row_failed", *[None] * (ROWS - 3), "text_missing"]
    (table,) = Guarded(Pictures(), Chain(()), limit_s=60).read(units(1)[0])
    assert good_rows(table) == list(range(ROWS - 1))


def test_a_stage_that_cannot_be_opened_is_an_error_and_no_harm_of_rows() -> None:
    with pytest.raises(DataError, match="the process that looks at rows: expected to load what it needs"):
        list(Guarded(Rows(), "no stage", limit_s=1).read(units(1)[0]))  # type: ignore[arg-type]
