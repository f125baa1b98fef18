"""The page's server killed with SIGKILL again and again while two runs train and others wait; then the runs."""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lab.service.owners import OPERATOR
from lab.service.queue import RunQueue
from tests.acceptance.page_server import BACKBONE, Browser, PageServer
from tests.acceptance.section import Outcome, Section, table

KILLS = 5
STEPS = 400
FIELDS = {"Backbone": BACKBONE, "Rows": "sample", "Steps": STEPS, "Evaluate_every": 100, "s_source_tokens": 64}


def measure() -> Outcome:
    found: list[tuple[str, str, bool]] = []
    with (
        tempfile.TemporaryDirectory(prefix="dept-page-") as folder,
        PageServer(Path(folder), running=2, per_visitor=10) as server,
    ):
        found += _server_kills(server)
        found += _run_kills(server)
    text = table(["what", "seen", "met"], [[what, seen, "yes" if good else "NO"] for what, seen, good in found])
    return Outcome(all(good for *_, good in found), text)


def _server_kills(server: PageServer) -> list[tuple[str, str, bool]]:
    """Two pairs of runs, of which two train at a time; the server dies at random moments."""
    visitor = Browser(server.address)
    runs = [*visitor.launch(**FIELDS), *visitor.launch(Seed=7, **FIELDS)]
    queue = RunQueue(server.runs)
    moments = random.Random(0)
    started: dict[str, set[int]] = {run: set() for run in runs}
    starts, lost, zombies = [], 0, 0
    for _ in range(KILLS):
        _until(lambda: sum(queue.run(run, OPERATOR).status == "running" for run in runs) > 0)
        time.sleep(moments.uniform(0.5, 4))
        server.kill()
        before = _pids(queue, runs)
        time.sleep(moments.uniform(0.5, 4))
        starts.append(server.start())
        for run, pid in _pids(queue, runs).items():
            started[run] |= {pid, before.get(run, pid)}
        known = [run.run_id for run in queue.runs(OPERATOR)]
        lost += sum(run not in known for run in runs)
        visitor = Browser(server.address, identity=visitor.identity)
        seen = str(visitor.look(runs[:1])[0])
        lost += sum(run not in seen for run in runs)
        zombies += len(server.zombies())
        if all(queue.run(run, OPERATOR).status == "completed" for run in runs):
            break
    _until(lambda: all(queue.run(run, OPERATOR).status not in ("queued", "running") for run in runs), 900)
    ended = [queue.run(run, OPERATOR).status for run in runs]
    _until(lambda: not server.trainers(), 15)
    zombies += len(server.zombies())
    order = [json.loads((server.runs / run / "worker.json").read_text())["claimed"] for run in runs]
    again = [run for run, pids in started.items() if len(pids) > 2]  # its worker's number, then its own
    return [
        ("SIGKILLs of the server", f"{len(starts)} (start-ups of up to {max(starts):.0f} s, two runs training)", True),
        ("runs lost from the queue or from their visitor's page", str(lost), lost == 0),
        ("runs that ended completed", f"{ended.count('completed')} of {len(runs)}", set(ended) == {"completed"}),
        ("runs started twice", str(len(again)), not again),
        ("first in, first out", ", ".join("1234"[index] for index in _ranks(order)), _ranks(order) == [0, 1, 2, 3]),
        ("processes left, zombies", f"{len(server.trainers())}, {zombies}", not server.trainers() and not zombies),
    ]


def _run_kills(server: PageServer) -> list[tuple[str, str, bool]]:
    """Runs that die in each way; how long until the page says so, and what it says."""
    visitor, queue = Browser(server.address), RunQueue(server.runs)
    fields: dict[str, Any] = {"Method": "dept", **FIELDS, "Steps": 3000, "Evaluate_every": 3000}

    def state(run: str) -> dict[str, Any]:
        read: dict[str, Any] = json.loads((server.runs / run / "state.json").read_text())
        return read

    def killed(run: str) -> None:
        os.kill(state(run)["pid"], signal.SIGKILL)

    def disk_full(run: str) -> None:
        metrics = server.runs / run / "metrics.jsonl"
        metrics.unlink()
        metrics.symlink_to("/dev/full")  # every write from now on fails as on a full disk

    def diverged(run: str) -> None:
        _until(lambda: state(run)["status"] == "failed")  # it takes a few steps, which are not the page's

    ways: list[tuple[str, Callable[[str], None], dict[str, Any], str]] = [
        ("killed from outside", killed, {}, "ended from outside"),
        ("disk full", disk_full, {}, "the disk is full"),
        ("loss not finite", diverged, {"Learning_rate_of_the_prompt": 1000.0}, "the loss became"),
    ]
    found = []
    for what, harm, more, expected in ways:
        (run,) = visitor.launch(**{**fields, **more})
        _until(functools.partial(_has_begun, queue, run))
        harm(run)
        since = time.monotonic()
        while "failed at" not in str(visitor.look([run])[1]) and time.monotonic() - since < 60:
            time.sleep(0.1)
        seconds = time.monotonic() - since
        page = str(visitor.look([run])[1])
        found.append((f"a run that dies ({what}): until the page shows it, with the reason", f"{seconds:.1f} s",
                      seconds < 10 and expected in page))  # fmt: skip
    return found


def _has_begun(queue: RunQueue, run: str) -> bool:
    now = queue.run(run, OPERATOR)
    return (now.step or 0) > 0 or now.status == "failed"


def _pids(queue: RunQueue, runs: Sequence[str]) -> dict[str, int]:
    states = {run: json.loads((queue.folder.root / run / "state.json").read_text()) for run in runs}
    return {run: state["pid"] for run, state in states.items() if state["status"] == "running"}


def _ranks(values: Sequence[float]) -> list[int]:
    return sorted(range(len(values)), key=values.__getitem__)


def _until(what: Callable[[], bool], seconds: float = 120) -> None:
    """Raises TimeoutError when it is not so in time."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise TimeoutError("it did not happen in time")
        time.sleep(0.1)


SECTION = Section(
    "page_kills",
    "The page: killed servers, killed runs",
    "after SIGKILL of the server every run goes on or waits, none is lost or started twice, no process is left; a run "
    "that dies is shown as failed with its reason within 10 s.",
    measure,
)
