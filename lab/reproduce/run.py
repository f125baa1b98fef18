"""Run a batch of jobs and keep its record up to date."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console

from dept.basics.files import write_json, write_text
from lab.basics.guards import locked_folder
from lab.jobs.engine import Engine, Event
from lab.jobs.job import Job, Outcome
from lab.jobs.watch import JobWatch
from lab.reproduce.batch import Batch
from lab.reproduce.page import batch_html


def run_batch(batch: Batch, jobs: Sequence[Job], engine: Engine, workers: int, console: Console) -> list[Outcome]:
    """Run the jobs that are not done; the folder's two files follow.

    Raises:
        RunError: another batch works in the folder, or the folder cannot be used.
    """
    began = time.monotonic()
    with locked_folder(batch.folder, "batch"), JobWatch(len(jobs), console=console) as watch:
        batch.add(jobs)
        write_batch(batch)
        status = "failed"

        def on_event(event: Event) -> None:
            batch.update(event)
            watch.show(event)
            if event.outcome is None or event.outcome.attempts:  # those that are found done come all at once
                batch.elapsed_s = time.monotonic() - began
                write_batch(batch)

        try:
            outcomes = engine.run(jobs, workers=workers, on_event=on_event)
            found = {outcome.status for outcome in outcomes}
            status = "stopped" if "stopped" in found else "completed" if found == {"completed"} else "failed"
        finally:
            batch.status, batch.elapsed_s = status, time.monotonic() - began
            write_batch(batch)
    return outcomes


def write_batch(batch: Batch) -> None:
    """Write batch.json and index.html anew."""
    write_json(batch.file, batch.to_dict())
    write_text(batch.index, batch_html(batch))
