"""What the tests of jobs, engines and batches share: small jobs and notebooks, a look for processes left over."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any, Self

import nbformat
import psutil

from dept.runs.settings import TrainConfig
from lab.jobs.job import Job, Notebook, new_job

ROOT = Path(__file__).resolve().parents[3]
MARK = "DEPT_TEST_MARK"  # an environment variable, which every process inherits from the one that started it


def tiny_config(backbone: Path, **settings: Any) -> TrainConfig:
    """A run of a few steps on few sample rows."""
    values: dict[str, Any] = {
        "task": "sst2",
        "backbone": str(backbone),
        "data": "sample",
        "num_virtual_tokens": 4,
        "budget_tokens": 20,
        "max_seq_length": 64,
        "max_steps": 6,
        "eval_every": 2,
        "batch_size": 4,
        "prompt_lr": 0.1,
        "low_rank_lr": 0.01,
        "max_train_rows": 16,
        "max_validation_rows": 8,
        "max_test_rows": 8,
    }
    return TrainConfig.from_dict({**values, **settings})


def notebook_job(folder: Path, name: str, *cells: str, timeout_s: float | None = None) -> Job:
    """A job that executes these cells; its run, which they do not make, would go to folder/runs."""
    source = folder / f"{name}.ipynb"
    parameters = nbformat.v4.new_code_cell("answer = 1", metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(
        cells=[parameters, *map(nbformat.v4.new_code_cell, cells)], metadata={"kernelspec": kernel}
    )
    nbformat.write(book, source)
    job = new_job(TrainConfig(task="sst2", data="sample", backbone="t5-small", seed=len(name)), folder / "runs")
    executed = Notebook(source, folder / "executed" / f"{name}.ipynb", {"answer": 42})
    return Job(job.key, job.config, executed, timeout_s=timeout_s)


class Command:
    """`dept-lab ...` in a process of its own, with all that it starts to be found again by a mark."""

    def __init__(self, *arguments: object) -> None:
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lab.cli", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT), MARK: self.mark, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        """Kill it, where a failed test has left it running."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()

    def finish(self, timeout: float = 300) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err


def marked(mark: str) -> list[psutil.Process]:
    """The living processes with the mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def left_over(mark: str, seconds: float = 5.0) -> list[str]:
    """The command lines of the marked processes that have not ended after a while."""
    until = time.monotonic() + seconds
    while (found := marked(mark)) and time.monotonic() < until:
        time.sleep(0.1)
    return [" ".join(process.cmdline()) for process in found]
