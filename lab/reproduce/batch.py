"""A batch of jobs as a folder: batch.json and index.html say at any time what is done, what failed, and why."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dept.basics.files import read_json
from dept.basics.provenance import checkout
from dept.errors import RunError
from dept.tasks import load_task
from lab.jobs.engine import Event
from lab.jobs.job import Job

SCHEMA_VERSION = 1
_PACKAGES = ("dept-lab", "torch", "transformers", "papermill", "nbclient")


@dataclass
class Batch:
    """What batch.json holds.

    Attributes:
        asked: the command's settings.
        left_out: tasks that cannot be run, with the reason.
        jobs: one record a job; those of earlier commands on the same folder that are not asked again are `earlier`.
        status: running, completed (every job is), failed (some are not) or stopped.
    """

    folder: Path
    title: str
    asked: dict[str, Any]
    left_out: Sequence[tuple[str, str]] = ()
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    status: str = "running"
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    elapsed_s: float = 0.0

    @property
    def file(self) -> Path:
        return self.folder / "batch.json"

    @property
    def index(self) -> Path:
        return self.folder / "index.html"

    def to_dict(self) -> dict[str, Any]:
        """Times in seconds; paths relative to the folder."""
        return {
            "schema_version": SCHEMA_VERSION,
            "title": self.title,
            "status": self.status,
            "asked": self.asked,
            "started": self.started,
            "elapsed_s": round(self.elapsed_s, 1),
            "left_out": [{"task": task, "reason": reason} for task, reason in self.left_out],
            "jobs": list(self.jobs.values()),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
            "commit": checkout(),
        }

    def add(self, jobs: Sequence[Job]) -> None:
        """Enter the jobs as waiting, after those that are in the folder already."""
        if self.file.exists():
            saved = read_json(self.file)
            found = saved.get("jobs") if isinstance(saved, dict) else None
            if not isinstance(found, list) or not all(isinstance(job, dict) and "key" in job for job in found):
                raise RunError(f"{self.file} is not a batch's: choose another --output-dir")
            self.jobs = {job["key"]: {**job, "earlier": True} for job in found}
        asked = {job.key for job in jobs}
        for job in jobs:
            self.jobs[job.key] = self._record(job)
        self.jobs = dict(sorted(self.jobs.items(), key=lambda item: item[0] not in asked))  # stable: earlier ones last

    def update(self, event: Event) -> None:
        """Enter what happened to a job."""
        record = self.jobs[event.job.key]
        if event.outcome is None:
            record |= {"status": "running", "error": event.note or None}
        else:
            outcome = event.outcome
            record |= {
                "status": outcome.status,
                "error": outcome.error,
                "seconds": outcome.seconds,
                "attempts": outcome.attempts,
            }

    def _record(self, job: Job) -> dict[str, Any]:
        root = self.folder.resolve()
        notebook = job.notebook.output.relative_to(root).as_posix() if job.notebook is not None else None
        return {
            "key": job.key,
            "name": job.name,
            "task": load_task(job.config.task).name,
            "method": job.config.method,
            "seed": job.config.seed,
            "status": "waiting",
            "error": None,
            "seconds": 0.0,
            "attempts": 0,
            "folder": job.folder.relative_to(root).as_posix(),
            "notebook": notebook,
            "earlier": False,
        }
