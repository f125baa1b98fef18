"""Jobs on a real Ray cluster of this machine: a worker that is killed, machines with and without the same disk."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from lab.engines import Event
from lab.jobs import Job, is_done, new_job
from tests.lab.batch_helpers import MARK, left_over, tiny_config

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'dept-lab[ray]'")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray warns of its own future


def kill_the_worker_of(job: Job) -> None:
    """SIGKILL for the Ray worker that a job runs in, once it has trained a step or two."""

    def wait() -> None:
        until = time.monotonic() + 120
        while not (job.folder / "metrics.jsonl").exists() and time.monotonic() < until:
            time.sleep(0.02)
        state = json.loads((job.folder / "state.json").read_text())
        os.kill(psutil.Process(state["pid"]).ppid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.parametrize("shared_disk", [True, False], ids=["one disk", "own disks"])
def test_jobs_come_back_from_a_cluster(
    shared_disk: bool, tiny_t5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lab.engine_ray import RayEngine

    monkeypatch.setenv(MARK, str(tmp_path))
    jobs = [
        new_job(tiny_config(tiny_t5, seed=seed, max_steps=40, eval_every=10), tmp_path / "runs") for seed in (1, 2)
    ]
    if shared_disk:
        kill_the_worker_of(jobs[0])
    events: list[Event] = []
    outcomes = RayEngine(shared_disk=None if shared_disk else False).run(jobs, workers=2, on_event=events.append)
    assert [outcome.status for outcome in outcomes] == ["completed", "completed"], outcomes
    assert all(map(is_done, jobs))
    lost = [event for event in events if event.kind == "again"]
    assert [event.job for event in lost] == (jobs[:1] if shared_disk else [])
    assert outcomes[0].attempts == (2 if shared_disk else 1)
    for job in jobs:
        result = json.loads((job.folder / "result.json").read_text())
        assert result["config"]["output_dir"] == str(job.folder), "nothing speaks of where it was made"
        lines = [json.loads(line) for line in (job.folder / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines if line["split"] == "train"] == list(range(1, 41))
    assert list((tmp_path / "runs").glob(".*")) == [], "no trace of the way there"
    assert left_over(str(tmp_path)) == []
