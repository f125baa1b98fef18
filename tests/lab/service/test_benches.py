"""Benchmarks that visitors start: one at a time, in a process of their own, ended when asked, kept apart by owner."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from dept.basics.files import read_json, write_json
from dept.errors import ConfigError, RunError
from lab.bench.config import BenchConfig
from lab.service.allowed import Allowed
from lab.service.benches import BenchJobs
from lab.service.owners import OPERATOR, Visitor
from tests.lab.service.helpers import somebody, wait_for

CONFIG = BenchConfig(
    what=("inference",),
    backbones=("random:t5-small",),
    virtual_tokens=(20,),
    lengths=("fixed:8",),
    batch_size=1,
    repeats=1,
    passes=1,
)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backbones": ("random:/etc",)}, "choose one of"),
        ({"backbones": ("../x",)}, "choose one of"),
        ({"batch_size": 65}, "batch size"),
        ({"repeats": 6}, "repeats"),
        ({"virtual_tokens": tuple(range(10))}, "virtual tokens"),
    ],
)
def test_what_is_not_allowed_starts_nothing(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    jobs = BenchJobs(tmp_path / "benches")
    values = {name: getattr(CONFIG, name) for name in ("what", "backbones", "virtual_tokens", "batch_size", "repeats")}
    with pytest.raises(ConfigError, match=words):
        jobs.start(BenchConfig(**{**values, **changes}), Allowed(), somebody())
    assert jobs.running() is None and not (tmp_path / "benches").exists()


@pytest.mark.parametrize("bench_id", ["", "..", "0" * 24, "../" + "0" * 21, None, 7, "0" * 5000])
def test_an_id_that_is_none_is_refused(tmp_path: Path, bench_id: object) -> None:
    with pytest.raises(RunError, match="no such measurement"):
        BenchJobs(tmp_path).state(bench_id, somebody())


def test_a_visitor_finds_the_own_newest_one_again(tmp_path: Path) -> None:
    jobs, me, other = BenchJobs(tmp_path), somebody(), somebody()
    for number, who in enumerate((me, me, other)):
        folder = tmp_path / (f"{number}" * 24)
        folder.mkdir()
        write_json(folder / "worker.json", {"owner": who.owner, "planned": 1, "started": float(number)})
    assert jobs.latest(me) == "1" * 24 and jobs.latest(other) == jobs.latest(OPERATOR) == "2" * 24
    assert jobs.latest(somebody()) is None


@pytest.mark.slow
def test_one_is_measured_at_a_time_and_ends_when_asked(tmp_path: Path) -> None:
    jobs, owner = BenchJobs(tmp_path / "benches"), somebody()
    with pytest.raises(RunError, match="token"):
        jobs.start(CONFIG, Allowed(), Visitor())
    bench_id = jobs.start(CONFIG, Allowed(), owner)
    with pytest.raises(RunError, match="another measurement"):
        jobs.start(CONFIG, Allowed(), somebody())
    with pytest.raises(RunError, match="somebody else"):
        jobs.cancel(bench_id, somebody())

    process = psutil.Process(read_json(jobs.root / bench_id / "worker.json")["pid"])
    wait_for(lambda: (jobs.root / bench_id / "bench.json").exists())
    jobs.cancel(bench_id, owner)
    wait_for(lambda: jobs.state(bench_id, owner).status == "stopped")
    wait_for(lambda: jobs.running() is None)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert BenchJobs(jobs.root).state(bench_id, somebody()).status == "stopped"  # to another server on the folder
