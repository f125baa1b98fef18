"""Run a job in a process and session of its own, which ends with the process that started it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from typing import Any

import psutil

from dept.runs.folder import LOG
from lab.basics.processes import our_environment, our_python
from lab.jobs.job import Job, Outcome, Status, is_done

GRACE_SECONDS = 30.0  # a job that exceeds its time gets these to save


class JobProcess:
    """A job's process, started on construction; call `poll` until it returns an outcome.

    Args:
        job: its stderr goes to the log in its folder.
        gpu: the only GPU that it sees; None leaves the GPUs as they are.
    """

    def __init__(self, job: Job, gpu: str | None = None) -> None:
        self.job = job
        self._started = time.monotonic()
        self._ends_as: tuple[Status, str] | None = None
        self._kill_at = float("inf")
        self._answer = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        job.folder.mkdir(parents=True, exist_ok=True)
        environment = our_environment(OMP_NUM_THREADS=str(job.resources.cpus))
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        with (job.folder / LOG).open("ab") as log:
            self._process = subprocess.Popen(
                our_python("lab.jobs.worker", str(os.getpid())),
                stdin=subprocess.PIPE,
                stdout=self._answer,
                stderr=log,
                env=environment,
                start_new_session=True,  # a terminal's Ctrl-C reaches only us, and we stop the job
            )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the process ended at once: `poll` reports why
            self._process.stdin.write(json.dumps(job.to_dict()).encode())
            self._process.stdin.close()

    def poll(self) -> Outcome | None:
        """The outcome, or None while the job runs; a job that exceeds its time is stopped."""
        if self._process.poll() is not None:
            return self._outcome()
        now = time.monotonic()
        limit = self.job.timeout_s
        if limit is not None and now - self._started > limit and self._ends_as is None:
            self.stop("timed out", f"took longer than {limit:g} s", GRACE_SECONDS)
        if now > self._kill_at:
            self.kill()
        return None

    def stop(self, status: Status, reason: str, grace_s: float = float("inf")) -> None:
        """Ask the job to finish its step, save and end; kill it if it has not ended after `grace_s` seconds."""
        self._ends_as = status, reason
        self._kill_at = time.monotonic() + grace_s
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process and all its descendants."""
        processes = [self._process]
        with contextlib.suppress(psutil.NoSuchProcess):
            processes += psutil.Process(self._process.pid).children(recursive=True)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        psutil.wait_procs(processes[1:], timeout=5)

    def _outcome(self) -> Outcome:
        seconds = round(time.monotonic() - self._started, 1)
        self._answer.seek(0)
        lines = self._answer.read().decode().splitlines()
        self._answer.close()
        answer: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        if is_done(self.job):
            return Outcome(self.job, "completed", seconds=seconds)
        if self._ends_as is not None:
            status, reason = self._ends_as
            error = answer.get("error")
            return Outcome(self.job, status, f"{reason} ({error})" if error else reason, seconds)
        if answer.get("status") not in (None, "completed"):
            return Outcome(self.job, answer["status"], answer["error"], seconds)
        return Outcome(self.job, "failed", self._why(), seconds)

    def _why(self) -> str:
        """The reason why a process ended without an answer, or without the run that it reported."""
        code = self._process.returncode
        if code == 0:
            return "it ended, but its folder does not hold the completed run"
        if code == -signal.SIGKILL:
            return "its process was killed: out of memory?"
        if code < 0:
            return f"its process ended by {signal.Signals(-code).name}"
        lines = (self.job.folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), f"exit code {code}")
