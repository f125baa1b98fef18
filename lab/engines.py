"""Where jobs run: processes of this machine (here), or a Ray cluster (`engine_ray`). Both give the same folders."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from dept.errors import ConfigError
from lab.guards import stop_signals
from lab.job_process import JobProcess
from lab.jobs import Job, Outcome, is_done

ENGINES = ("local", "ray")
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Event:
    """Something that happened to a job, for whoever shows progress.

    Attributes:
        kind: started; again (it was lost with its worker and starts anew: `note` says why); ended (has an outcome).
    """

    kind: Literal["started", "again", "ended"]
    job: Job
    outcome: Outcome | None = None
    note: str = ""


class Engine(Protocol):
    """Runs jobs; a job that is done already is only reported."""

    def run(self, jobs: Sequence[Job], *, workers: int, on_event: Callable[[Event], None]) -> list[Outcome]:
        """Run all jobs, `workers` at a time, in their order.

        A job that fails leaves the others running. Ctrl-C and SIGTERM let each running job finish its step and save;
        a second one kills them. No process is left behind, whichever way this ends.

        Returns:
            One outcome a job, in the order of `jobs`; after Ctrl-C `stopped` for those that were not done.
        """
        ...


def engine_named(name: str, address: str | None = None) -> Engine:
    """The engine of a name.

    Args:
        address: of a running Ray cluster; None starts one on this machine.

    Raises:
        ConfigError: an unknown engine, an address without Ray or of a wrong form, or Ray is not installed.
        RunError: no Ray cluster is at the address.
    """
    if name not in ENGINES:
        raise ConfigError(f"--engine: {name!r} is none of {', '.join(ENGINES)}")
    if name == "local":
        if address is not None:
            raise ConfigError("--address is of a Ray cluster: add --engine ray")
        return LocalEngine()
    try:
        from lab.engine_ray import RayEngine
    except ModuleNotFoundError as fault:
        if fault.name != "ray":
            raise
        raise ConfigError("--engine ray needs Ray: pip install 'dept-lab[ray]'") from None
    return RayEngine(address)


class LocalEngine:
    """Processes of this machine. Where there are GPUs, each of the workers has one of its own."""

    def run(self, jobs: Sequence[Job], *, workers: int, on_event: Callable[[Event], None]) -> list[Outcome]:
        """See `Engine.run`."""
        outcomes: dict[int, Outcome] = {}
        running: dict[int, tuple[int, JobProcess]] = {}  # by worker: the job's number and its process
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
                        time.sleep(_POLL_SECONDS)
                        collect()
                    worker = next(worker for worker in range(workers) if worker not in running)
                    on_event(Event("started", job))
                    running[worker] = number, JobProcess(job, gpus[worker % len(gpus)] if gpus else None)
                while running:
                    time.sleep(_POLL_SECONDS)
                    collect()
        except KeyboardInterrupt:
            with stop_signals():
                for _, process in running.values():
                    process.stop("stopped", "on request")
                with contextlib.suppress(KeyboardInterrupt):  # a second one: the processes are killed below
                    while running:
                        time.sleep(_POLL_SECONDS)
                        collect()
        finally:
            for number, process in running.values():
                process.kill()
                ended(number, Outcome(jobs[number], "stopped", "killed on request"))
        return [
            outcomes.get(number, Outcome(job, "stopped", "not started", attempts=0)) for number, job in enumerate(jobs)
        ]


def visible_gpus() -> list[str]:
    """The GPUs that CUDA would show, as CUDA_VISIBLE_DEVICES names them; found without loading CUDA."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip()]
    found = Path("/proc/driver/nvidia/gpus")
    return [str(index) for index in range(len(list(found.iterdir())))] if found.is_dir() else []
