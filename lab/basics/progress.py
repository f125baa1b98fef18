"""What a person sees of a long command: a bar on a terminal, else plain lines, and a line for whatever has ended."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from lab.basics.units import duration

_LINE_SECONDS = 10.0  # between plain lines about what is going on


class Every:
    """Says when something is due again.

    Args:
        seconds: between two times at the least.
        at_once: whether it is due at the start.
    """

    def __init__(self, seconds: float, *, at_once: bool = True) -> None:
        self._seconds = seconds
        self._last = float("-inf") if at_once else time.monotonic()

    def is_due(self) -> bool:
        return time.monotonic() - self._last > self._seconds

    def done(self) -> None:
        """It has just been done."""
        self._last = time.monotonic()


def time_left(elapsed_s: float, done: float, total: float) -> str:
    """The time that the rest of some work takes at the pace so far, in words."""
    return f"about {duration(elapsed_s / done * (total - done))} left"


class Progress:
    """Progress of a number of things; use it as a context.

    Args:
        things: how many there are.
        work: all that is to be done, in any unit; by default each thing is one.
        console: where it is shown; None is stderr.
    """

    def __init__(self, things: int, *, work: float | None = None, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._things, self._ended = things, 0
        self._work, self._done = float(things if work is None else work), 0.0
        self._began = time.monotonic()
        self._line = Every(_LINE_SECONDS, at_once=False)
        self._bar = Bar(
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=console,
            disable=not console.is_terminal,
            speed_estimate_period=3600,
            transient=True,
        )
        self._task = self._bar.add_task("", total=self._work, count=self._count)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *fault: object) -> None:
        self._bar.stop()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    @property
    def _count(self) -> str:
        return f"{self._ended}/{self._things}"

    def seconds_for(self, work: float) -> float:
        """How long some work takes at the pace so far; at first a unit of work counts as a second."""
        return work * (self.elapsed_s / self._done if self._done else 1.0)

    def now(self, what: str) -> None:
        """Show what is being done; without a terminal a line every few seconds at the most."""
        self._bar.update(self._task, description=what)
        if what and self._bar.disable and self._line.is_due():
            self.say(f"{self._count} {what}")

    def ended(self, text: str, work: float = 1.0) -> None:
        """A thing has ended: a line for it, with the time that is left."""
        self._ended += 1
        self._done += work
        left = f", {time_left(self.elapsed_s, self._done, self._work)}" if self._ended < self._things else ""
        self.say(f"{self._count} {text}{left}")
        self._show_bar()

    def passed_over(self, text: str = "", work: float = 1.0) -> None:
        """A thing takes no time: it was done before, or is left out. The pace is that of the others."""
        self._ended += 1
        self._work -= work
        if text:
            self.say(f"{self._count} {text}")
        self._show_bar()

    def say(self, text: str) -> None:
        """Show a line that stays."""
        self._line.done()
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _show_bar(self) -> None:
        self._bar.update(self._task, completed=self._done, total=self._work, count=self._count)
