"""Runs that really train, on the tiny T5, in processes of their own; servers and runs that are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from dept.basics.files import write_json
from lab.basics import failures
from lab.basics.processes import our_environment
from lab.service.queue import RunQueue
from tests.lab.service.helpers import SMALL, queue_in, somebody, wait_for, wait_for_status

ENDLESS = {**SMALL, "max_steps": 3000, "eval_every": 3000}


def processes_of(root: Path) -> list[psutil.Process]:
    """Every process that works in a folder of runs; a zombie has no command line, and is looked for among ours."""
    found = [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if str(root) in " ".join(process.info["cmdline"] or []) and process.pid != os.getpid()
    ]
    return found + [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "runs"
    for process in processes_of(tmp_path / "runs"):  # of a test that failed
        process.kill()


def state(queue: RunQueue, run_id: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((queue.folder.root / run_id / "state.json").read_text())
    return content


def broken(queue: RunQueue, run_id: str) -> None:
    """Settings that `dept train` refuses before it loads anything: a run that costs a moment."""
    file = queue.folder.root / run_id / "settings.json"
    write_json(file, {**json.loads(file.read_text()), "batch_size": -1})


def test_runs_are_taken_in_their_order_and_a_refused_one_says_why(root: Path, tiny_t5: Path) -> None:
    queue, me = queue_in(root, tiny_t5), somebody()
    with queue.folder.slot(0):
        runs = queue.submit([SMALL] * 3, me)
        for run in runs:
            broken(queue, run)
    with queue.watched():
        wait_for(lambda: all(queue.run(run, me).status == "failed" for run in runs), 30)
        wait_for(lambda: processes_of(root) == [], 5)
    logs = [(queue.path(run, me) / "log.txt").stat() for run in runs]
    assert [stat.st_mtime_ns for stat in logs] == sorted(stat.st_mtime_ns for stat in logs)
    for run in runs:
        assert queue.run(run, me).error == "batch_size must be between 1 and 100,000, not -1"
        assert queue.run(run, me).can_resume


def test_only_one_worker_has_a_slot(root: Path, tiny_t5: Path) -> None:
    queue, me = queue_in(root, tiny_t5), somebody()
    with queue.folder.slot(0):
        (run,) = queue.submit([SMALL], me)
        worker = [sys.executable, "-P", "-m", "lab.service.worker", str(root)]
        assert subprocess.run(worker, env=our_environment(), check=False).returncode == 0
        assert queue.run(run, me).status == "queued"


def test_a_run_has_its_time_and_no_more_and_can_be_killed_or_stopped_while_it_loads(root: Path, tiny_t5: Path) -> None:
    queue, me = queue_in(root, tiny_t5), somebody()
    with queue.folder.slot(0):
        run, killed, stopped = queue.submit([ENDLESS] * 3, me)
        file = queue.path(run, me) / "submission.json"
        write_json(file, {**json.loads(file.read_text()), "max_seconds": 0.3})
    with queue.watched():
        wait_for_status(queue, run, "stopped", 10)
        for other, end, why in ((killed, queue.kill, failures.ENDED), (stopped, queue.stop, None)):
            wait_for_status(queue, other, "running", 10)
            end(other, me)
            wait_for_status(queue, other, "stopped", 10)
            assert queue.run(other, me).error == why and queue.run(other, me).can_resume
        wait_for(lambda: processes_of(root) == [], 5)
    assert queue.run(run, me).error == "the 0.005 minutes that a run may take are over: resume to go on"


@pytest.mark.slow
def test_training_outlives_its_server_and_the_queue_goes_on(root: Path, tiny_t5: Path) -> None:
    """Two runs train, one waits, the server is killed; stop, resume and kill work from the next server."""
    queue, me = queue_in(root, tiny_t5, running=2), somebody()
    code = (
        "import sys, time; from pathlib import Path; from tests.lab.service.helpers import queue_in\n"
        "with queue_in(Path(sys.argv[1]), Path(sys.argv[2]), running=2).watched(): time.sleep(600)"
    )
    no_number = {**SMALL, "prompt_lr": 1e3, "max_steps": 200}
    with queue.folder.slot(0), queue.folder.slot(1):
        first, second, third = queue.submit([ENDLESS, ENDLESS, no_number], me)
    server = subprocess.Popen([sys.executable, "-c", code, str(root), str(tiny_t5)], env=our_environment())
    try:
        wait_for(lambda: all((queue.run(run, me).step or 0) > 2 for run in (first, second)))
    finally:
        server.kill()
        server.wait()
    before = [state(queue, run)["pid"] for run in (first, second)]
    assert len({os.getsid(pid) for pid in before} | {os.getsid(0)}) == 3  # each in a session of its own
    assert queue.run(third, me).position == 1

    with queue.watched():
        assert [state(queue, run)["pid"] for run in (first, second)] == before
        queue.stop(first, me)
        assert queue.run(first, me).status in ("stopping", "stopped")
        wait_for_status(queue, first, "stopped", 20)
        stopped_at = state(queue, first)["step"]
        assert (queue.path(first, me) / f"checkpoint-{stopped_at}").is_dir()
        # Ended by somebody else, as the system does for want of memory.
        os.kill(state(queue, second)["pid"], signal.SIGKILL)
        wait_for_status(queue, second, "failed", 5)
        assert queue.run(second, me).error == failures.KILLED and queue.run(second, me).can_resume

        queue.resume(first, me)
        wait_for(lambda: (queue.run(first, me).step or 0) > stopped_at)
        curves = queue.curves(first, me)
        assert curves is not None and curves.loss.steps[:3] == [1, 2, 3] and curves.validation
        assert queue.run(first, me).steps_at_risk > 0
        wait_for_status(queue, third, "failed")  # whose turn it was when the first had stopped
        error = queue.run(third, me).error
        assert error is not None and "the loss became" in error and "--prompt-lr" in error

        # Without its worker a run goes on, and is still heard.
        worker = json.loads((queue.path(first, me) / "worker.json").read_text())["pid"]
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: not psutil.pid_exists(worker), 5)
        assert queue.run(first, me).status == "running"
        queue.kill(first, me)
        wait_for_status(queue, first, "stopped", 5)
        assert queue.run(first, me).error == failures.ENDED
        wait_for(lambda: processes_of(root) == [], 10)


@pytest.mark.slow
def test_a_full_disk_says_so_and_the_run_goes_on_when_there_is_room(root: Path, tiny_t5: Path) -> None:
    queue, me = queue_in(root, tiny_t5), somebody()
    with queue.folder.slot(0):
        (run,) = queue.submit([SMALL], me)
        metrics = queue.path(run, me) / "metrics.jsonl"
        metrics.symlink_to("/dev/full")
    with queue.watched():
        wait_for_status(queue, run, "failed")
        assert queue.run(run, me).error == failures.DISK_FULL
        metrics.unlink()
        queue.resume(run, me)
        wait_for_status(queue, run, "completed")
    result = queue.run(run, me).result
    assert result is not None and result["steps"] == 4 and result["data"]["source"] == "sample"
    assert queue.run(run, me).has_adapter
    wait_for(lambda: any("sst2 accuracy" in line for line in queue.log(run, me)))  # the process prints it last
