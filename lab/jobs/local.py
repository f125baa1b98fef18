"""Run jobs as processes of this machine."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.basics.guards import stop_signals
from lab.jobs.engine import POLL_SECONDS, Event
from lab.jobs.job import Job, Outcome, is_done
from lab.jobs.process import JobProcess


class LocalEngine:
    """Runs jobs as processes of this machine. If it has GPUs, each worker has one of its own."""

    def run(self, jobs: Sequence[Job], *, workers: int, on_event: Callable[[Event], None]) -> list[Outcome]:
        """See `Engine.run`."""
        outcomes: dict[int, Outcome] = {}
        running: dict[int, tuple[int, JobProcess]] = {}  # worker -> the job's number and its process
        gpus = visible_gpus()

        def ended(number: int, outcome: Outcome) -> None:
            outcomes[number] = outcome
            on_event(Event("ended", jobs[number], outcome))

        def collect() -> None:
            for worker, (number, process) in list(running.items()):
                outcome = process.poll()
                if outcome is not None:
                    del running[worker]
                    ended(number, outcome)

        try:
            with stop_signals():
                for number, job in enumerate(jobs):
                    if is_done(job):
                        ended(number, Outcome(job, "completed", attempts=0))
                        continue
                    while len(running) == workers:
                        time.sleep(POLL_SECONDS)
                        collect()
                    worker = next(worker for worker in range(workers) if worker not in running)
                    on_event(Event("started", job))
                    running[worker] = number, JobProcess(job, gpus[worker % len(gpus)] if gpus else None)
                while running:
                    time.sleep(POLL_SECONDS)
                    collect()
        except KeyboardInterrupt:
            with stop_signals():
                for _, process in running.values():
                    process.stop("stopped", "on request")
                with contextlib.suppress(KeyboardInterrupt):  # a second one: the processes are killed below
                    while running:
                        time.sleep(POLL_SECONDS)
                        collect()
        finally:
            for number, process in running.values():
                process.kill()
                ended(number, Outcome(jobs[number], "stopped", "killed on request"))
        return [
            outcomes.get(number, Outcome(job, "stopped", "not started", attempts=0)) for number, job in enumerate(jobs)
        ]


def visible_gpus() -> list[str]:
    """The GPUs that CUDA would show, as CUDA_VISIBLE_DEVICES names them; without loading CUDA."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip()]
    devices = Path("/proc/driver/nvidia/gpus")
    return [str(index) for index in range(len(list(devices.iterdir())))] if devices.is_dir() else []
