"""Twenty visitors who look at the page while two runs train: how fast it answers, and what that costs the training."""

from __future__ import annotations

import json
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from lab.ui.runs.tab import POLL_SECONDS
from tests.acceptance.page_server import BACKBONE, Browser, PageServer
from tests.acceptance.section import Outcome, Section, table

VISITORS = 20
SECONDS = 40.0  # of each of the four periods: alone, watched, alone, watched
_WARM_UP = 10.0  # in which a period's figures are not taken
FIELDS = {
    "Backbone": BACKBONE,
    "Rows": "sample",
    "Steps": 100_000,
    "Evaluate_every": 100_000,
    "s_source_tokens": 64,
}


def measure() -> Outcome:
    with (
        tempfile.TemporaryDirectory(prefix="dept-page-") as folder,
        PageServer(Path(folder), running=2, per_visitor=10, steps=100_000) as server,
    ):
        runs = Browser(server.address).launch(**FIELDS)
        files = [server.runs / run / "metrics.jsonl" for run in runs]
        while not all(file.exists() and file.stat().st_size > 10_000 for file in files):
            time.sleep(0.2)
        answers: list[float] = []
        faults: list[str] = []
        paces: dict[bool, list[float]] = {False: [], True: []}
        for watched in (False, True, False, True):
            paces[watched].append(_period(server, runs, files, answers, faults) if watched else _pace(files))
        log = server.log.read_text()
    alone, seen = (statistics.mean(paces[watched]) for watched in (False, True))
    slower, median = 1 - seen / alone, statistics.median(answers)
    slow = statistics.quantiles(answers, n=20)[-1]
    errors = len(faults) + log.count("Traceback")
    rows = [
        (
            f"answers to {VISITORS} visitors, each asking every {POLL_SECONDS:g} s",
            f"{len(answers):,}",
            len(answers) > 0,
        ),
        ("errors", str(errors), errors == 0),
        ("median answer", f"{1000 * median:.0f} ms (95%: {1000 * slow:.0f} ms)", median < 0.3),
        ("training, steps a second of both runs", f"{alone:.2f} alone, {seen:.2f} watched", True),
        ("training slowed by", f"{slower:.1%}", slower < 0.15),
    ]
    text = table(["what", "seen", "met"], [[what, found, "yes" if good else "NO"] for what, found, good in rows])
    return Outcome(all(good for *_, good in rows), text)


def _period(
    server: PageServer, runs: Sequence[str], files: Sequence[Path], answers: list[float], faults: list[str]
) -> float:
    """One period with all visitors; the training's pace in it."""
    done = threading.Event()

    def visit(number: int) -> None:
        """As the Runs tab does: the timer's request, whose answer tells what the browser has."""
        visitor = Browser(server.address)
        seen, opened = "", [runs[number % 2], runs[1 - number % 2]]
        done.wait(POLL_SECONDS * number / VISITORS)
        while not done.is_set():
            started = time.monotonic()
            try:
                seen = str(visitor.look(opened, seen)[-1])
            except AssertionError as fault:
                faults.append(str(fault))
            took = time.monotonic() - started
            answers.append(took)
            done.wait(max(0.0, POLL_SECONDS - took))

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(VISITORS)]
    for thread in threads:
        thread.start()
    time.sleep(_WARM_UP)
    answers.clear()
    pace = _pace(files)
    done.set()
    for thread in threads:
        thread.join()
    return pace


def _pace(files: Sequence[Path]) -> float:
    """Optimiser steps a second of all runs together, over a period that begins now."""
    before, started = sum(map(_steps, files)), time.monotonic()
    time.sleep(SECONDS)
    return (sum(map(_steps, files)) - before) / (time.monotonic() - started)


def _steps(file: Path) -> int:
    lines = file.read_bytes().splitlines()
    step: int = json.loads(lines[-1] if file.read_bytes().endswith(b"\n") else lines[-2])["step"]
    return step


SECTION = Section(
    "page_visitors",
    "The page: twenty visitors while two runs train",
    "no error, a median answer under 300 ms, training slowed by less than 15%.",
    measure,
)
