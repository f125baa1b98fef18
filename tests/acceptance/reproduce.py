"""Whole batches: every task by both methods, real rows, kills at random moments, a lost Ray worker, bad notebooks."""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from dept.backbones.known import default_backbone
from dept.runs.folder import read_metrics
from lab.jobs.local import LocalEngine
from tests.acceptance.section import Outcome, Section, shared, table
from tests.lab.reproduce.helpers import Command, left_over, marked, notebook_job

WHOLE_SECONDS, AGAIN_SECONDS = 15 * 60, 30
KILLS = 5
JOBS = 46  # 23 tasks by two methods; real rows are there for all of them
KILLED_TASKS = "rte,stsb,multirc,wsc"
RAY_TASKS = "rte,wsc"
FLAGS = ("--preset", "smoke", "--workers", "2", "--cpus-per-job", "1")
Check = tuple[str, str, bool]  # what, measured, met


def whole_batches() -> Outcome:
    with tempfile.TemporaryDirectory(prefix="dept-batches-") as name:
        folder = Path(name)
        return outcome(
            [
                *smoke(folder / "sample", "sample", "embedded sample"),
                *smoke(folder / "rows", str(shared() / "data"), "real rows from a folder"),
            ]
        )


def interrupted() -> Outcome:
    with tempfile.TemporaryDirectory(prefix="dept-batches-") as name:
        folder = Path(name)
        undisturbed = folder / "undisturbed"
        run("reproduce", *FLAGS, "--data", "sample", "--tasks", KILLED_TASKS, "--output-dir", undisturbed)
        return outcome(
            [
                *kills(folder / "killed", undisturbed),
                *lost_worker(folder / "ray", undisturbed),
                *bad_notebooks(folder / "bad"),
            ]
        )


def outcome(checks: Sequence[Check]) -> Outcome:
    words = (
        f"`dept-lab reproduce {' '.join(FLAGS)}`, backbone {default_backbone()}, 6 steps a run: that all of it works, "
        "not how well. Results are the same when key, all scores and the adapter's bytes are.\n\n"
    )
    lines = [[what, measured, "yes" if met else "NO"] for what, measured, met in checks]
    return Outcome(all(met for *_, met in checks), words + table(["figure", "measured", "met"], lines))


def smoke(folder: Path, data: str, what: str) -> list[Check]:
    """A whole batch, then the same again."""
    asked = ("reproduce", *FLAGS, "--data", data, "--output-dir", folder)
    seconds, code = run(*asked)
    jobs = json.loads((folder / "batch.json").read_text())["jobs"]
    statuses = Counter(job["status"] for job in jobs)
    again, code_again = run(*asked)
    found = results(folder)
    return [
        (
            f"{what}: all tasks, both methods",
            f"{len(jobs)} runs ({dict(statuses)}) in {seconds / 60:.1f} minutes",
            code == 0 and len(found) == len(jobs) == JOBS and seconds < WHOLE_SECONDS,
        ),
        (f"{what}: the same command again", f"{again:.1f} s", code_again == 0 and again < AGAIN_SECONDS),
    ]


def kills(folder: Path, whole: Path) -> list[Check]:
    """SIGKILL for the batch's process at random moments; what is finished must not be made again."""
    chance = random.Random(5)
    asked = ("reproduce", *FLAGS, "--data", "sample", "--tasks", KILLED_TASKS, "--output-dir", folder)
    finished: dict[Path, int] = {}
    killed, left, alive = 0, 0, 0
    for _ in range(KILLS):
        command = Command(*asked)
        time.sleep(chance.uniform(4, 22))
        alive += len(marked(command.mark))
        command.process.kill()
        command.process.communicate()
        killed += command.process.returncode == -signal.SIGKILL
        left += len(left_over(command.mark))
        finished |= {file: file.stat().st_mtime_ns for file in folder.glob("runs/*/result.json") if is_complete(file)}
    _, code = run(*asked)
    repeated = sum(file.stat().st_mtime_ns != at for file, at in finished.items())
    found, expected = results(folder), results(whole)
    same = sum(found[name] == expected.get(name) for name in found)
    once = all(steps(file) == list(range(1, 7)) for file in folder.glob("runs/*/metrics.jsonl"))
    jobs = 2 * len(KILLED_TASKS.split(","))
    return [
        (
            "killed at random moments",
            f"{killed} kills of {alive} processes, {left} left",
            killed == KILLS and not left,
        ),
        (
            "the same results as undisturbed",
            f"{same} of {jobs} runs, {len(finished)} finished before the last kill, {repeated} of them repeated",
            code == 0 and same == len(found) == jobs and not repeated and once,
        ),
    ]


def lost_worker(folder: Path, whole: Path) -> list[Check]:
    """The same jobs on a Ray cluster of this machine, one of whose workers is killed."""
    asked = ("reproduce", *FLAGS, "--engine", "ray", "--tasks", RAY_TASKS)
    command = Command(*asked, "--data", "sample", "--output-dir", folder)
    killer = threading.Thread(target=kill_a_ray_worker, args=(folder,), daemon=True)
    killer.start()
    code, _, complaints = command.finish(timeout=600)
    record = json.loads((folder / "batch.json").read_text())["jobs"]
    attempts = [job["attempts"] for job in record]
    found, expected = results(folder), results(whole)
    same = sum(found[name] == expected.get(name) for name in found)
    left = left_over(command.mark, 20)
    return [
        (
            "Ray, a worker killed in the middle",
            f"{same} of {len(record)} runs the same, attempts {attempts}, {len(left)} processes left",
            code == 0 and same == len(record) and max(attempts) == 2 and not left,
        )
    ]


def kill_a_ray_worker(folder: Path) -> None:
    """The one in which the first run trains."""
    until = time.monotonic() + 300
    while not (files := list(folder.glob("runs/*/metrics.jsonl"))) and time.monotonic() < until:
        time.sleep(0.05)
    state = json.loads((files[0].parent / "state.json").read_text())
    above = psutil.Process(state["pid"]).parents()  # the kernel's: the job's process, then Ray's worker
    os.kill(above[1].pid, signal.SIGKILL)


def bad_notebooks(folder: Path) -> list[Check]:
    """One that raises, one that hangs, one whose kernel dies."""
    folder.mkdir()
    jobs = [
        notebook_job(folder, "raises", "1 / 0"),
        notebook_job(folder, "hangs", "import time; time.sleep(3600)", timeout_s=15),
        notebook_job(folder, "dies", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
    ]
    outcomes = LocalEngine().run(jobs, workers=2, on_event=lambda event: None)
    return [
        (f"a notebook that {what}", f"{outcome.status}: {outcome.error}", outcome.status == expected)
        for what, outcome, expected in zip(
            ("raises", "hangs", "loses its kernel"),
            outcomes,
            ("cell error", "timed out", "dead kernel"),
            strict=True,
        )
    ]


def run(*arguments: object) -> tuple[float, int]:
    """Seconds and exit code of a command."""
    began = time.monotonic()
    code, _, complaints = Command(*arguments).finish(timeout=2 * WHOLE_SECONDS)
    print(complaints, flush=True)
    return time.monotonic() - began, code


def results(folder: Path) -> dict[str, Any]:
    """Key, scores and adapter of every completed run."""
    found = {}
    for file in folder.glob("runs/*/result.json"):
        if is_complete(file):
            result = json.loads(file.read_text())
            adapter = (file.parent / "adapter" / "adapter_model.safetensors").read_bytes()
            found[file.parent.name] = (result["key"], result["metrics"], result["best_step"], adapter)
    return found


def is_complete(file: Path) -> bool:
    return json.loads(file.read_text())["status"] == "completed"


def steps(file: Path) -> list[int]:
    return [line["step"] for line in read_metrics(file) if line["split"] == "train"]


WHOLE = Section(
    "reproduce",
    "Batches of notebooks",
    f"all tasks by both methods in under {WHOLE_SECONDS // 60} minutes on 2 cores, again in under {AGAIN_SECONDS} "
    "seconds; real rows too.",
    whole_batches,
    by_name=True,
)
INTERRUPTED = Section(
    "interrupted",
    "Batches that are disturbed",
    f"killed {KILLS} times, the same results with no run twice, none lost and no process left; a lost Ray worker "
    "replaced; a cell's error, a dead kernel and a time-out told apart.",
    interrupted,
)
