"""From the words of a command to an engine, or to an error that says what does not go together."""

import pytest
from dfndr_builders.engines.array import SlurmArray
from dfndr_builders.engines.choose import engine_of
from dfndr_builders.engines.inline import Inline
from dfndr_builders.engines.on_ray import OnRay
from dfndr_builders.engines.processes import Processes
from support.working import job

from dfndr.errors import UsageError


def test_each_name_stands_for_an_engine_and_its_options():
    assert engine_of("inline") == Inline()
    assert engine_of("processes", workers=3, unit_timeout_s=9) == Processes(3, "stop", 9)
    assert engine_of("processes", failed_units="count") == Processes(0, "count")
    assert engine_of("ray", address="auto", failed_units="retry") == OnRay(0, "auto")
    assert engine_of("slurm-array", task="2/5", workers=1) == SlurmArray(2, 5, Processes(1))


@pytest.mark.parametrize(
    ("name", "given", "found"),
    [
        ("inline", {"workers": 2}, "--workers"),
        ("inline", {"failed_units": "count"}, "--failed-units count"),
        ("processes", {"address": "auto"}, "--address"),
        ("ray", {"task": "0/2"}, "--task"),
        ("slurm-array", {"address": "auto"}, "--address"),
        ("slurm-array", {}, "None"),
        ("slurm-array", {"task": "2/2"}, "2/2"),
        ("slurm-array", {"task": "-1/2"}, "-1/2"),
        ("slurm-array", {"task": "1 of 2"}, "1 of 2"),
    ],
)
def test_what_does_not_go_together_is_said(name, given, found):
    with pytest.raises(UsageError) as raised:
        engine_of(name, **given)
    assert found in raised.value.found


def test_as_many_workers_as_cores_for_the_threads_of_the_recipe(tmp_path, monkeypatch):
    monkeypatch.setattr("dfndr_builders.engines.processes.cores", lambda: 8)
    monkeypatch.setattr("dfndr_builders.engines.processes.gpus", lambda device: [])
    sizes = {threads: Processes().size(_job(tmp_path, threads)) for threads in (1, 3, 8, 16)}
    assert sizes == {1: 8, 3: 2, 8: 1, 16: 1}
    assert Processes(5).size(_job(tmp_path, 8)) == 5
    monkeypatch.setattr("dfndr_builders.engines.processes.gpus", lambda device: ["0", "1"])
    assert Processes().size(_job(tmp_path, 8)) == 2


def _job(folder, threads):
    from dataclasses import replace

    return replace(job(folder), threads=threads)
