"""Every engine gives the shards that `inline` gives, also where workers die, hang, or meet an error."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from dfndr_builders.build import build
from dfndr_builders.engines.base import Engine
from dfndr_builders.engines.inline import Inline
from dfndr_builders.engines.processes import Processes
from dfndr_builders.engines.strikes import Strikes, forget
from dfndr_builders.phase import run_phase, step_of
from support import faults
from support.working import ROWS, Harm, is_gone, job, units, who

from dfndr.errors import DataError
from dfndr.format.manifest import Manifest, Shard
from dfndr.progress import SILENT
from dfndr.verify import verify

UNITS = 6
built = faults.built


def shards_of(root: Path, engine: Engine, harm: Harm | None = None, *, count: int = UNITS) -> tuple[Shard, ...]:
    return run_phase("score", job(root, harm), units(count), SILENT, engine=engine)


def strikes_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*.strike-*"))


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shard, ...]:
    return shards_of(tmp_path_factory.mktemp("inline"), Inline())


@pytest.fixture(params=["processes", "ray"], scope="module")
def crew(request: pytest.FixtureRequest) -> Iterator[type]:
    if request.param == "processes":
        yield Processes
        return
    ray = pytest.importorskip("ray", reason="ray is not installed")
    from dfndr_builders.engines.on_ray import OnRay

    with pytest.MonkeyPatch.context() as patched:  # what Ray starts here finds the job's classes
        tests = str(Path(__file__).parents[1])
        patched.setenv("PYTHONPATH", os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")]))
        yield OnRay
    ray.shutdown()


def due(folder: Path, times: int) -> str:
    """Return a folder from which a harm takes a file each time."""
    folder.mkdir()
    for number in range(times):
        (folder / str(number)).touch()
    return str(folder)


def test_a_build_is_the_same_dataset(crew: type, built: tuple[Path, Manifest], tmp_path: Path) -> None:
    recipe, undisturbed = built
    again = build(recipe, tmp_path / "out", device="cpu", engine=crew(1 + (crew is Processes)))
    assert again.digest == undisturbed.digest
    assert verify(str(tmp_path / "out")).ok


def test_two_workers_give_the_shards_of_one_process(crew: type, wanted: tuple[Shard, ...], tmp_path: Path) -> None:
    assert shards_of(tmp_path, crew(2)) == wanted


def test_workers_have_the_environment_that_their_driver_has_now(
    wanted: tuple[Shard, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards_of(tmp_path / "first", Processes(1), count=1)  # what workers are forked from runs from here on
    monkeypatch.setenv("DFNDR_LOOKED_FOR", "")
    assert shards_of(tmp_path / "then", Processes(1), Harm("look", "0/0"), count=1) == wanted[:1]


def test_a_worker_that_is_killed_costs_nothing_but_time(crew: type, wanted: tuple[Shard, ...], tmp_path: Path) -> None:
    harm = Harm("kill", "2/5", due(tmp_path / "due", 1))
    assert shards_of(tmp_path / "out", crew(1), harm) == wanted
    assert strikes_in(tmp_path) == []


def test_a_unit_that_kills_each_worker_is_put_aside_after_two_and_all_others_are_done(
    crew: type, wanted: tuple[Shard, ...], tmp_path: Path
) -> None:
    for _ in range(2):  # the second time nobody tries the unit
        with pytest.raises(DataError, match=r"unit 2 \(rows-2.tar\).*2 that did not.*--failed-units") as raised:
            shards_of(tmp_path, crew(1), Harm("kill", "2/5"))
        assert "died" in str(raised.value) or "SIGKILL" in str(raised.value)
        assert strikes_in(tmp_path) == ["00002.strike-1", "00002.strike-2"]
        assert len(list(tmp_path.glob("shards/*/*.json"))) == UNITS - 1
    assert forget(str(tmp_path)) == 2
    assert shards_of(tmp_path, crew(1)) == wanted


def test_the_rows_of_such_a_unit_are_counted_where_that_is_asked_for(
    crew: type, wanted: tuple[Shard, ...], tmp_path: Path
) -> None:
    found = shards_of(tmp_path, crew(1, on_failed="count"), Harm("kill", "2/5"))
    assert [shard for shard in found if shard.index != 2] == [shard for shard in wanted if shard.index != 2]
    assert (found[2].rows_in, found[2].rows) == (ROWS, 0)
    assert found[2].failed == {"text_missing": 1, "unit_failed": ROWS - 1}
    step = step_of("score", found)
    assert step.rows_in == UNITS * ROWS == step.rows_out + sum(step.failed.values())
    assert shards_of(tmp_path, crew(1)) == found  # and they stay counted
    assert forget(str(tmp_path)) == 1
    assert shards_of(tmp_path, crew(1)) == wanted


def test_an_error_of_the_job_is_raised_as_it_is_and_is_no_strike(crew: type, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the row: expected no harm, found some"):
        shards_of(tmp_path, crew(1), Harm("raise", "0/0"))
    with pytest.raises(ZeroDivisionError, match="a bug") as raised:
        shards_of(tmp_path, crew(1), Harm("bug", "0/0"))
    assert "working.py" in "".join(raised.value.__notes__)
    assert strikes_in(tmp_path) == []


def test_a_unit_that_takes_too_long_is_killed_and_tried_again(
    crew: type, wanted: tuple[Shard, ...], tmp_path: Path
) -> None:
    harm = Harm("hang", "3/0", due(tmp_path / "due", 1))
    assert shards_of(tmp_path / "out", crew(1, unit_timeout_s=6.0), harm) == wanted


def test_ctrl_c_ends_the_workers_within_five_seconds(crew: type, tmp_path: Path) -> None:
    pids, pressed_at = tmp_path / "pids", []

    def press() -> None:
        pressed_at.extend([who(pids), time.monotonic()])
        os.kill(os.getpid(), signal.SIGINT)

    pids.mkdir()
    pressing = threading.Thread(target=press)
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        shards_of(tmp_path / "out", crew(1), Harm("hang", "0/0", pids=str(pids)))
    assert time.monotonic() - pressed_at[1] < 5
    assert is_gone(pressed_at[0], within_s=5)
    pressing.join()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_driver(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "pids").mkdir()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dfndr_builders.engines.crew"])
    driver = context.Process(target=drive, args=(str(tmp_path),))
    driver.start()
    worker = who(tmp_path / "pids")
    os.killpg(driver.pid, how) if how == signal.SIGINT else os.kill(driver.pid, how)
    driver.join(timeout=5)
    assert driver.exitcode is not None
    assert is_gone(worker, within_s=5)


def drive(folder: str) -> None:
    """Run a phase whose first unit hangs, in a process group of its own, as a shell runs a command."""
    os.setsid()
    with suppress(KeyboardInterrupt):
        shards_of(Path(folder) / "out", Processes(1), Harm("hang", "0/0", pids=f"{folder}/pids"))


def test_strikes_are_kept_across_runs_and_cleared_by_success(wanted: tuple[Shard, ...], tmp_path: Path) -> None:
    strikes, (unit, *_) = Strikes.of_phase(str(tmp_path), "a" * 64), units(1)
    assert strikes.add(unit, "it was killed") == ["it was killed"]
    assert strikes.against(unit) == ["it was killed"]
    with pytest.raises(DataError, match="it was killed; it was killed by SIGKILL"):
        shards_of(tmp_path, Processes(1), Harm("kill", "0/0"), count=1)
    forget(str(tmp_path))
    strikes.add(unit, "it was killed")
    assert shards_of(tmp_path, Processes(1), count=1) == wanted[:1]
    assert strikes.against(unit) == []
