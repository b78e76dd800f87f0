"""Units in a chain: the same shards as one by one, the next begun before the last is written, errors after what was."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from dfndr_builders import running
from dfndr_builders.stage import POOL_SCHEMA
from dfndr_builders.units import Finished, Unit
from dfndr_builders.work import record_of
from support.working import ROWS, Harm, Rows, job, units

from dfndr.errors import DataError
from dfndr.format.manifest import Shard


def plain(shard: Shard) -> Shard:
    assert isinstance(shard, Finished)
    return shard.record()


def test_a_chain_of_units_gives_the_shards_that_each_alone_gives(tmp_path: Path) -> None:
    alone, rows = job(tmp_path / "alone").open(), list[int]()
    wanted = [plain(alone(unit)) for unit in units(4)]
    found = [plain(shard) for shard in job(tmp_path / "chain").open(rows.append).each(iter(units(4)))]
    assert found == wanted and rows == [ROWS] * 4
    assert [record_of(str(tmp_path / "chain"), "a" * 64, unit) for unit in units(4)] == wanted


def test_the_next_unit_is_read_while_one_runs_and_runs_while_one_is_written(tmp_path: Path) -> None:
    begun, seen = threading.Event(), list[str]()

    def write(write_it: Callable[[Unit, running.Gathered], Shard]) -> Callable[[Unit, running.Gathered], Shard]:
        def waiting(unit: Unit, gathered: running.Gathered) -> Shard:
            assert unit.index == 2 or begun.wait(10), "written only when the one after it runs"
            begun.clear()
            seen.append(f"write {unit.index}")
            return write_it(unit, gathered)

        return waiting

    def heavy(table: object) -> object:
        seen.append("run")
        if seen.count("run") > 1:
            begun.set()
        return table

    opened = job(tmp_path).open()
    opened = replace(opened, heavy=heavy, write=write(opened.write))  # type: ignore[arg-type]
    assert [shard.index for shard in opened.each(units(3))] == [0, 1, 2]
    assert seen == ["run", "run", "write 0", "run", "write 1", "write 2"]


def test_an_error_comes_after_the_units_before_it_which_are_committed(tmp_path: Path) -> None:
    done = list[int]()
    with pytest.raises(DataError, match="the row"):
        done += [shard.index for shard in job(tmp_path, Harm("raise", "2/5")).open().each(units(5))]
    shards = job(tmp_path / "again", Harm("raise", "2/5")).open().each(units(5))
    assert next(shards).index == 0
    with pytest.raises(DataError, match="the row"):
        list(shards)
    there = [record_of(str(tmp_path / "again"), "a" * 64, unit) is not None for unit in units(5)]
    assert there == [True, True, False, False, False]


def test_a_disk_that_is_full_stops_the_chain(tmp_path: Path) -> None:
    def write(unit: Unit, gathered: running.Gathered) -> Shard:
        raise OSError(28, "No space left on device")

    opened = replace(job(tmp_path).open(), write=write)
    with pytest.raises(OSError, match="No space left"):
        list(opened.each(units(50)))


def test_the_first_table_of_a_unit_is_small_and_none_is_large() -> None:
    row = next(Rows().read(Unit(0, "train", 0, 1))).slice(0, 1)
    assert [len(table) for table in running._rebatched([row] * 1000)] == [64, 256, 256, 256, 168]
    assert list(running._rebatched([POOL_SCHEMA.empty_table()])) == []
    large = row.set_column(3, "image", [[b"x" * 70_000_000]]).cast(POOL_SCHEMA)
    assert [len(table) for table in running._rebatched([large] * 3)] == [1, 1, 1]
