"""Small sweeps, made-up run folders, and an engine that works in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dept.basics.files import write_json
from lab.jobs.engine import Event
from lab.jobs.job import Job, Outcome, is_done
from lab.jobs.worker import execute


class InProcess:
    """An engine without processes; `made` are the jobs that it worked on."""

    def __init__(self) -> None:
        self.made: list[Job] = []

    def run(self, jobs: Sequence[Job], *, workers: int, on_event: Callable[[Event], None]) -> list[Outcome]:
        outcomes = []
        for job in jobs:
            if is_done(job):
                outcome = Outcome(job, "completed", attempts=0)
            else:
                self.made.append(job)
                outcome = Outcome(job, *execute(Job.from_dict(job.to_dict())))
            on_event(Event("ended", job, outcome))
            outcomes.append(outcome)
        return outcomes


def made_run(folder: Path, validation: Sequence[float], test: float | None = None, **facts: Any) -> None:
    """A run folder's metrics and result: accuracy at each evaluation, the best one in the result."""
    folder.mkdir(parents=True)
    lines = [
        {"step": step * 10, "split": "validation", "metrics": {"accuracy": value}}
        for step, value in enumerate([0.0, *validation])
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = {
        "status": "completed",
        "main_metric": "accuracy",
        "metrics": {
            "validation": {"accuracy": max(validation)},
            "test": None if test is None else {"accuracy": test},
        },
        "data": {"rows": {"test": 5}},
        "stop_reason": None,
    }
    write_json(folder / "result.json", result | facts)
