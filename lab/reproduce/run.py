"""Run a batch of jobs and keep its record up to date."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dept.basics.files import write_json, write_text
from lab.basics.guards import locked_folder
from lab.jobs.engine import Engine, Event
from lab.jobs.job import Job, Outcome
from lab.reproduce.batch import Batch
from lab.reproduce.page import batch_html


def run_batch(batch: Batch, jobs: Sequence[Job], engine: Engine, workers: int, console: Console) -> list[Outcome]:
    """Run the jobs that are not done; the folder's two files follow.

    Raises:
        RunError: another batch works in the folder, or the folder cannot be used.
    """
    began = time.monotonic()
    with locked_folder(batch.folder, "batch"), _Watch(console, len(jobs)) as watch:
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


class _Watch:
    """Progress on stderr: a bar with what runs at the moment; a line for each job that ends."""

    def __init__(self, console: Console, total: int) -> None:
        self._running: list[str] = []
        self._done = 0
        self._total = total
        self._bar = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> _Watch:
        self._bar.start()
        return self

    def __exit__(self, *fault: object) -> None:
        self._bar.stop()

    def show(self, event: Event) -> None:
        name, outcome = event.job.name, event.outcome
        if outcome is None:
            if event.kind == "started":
                self._running.append(name)
            else:
                self._say(f"{name}: {event.note}")
        else:
            self._done += 1
            if name in self._running:
                self._running.remove(name)
            if outcome.attempts or outcome.status != "completed":
                what = f"{outcome.status}: {outcome.error}" if outcome.error else outcome.status
                self._say(f"{self._done}/{self._total} {name}: {what} ({outcome.seconds:.0f} s)")
        self._bar.update(self._task, completed=self._done, description=", ".join(self._running))

    def _say(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
