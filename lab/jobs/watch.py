"""Progress of jobs: what runs at the moment, and a line for each that ends."""

from __future__ import annotations

from lab.basics.progress import Progress
from lab.jobs.engine import Event


class JobWatch(Progress):
    """Shows the events of an engine; see `Progress`."""

    _running: tuple[str, ...] = ()

    def show(self, event: Event) -> None:
        name, outcome = event.job.name, event.outcome
        if event.kind == "again":
            self.say(f"{name}: {event.note}")
        if outcome is None:
            self._running = (*(running for running in self._running if running != name), name)
        else:
            self._running = tuple(running for running in self._running if running != name)
            what = f"{outcome.status}: {outcome.error}" if outcome.error else outcome.status
            if outcome.attempts:
                self.ended(f"{name}: {what} ({outcome.seconds:.0f} s)")
            else:
                self.passed_over("" if outcome.status == "completed" else f"{name}: {what}")
        self.now(", ".join(self._running))
