"""Jobs on a real Ray cluster of this machine: a worker that is killed, a machine with another disk."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dept.errors import ConfigError, RunError
from lab.jobs.choose_engine import engine_named
from lab.jobs.engine import Event
from lab.jobs.job import Job, Resources, is_done, new_job
from tests.lab.reproduce.helpers import MARK, ROOT, left_over, tiny_config

pytest.importorskip("ray", reason="needs Ray: pip install 'dept-lab[ray]'")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray warns of its own future


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster of one machine with two cores, and the mark of its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mark = str(tmp_path_factory.mktemp("ray"))
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"]
    command += [f"--port={port}", "--include-dashboard=false", "--disable-usage-stats"]
    # Ray asks for tokens where the machine has one, which a cluster that Ray started by itself has left there.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", MARK: mark}
    head = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"127.0.0.1:{port}"
    head.terminate()
    head.wait(30)
    assert left_over(mark, 30) == []


def kill_the_worker_of(job: Job) -> None:
    """SIGKILL for the Ray worker that a job runs in, once it has trained a step or two."""

    def wait() -> None:
        until = time.monotonic() + 120
        while not (job.folder / "metrics.jsonl").exists() and time.monotonic() < until:
            time.sleep(0.02)
        state = json.loads((job.folder / "state.json").read_text())
        os.kill(psutil.Process(state["pid"]).ppid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def steps(job: Job) -> list[int]:
    lines = [json.loads(line) for line in (job.folder / "metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if line["split"] == "train"]


def test_a_job_whose_worker_is_killed_goes_on(cluster: str, tiny_t5: Path, tmp_path: Path) -> None:
    job = new_job(tiny_config(tiny_t5, max_steps=100, eval_every=20), tmp_path / "runs")
    kill_the_worker_of(job)
    events: list[Event] = []
    [outcome] = engine_named("ray", cluster).run([job], workers=2, on_event=events.append)
    assert (outcome.status, outcome.attempts) == ("completed", 2), outcome
    assert [event.kind for event in events] == ["started", "again", "ended"]
    assert "its worker was lost" in events[1].note
    assert steps(job) == list(range(1, 101))
    assert list((tmp_path / "runs").glob(".*")) == [], "no trace of the way there"


def test_a_machine_with_another_disk_sends_the_files_back(cluster: str, tiny_t5: Path, tmp_path: Path) -> None:
    from lab.jobs.ray import RayEngine

    job = new_job(tiny_config(tiny_t5), tmp_path / "runs")
    [outcome] = RayEngine(cluster, shared_disk=False).run([job], workers=2, on_event=lambda event: None)
    assert outcome.status == "completed", outcome
    assert is_done(job)
    assert steps(job) == [1, 2, 3, 4, 5, 6]
    result = json.loads((job.folder / "result.json").read_text())
    assert result["config"]["output_dir"] == str(job.folder), "nothing speaks of where it was made"
    assert list((tmp_path / "runs").glob(".*")) == []


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "127.0.0.1:99999", "nobody..:1"])
def test_no_cluster_at_the_address_is_one_line(address: str) -> None:
    with pytest.raises(RunError, match=f"no Ray cluster answers at {address} .*") as found:
        engine_named("ray", address)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("address", ["here", "127.0.0.1:abc", "http://127.0.0.1:9", ""])
def test_what_cannot_be_an_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="--address is HOST:PORT"):
        engine_named("ray", address)


def test_without_an_address_it_joins_nobodys_cluster(
    tiny_t5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def init(address: str | None, **settings: object) -> None:
        asked.append(address)
        raise ConnectionError("no room")

    monkeypatch.setattr("ray.init", init)
    job = new_job(tiny_config(tiny_t5), tmp_path)
    with pytest.raises(RunError, match=r"no Ray cluster could be started here \(no room\)"):
        engine_named("ray").run([job], workers=1, on_event=lambda event: None)
    assert asked == ["local"]


@pytest.mark.parametrize("resources", [Resources(cpus=3), Resources(gpus=1)])
def test_a_job_that_no_machine_has_room_for_does_not_wait_for_ever(
    cluster: str, tiny_t5: Path, tmp_path: Path, resources: Resources
) -> None:
    job = new_job(tiny_config(tiny_t5), tmp_path / "runs", resources=resources)
    with pytest.raises(RunError, match="no machine of the Ray cluster has"):
        engine_named("ray", cluster).run([job], workers=1, on_event=lambda event: None)
    assert list((tmp_path / "runs").iterdir()) == []
