"""Where runs are made: two commands with the same flags, help and checks; what their jobs get."""

from __future__ import annotations

import dataclasses
import inspect
import io
from typing import Any

import pytest
from rich.console import Console

from dept.errors import ConfigError
from dept.runs.settings import TrainConfig
from lab.jobs import where as where_module
from lab.jobs.engine import Event
from lab.jobs.job import Job, Outcome
from lab.jobs.local import LocalEngine
from lab.jobs.watch import JobWatch
from lab.jobs.where import Where
from lab.reproduce.cli import reproduce
from lab.sweep.cli import sweep


def test_both_commands_have_the_same_flags() -> None:
    names = [field.name for field in dataclasses.fields(Where)]
    flags = []
    for command in (reproduce, sweep):
        parameters = inspect.signature(command).parameters
        assert "where" not in parameters and list(parameters)[-1] == "output_dir"
        flags.append([repr(vars(parameters[name].annotation.__metadata__[0])) for name in names])
    assert flags[0] == flags[1]


@pytest.mark.parametrize(
    ("values", "gpus", "at_once", "threads"),
    [
        ({}, [], 6, 1),
        ({}, ["0", "1"], 2, 3),
        ({"workers": 4}, ["0", "1"], 4, 1),
        ({"workers": 2, "cpus_per_job": 5}, [], 2, 5),
        ({"workers": 9}, [], 9, 1),
        ({"engine": "ray"}, ["0", "1"], None, 1),
        ({"engine": "ray", "workers": 2, "gpus_per_job": 0.25}, [], 2, 1),
    ],
)
def test_runs_share_the_cores_of_this_machine(
    values: dict[str, Any], gpus: list[str], at_once: int | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where_module, "cores", lambda: 6)
    monkeypatch.setattr("lab.jobs.local.visible_gpus", lambda: gpus)
    where = Where.from_dict(values)
    assert (where.at_once, where.resources.cpus) == (at_once, threads)
    assert where.resources.gpus == values.get("gpus_per_job")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"workers": 0}, "workers must be at least 1, not 0"),
        ({"cpus_per_job": -1}, "cpus_per_job must be at least 1"),
        ({"engine": "slurm"}, "engine must be 'local' or 'ray', not 'slurm'"),
        ({"gpus_per_job": 1.0}, "add --engine ray"),
        ({"gpus_per_job": 1.5, "engine": "ray"}, "a part of one GPU or whole ones"),
        ({"gpus_per_job": -1.0, "engine": "ray"}, "a part of one GPU or whole ones"),
        ({"timeout": 0.0}, "--timeout must be above 0"),
        ({"track": "paper"}, "track must be 'trackio' or"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Where.from_dict(values)


def test_the_engine_is_that_of_its_name() -> None:
    assert isinstance(Where().connect(), LocalEngine)
    with pytest.raises(ConfigError, match="add --engine ray"):
        Where(address="head:6379").connect()


def test_jobs_are_shown_as_they_end() -> None:
    a, b, c = (Job(name, TrainConfig(output_dir=name)) for name in "abc")
    out = io.StringIO()
    with JobWatch(3, console=Console(file=out)) as watch:
        watch.show(Event("ended", c, Outcome(c, "completed", attempts=0)))  # was done before: no line
        watch.show(Event("started", a))
        watch.show(Event("started", b))
        watch.show(Event("again", a, note="its worker was lost"))
        watch.show(Event("ended", a, Outcome(a, "failed", "no rows", 2.6, 2)))
        watch.show(Event("ended", b, Outcome(b, "completed", seconds=1.0)))
    assert out.getvalue().splitlines() == [
        "a: its worker was lost",
        "2/3 a: failed: no rows (3 s), about 0 s left",
        "3/3 b: completed (1 s)",
    ]
