"""The interface of engines, which run jobs as processes of this machine (`local`) or on a Ray cluster (`ray`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from lab.jobs.job import Job, Outcome

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Event:
    """An event in a job's life, for showing progress.

    Attributes:
        kind: started; again (the job was lost with its worker and starts anew, `note` says why); ended (the job has
            an outcome).
    """

    kind: Literal["started", "again", "ended"]
    job: Job
    outcome: Outcome | None = None
    note: str = ""


class Engine(Protocol):
    """Runs jobs; a job that is done already is reported without running."""

    def run(self, jobs: Sequence[Job], *, workers: int, on_event: Callable[[Event], None]) -> list[Outcome]:
        """Run all jobs, `workers` at a time, in their order.

        A job that fails leaves the others running. Ctrl-C and SIGTERM let each running job finish its step and save;
        a second one kills them. No process is left behind, whichever way this ends.

        Returns:
            One outcome per job, in the order of `jobs`; after Ctrl-C `stopped` for jobs that were not done.
        """
        ...
