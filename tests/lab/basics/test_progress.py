from __future__ import annotations

import io

import pytest
from rich.console import Console

from lab.basics import progress as progress_module
from lab.basics.progress import Every, Progress, time_left


class Clock:
    """A time that goes on when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", clock)
    return clock


def test_without_a_terminal_there_are_plain_lines_and_not_too_many(clock: Clock) -> None:
    out = io.StringIO()
    with Progress(4, console=Console(file=out)) as progress:
        for seconds in range(15):
            clock.now = 100.0 + seconds
            progress.now(f"at {seconds}")
        progress.ended("[a]: done")
        progress.passed_over("b: was there")
        progress.passed_over()
        progress.now("soon after a line")
        clock.now += 1
        progress.ended("d: failed")
    assert out.getvalue().splitlines() == [
        "0/4 at 11",
        "1/4 [a]: done, about 42 s left",
        "2/4 b: was there",
        "4/4 d: failed",
    ]


def test_a_terminal_has_a_bar_and_the_lines_of_what_ended(clock: Clock) -> None:
    out = io.StringIO()
    with Progress(2, console=Console(file=out, force_terminal=True, width=120, color_system=None)) as progress:
        progress.now("a")
        clock.now += 60
        progress.now("still a")
        progress.ended("a: done")
    text = out.getvalue()
    assert "━" in text and "1/2 a: done, about 60 s left" in text
    assert "0/2 still a" not in text, "what goes on is in the bar"


def test_the_pace_is_that_of_the_work_and_counts_nothing_that_took_no_time(clock: Clock) -> None:
    out = io.StringIO()
    with Progress(3, work=10.0, console=Console(file=out)) as progress:
        assert progress.seconds_for(4.0) == 4.0
        clock.now += 8
        progress.ended("a", 4.0)
        assert (progress.elapsed_s, progress.seconds_for(3.0)) == (8.0, 6.0)
        progress.passed_over("left out", 1.0)
        progress.ended("c", 5.0)
    assert "1/3 a, about 12 s left" in out.getvalue()
    assert time_left(30.0, 1, 11) == "about 5.0 min left"


def test_every_few_seconds(clock: Clock) -> None:
    first, later = Every(5.0), Every(5.0, at_once=False)
    assert first.is_due() and not later.is_due()
    first.done()
    clock.now += 5.1
    assert first.is_due() and later.is_due()
