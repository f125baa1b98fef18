"""Run a job in a process and session of its own, which ends with the process that started it."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from dept.runs.folder import LOG
from lab.basics.child import Child
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
        job.folder.mkdir(parents=True, exist_ok=True)
        environment = our_environment(OMP_NUM_THREADS=str(job.resources.cpus))
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        self._child = Child(
            our_python("lab.jobs.worker", str(os.getpid())),
            job.folder / LOG,
            question=json.dumps(job.to_dict()),
            environment=environment,
            limit_s=job.timeout_s,
            grace_s=GRACE_SECONDS,
        )

    def poll(self) -> Outcome | None:
        """The outcome, or None while the job runs; a job that exceeds its time is stopped."""
        code = self._child.poll()
        if self._child.late and self._ends_as is None:
            self._ends_as = "timed out", f"took longer than {self.job.timeout_s:g} s"
        return None if code is None else self._outcome(code)

    def stop(self, status: Status, reason: str) -> None:
        """Ask the job to finish its step, save and end."""
        self._ends_as = status, reason
        self._child.stop()

    def kill(self) -> None:
        """Kill the process and all its descendants."""
        self._child.kill()

    def _outcome(self, code: int) -> Outcome:
        seconds = round(time.monotonic() - self._started, 1)
        answer = _last_object(self._child.answer)
        if is_done(self.job):
            return Outcome(self.job, "completed", seconds=seconds)
        if self._ends_as is not None:
            status, reason = self._ends_as
            error = answer.get("error")
            return Outcome(self.job, status, f"{reason} ({error})" if error else reason, seconds)
        if answer.get("status") not in (None, "completed"):
            return Outcome(self.job, answer["status"], answer["error"], seconds)
        without_run = "it ended, but its folder does not hold the completed run"
        return Outcome(self.job, "failed", self._child.reason() if code else without_run, seconds)


def _last_object(text: str) -> dict[str, Any]:
    """The JSON object of the last line; {} if there is none, as from a process that was killed while it wrote."""
    lines = text.splitlines()
    try:
        answer: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return answer
