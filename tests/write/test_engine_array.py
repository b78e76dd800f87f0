"""Tasks of an array that share a folder and nothing else: disjoint units, the digest of one process, nothing lost."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from dfndr_builders.build import build
from dfndr_builders.engines.array import CLAIMS, SlurmArray
from dfndr_builders.engines.claims import ALONE, Claims, joined, turn
from dfndr_builders.engines.inline import Inline
from dfndr_builders.output import LOCK, claimed
from dfndr_builders.phase import run_phase
from dfndr_builders.work import record_of, records_folder
from support import faults
from support.working import Harm, job, units

from dfndr.errors import DataError, UsageError
from dfndr.format.manifest import Manifest, Shard, read_manifest
from dfndr.progress import SILENT
from dfndr.verify import verify

UNITS, TASKS = 9, 3
built = faults.built


def started(work: Callable[..., object], *arguments: object) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "dfndr_builders.build", "open_clip", "duckdb"])
    process = context.Process(target=work, args=arguments)
    process.start()
    return process


def take_part(root: str, number: int, harm: Harm | None = None) -> None:
    """Be a task of the array, and write down which units it did itself."""
    array = SlurmArray(number, TASKS, Inline())
    mine: list[int] = []

    class Noting(Inline):
        def run(self, *arguments):  # type: ignore[no-untyped-def]
            for shard in super().run(*arguments):
                mine.append(shard.index)
                yield shard

    object.__setattr__(array, "engine", Noting())
    run_phase("score", job(Path(root), harm), units(UNITS), SILENT, engine=array)
    Path(root, f"done-by-{number}").write_text(" ".join(map(str, mine)))


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shard, ...]:
    return run_phase("score", job(tmp_path_factory.mktemp("inline")), units(UNITS), SILENT)


def test_three_tasks_build_the_dataset_of_one_process(built: tuple[Path, Manifest], tmp_path: Path) -> None:
    recipe, undisturbed = built
    tasks = [started(build_a_part, str(recipe), str(tmp_path / "out"), number) for number in range(TASKS)]
    for task in tasks:
        task.join()
    assert [task.exitcode for task in tasks] == [0, 0, 0]
    assert read_manifest(str(tmp_path / "out")).digest == undisturbed.digest
    assert verify(str(tmp_path / "out")).ok
    faults.assert_nothing_half_written(tmp_path / "out")


def build_a_part(recipe: str, out: str, number: int) -> None:
    build(recipe, out, device="cpu", engine=SlurmArray(number, TASKS, Inline()))


def found_in(root: Path) -> tuple[Shard | None, ...]:
    return tuple(record_of(str(root), "a" * 64, unit) for unit in units(UNITS))


def test_three_tasks_at_once_do_each_unit_once(wanted: tuple[Shard, ...], tmp_path: Path) -> None:
    tasks = [started(take_part, str(tmp_path), number) for number in range(TASKS)]
    for task in tasks:
        task.join()
    assert [task.exitcode for task in tasks] == [0, 0, 0]
    done = [path.read_text().split() for path in tmp_path.glob("done-by-*")]
    assert sorted(int(unit) for units in done for unit in units) == list(range(UNITS))
    assert found_in(tmp_path) == wanted


def test_one_task_alone_does_what_the_others_never_began(wanted: tuple[Shard, ...], tmp_path: Path) -> None:
    take_part(str(tmp_path), 1)
    assert (tmp_path / "done-by-1").read_text() == "1 4 7 0 2 3 5 6 8"
    assert found_in(tmp_path) == wanted


def test_what_a_killed_task_was_at_is_done_by_another(wanted: tuple[Shard, ...], tmp_path: Path) -> None:
    dying = started(take_part, str(tmp_path), 0, Harm("kill", "3/0"))
    dying.join()
    assert dying.exitcode == -signal.SIGKILL
    assert {shard.index for shard in found_in(tmp_path) if shard} <= {0}  # written, or about to be, as unit 3 was read
    take_part(str(tmp_path), 1)
    assert found_in(tmp_path) == wanted


def test_a_task_waits_for_what_another_is_at_and_says_so_when_that_takes_too_long(tmp_path: Path) -> None:
    holding = started(hold_a_unit, str(tmp_path), 5)
    while not (tmp_path / "held").exists():
        holding.join(timeout=0.05)
    array = SlurmArray(0, 1, Inline(), wait_s=0.3)
    with pytest.raises(DataError, match=r"unit 5 \(rows-5.tar\): expected the task that is at it .* within 0.3 s"):
        run_phase("score", job(tmp_path), units(UNITS), SILENT, engine=array)
    assert sum(shard is not None for shard in found_in(tmp_path)) == UNITS - 1
    holding.kill()
    holding.join()
    assert len(run_phase("score", job(tmp_path), units(UNITS), SILENT, engine=array)) == UNITS


def hold_a_unit(root: str, number: int) -> None:
    claims = Claims(records_folder(root, "a" * 64), CLAIMS)
    assert claims.take(number)
    Path(root, "held").touch()
    signal.pause()


def test_only_one_process_at_a_time_has_a_turn(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    several = [started(count_up, str(tmp_path)) for _ in range(3)]
    for process in several:
        process.join()
    assert (tmp_path / "count").read_text() == "60"


def count_up(root: str) -> None:
    for _ in range(20):
        with turn(root, ALONE):
            path = Path(root, "count")
            path.write_text(str(int(path.read_text()) + 1))


def test_tasks_of_one_recipe_share_a_folder_that_nobody_else_may_take(tmp_path: Path) -> None:
    root = str(tmp_path / "out")
    with claimed(root, "a" * 64, shared=True):
        (tmp_path / "out" / ".tmp-of-a-living-task").touch()
        with claimed(root, "a" * 64, shared=True):
            assert (tmp_path / "out" / ".tmp-of-a-living-task").exists()
        with (
            pytest.raises(UsageError, match="tasks that build recipe aaaaaaaaaaaa there"),
            claimed(root, "b" * 64, shared=True),
        ):
            pass
        with pytest.raises(UsageError, match="one that is running"), claimed(root, "a" * 64):
            pass
    with claimed(root, "b" * 64, shared=True):  # when all have left
        assert not (tmp_path / "out" / ".tmp-of-a-living-task").exists()
    with claimed(root, "a" * 64), pytest.raises(UsageError, match="one that is running"), joined(root, LOCK, "a" * 64):
        pass


def test_an_array_into_a_remote_folder_is_refused() -> None:
    with pytest.raises(UsageError, match="a folder that can hold locks"), claimed("memory://x", "a" * 64, shared=True):
        pass
