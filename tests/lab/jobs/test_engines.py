"""Jobs in processes of their own: what failed is told apart, nothing is done twice, nothing is left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import nbformat
import pytest

from dept.errors import ConfigError
from dept.runs.folder import LOG
from lab.jobs import process as job_process
from lab.jobs.choose_engine import engine_named
from lab.jobs.engine import Event
from lab.jobs.job import Job, is_done, new_job
from lab.jobs.local import LocalEngine, visible_gpus
from lab.jobs.worker import execute
from tests.lab.reproduce.helpers import MARK, left_over, notebook_job, tiny_config

pytestmark = pytest.mark.slow

STUBBORN = """
import time
while True:
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        pass
"""


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv(MARK, str(tmp_path))
    return str(tmp_path)


def test_a_notebook_that_raises_hangs_dies_or_leaves_no_run_is_reported_as_such(
    tiny_t5: Path, tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_process, "GRACE_SECONDS", 1.0)
    jobs = [
        notebook_job(tmp_path, "raises", "1 / 0"),
        notebook_job(tmp_path, "hangs", STUBBORN, timeout_s=8),
        notebook_job(tmp_path, "dies", "import os, signal", "os.kill(os.getpid(), signal.SIGKILL)"),
        notebook_job(tmp_path, "goes through", "answer + 1"),
        new_job(tiny_config(tiny_t5), tmp_path / "runs"),
    ]
    events: list[Event] = []
    outcomes = LocalEngine().run(jobs, workers=2, on_event=events.append)
    assert [outcome.status for outcome in outcomes] == [
        "cell error",
        "timed out",
        "dead kernel",
        "failed",
        "completed",
    ]
    assert [outcome.job for outcome in outcomes] == jobs
    errors = [outcome.error or "" for outcome in outcomes]
    assert errors[0] == "In [3]: ZeroDivisionError: division by zero"
    assert "took longer than 8 s" in errors[1]
    assert "cell 4" in errors[2] and "killed" in errors[2]
    assert "does not hold the completed run" in errors[3]
    assert [event.kind for event in events].count("started") == len(jobs)

    for job in jobs[:4]:
        assert job.notebook is not None and job.notebook.output.exists(), "what was executed can be read"
    assert jobs[3].notebook is not None
    executed = nbformat.read(jobs[3].notebook.output, as_version=4)
    assert executed.cells[-1].outputs[0]["data"]["text/plain"] == "43", "parameters reach the notebook"
    assert left_over(mark) == []

    events.clear()
    again = LocalEngine().run(jobs[4:], workers=2, on_event=events.append)
    assert (again[0].status, again[0].attempts) == ("completed", 0)
    assert [event.kind for event in events] == ["ended"], "nothing is started for a job that is done"


def test_a_fault_of_the_input_is_one_line(tiny_t5: Path, tmp_path: Path) -> None:
    job = new_job(tiny_config(tiny_t5, decoding="label_scoring", task="squad"), tmp_path)
    status, error = execute(job)
    assert (status, error) == ("failed", "task squad has no labels to score: leave out --decoding or use generate")
    assert not job.folder.exists(), "nothing is written"


def test_an_interruption_saves_and_leaves_nothing_running(tiny_t5: Path, tmp_path: Path, mark: str) -> None:
    config = tiny_config(tiny_t5, max_steps=3000, eval_every=1500, max_validation_rows=2, max_test_rows=2)
    jobs = [new_job(config, tmp_path), new_job(tiny_config(tiny_t5, seed=1), tmp_path)]
    interrupt_when(jobs[0], "config.json")
    outcomes = LocalEngine().run(jobs, workers=1, on_event=lambda event: None)
    assert [outcome.status for outcome in outcomes] == ["stopped", "stopped"]
    assert "at step" in (outcomes[0].error or "")
    assert outcomes[1].error == "not started" and not jobs[1].folder.exists()
    assert list(jobs[0].folder.glob("checkpoint-*")), "the step it was at is saved"
    assert (jobs[0].folder / LOG).exists()
    assert left_over(mark) == []
    assert not is_done(jobs[0])


def interrupt_when(job: Job, name: str) -> None:
    """Ctrl-C for this process, as soon as the job's folder has a file."""

    def wait() -> None:
        until = time.monotonic() + 120
        while not (job.folder / name).exists() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()


def test_engines_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(engine_named("local"), LocalEngine)
    with pytest.raises(ConfigError, match="none of local, ray"):
        engine_named("slurm")
    with pytest.raises(ConfigError, match="add --engine ray"):
        engine_named("local", "head:6379")


def test_each_worker_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert visible_gpus() == ["2", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []
