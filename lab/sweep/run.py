"""`dept-lab sweep`: run a grid, choose by validation, then score on test what was chosen, and nothing else.

The runs are trained without a test (`train(test=False)`); the chosen ones are tested afterwards. A sweep's folder
holds `sweep.json` (what was asked, and the outcome), `runs/` with a run folder each, and the report. The run folders
are the truth: asked again, a sweep goes on where they stand.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from dept.backbones.load import backbone_info
from dept.basics.files import read_json, write_json
from dept.errors import BackboneError, ConfigError, RunError
from dept.runs.settings import TrainConfig
from lab.basics.guards import locked_folder
from lab.estimate.batch import costs_of, estimate
from lab.estimate.pace import Pace, measured_pace
from lab.jobs.engine import Engine
from lab.jobs.job import Job, is_done
from lab.jobs.watch import JobWatch
from lab.sweep.choice import choices, is_pruned, result_of
from lab.sweep.grid import Trial
from lab.sweep.outcome import SweepPlan, Swept


def preview(
    plan: SweepPlan, folder: Path, *, workers: int, pace: Pace | None, price_per_hour: float | None
) -> list[str]:
    """What is to be done, and what that takes, in words; empty when nothing is left to do.

    Args:
        pace: of the machine; None measures it.
        price_per_hour: of the machine.

    Raises:
        DeptError: a plan that cannot be, a backbone or rows that cannot be used.
    """
    _check_plan(folder, plan)
    runs = plan.trials(folder)
    for backbone in dict.fromkeys(trial.job.config.backbone for trial in runs):
        backbone_info(backbone)  # names an unknown one
    training, testing = to_do(runs)
    if not training and not testing:
        return []
    rows = choices(runs)
    lines = [f"sweep {plan.sweep.name}: {len(rows):,} rows, {len(runs):,} runs, {len(training):,} of them to be made"]
    try:
        costs = costs_of(training)
        if pace is None and training:
            costliest = max(range(len(training)), key=lambda index: costs[index].training)
            pace = measured_pace(training[costliest])
        return lines + estimate(training, testing, workers=workers, pace=pace, costs=costs).lines(price_per_hour)
    except (BackboneError, ConfigError) as fault:  # of another family, or a method that is known on its layers alone
        return [*lines, f"no estimate: {fault}"]


def to_do(runs: Sequence[Trial]) -> tuple[list[TrainConfig], list[TrainConfig]]:
    """Runs that are still to be made, and those to be tested at most: one point of each row, all its seeds."""
    training = [trial.job.config for trial in unique(runs)]
    waiting = [choice for choice in choices(runs) if choice.chosen is None or choice.chosen.is_untested]
    return training, [trial.job.config for choice in waiting for trial in choice.candidates[0].trials]


def unique(runs: Sequence[Trial]) -> list[Trial]:
    """The runs that are not done or pruned, each once: two rows may hold the same run."""
    first = {trial.job.key: trial for trial in reversed(runs)}
    return [trial for trial in runs if first[trial.job.key] is trial and not _is_over(trial)]


def _is_over(trial: Trial) -> bool:
    result = result_of(trial)
    return is_done(trial.job) or (trial.job.pruning is not None and result is not None and is_pruned(result))


def run_sweep(
    plan: SweepPlan,
    folder: Path,
    engine: Engine,
    *,
    workers: int | None = 1,
    console: Console | None = None,
    **job: Any,
) -> Swept:
    """Make the runs that are not done, choose, test the chosen; sweep.json and the report follow.

    Args:
        workers: runs at a time; None leaves it to the engine.
        job: fields of every run's job.

    Raises:
        DeptError: a plan that cannot be; a folder with another sweep, or that another process works in.
    """
    runs, began = plan.trials(folder, **job), time.monotonic()
    with locked_folder(folder, "sweep"):
        _check_plan(folder, plan)
        swept = Swept(plan, choices(runs))
        _write(swept, folder)
        try:
            swept.status = _run(runs, swept, engine, workers, console)
        except KeyboardInterrupt:
            swept.status = "stopped"
        finally:
            swept.elapsed_s = time.monotonic() - began
            if swept.status == "running":
                swept.status = "incomplete"
            swept.choices = choices(runs, swept.failures)
            _write(swept, folder)
    return swept


def _run(runs: Sequence[Trial], swept: Swept, engine: Engine, workers: int | None, console: Console | None) -> str:
    by_key = {trial.job.key: trial for trial in runs}

    def make(jobs: Sequence[Job], what: str) -> bool:
        """Run jobs; whether somebody asked to stop."""
        stopped = False
        with JobWatch(len(jobs), console=console) as watch:
            if jobs:
                watch.say(f"{what}: {len(jobs):,} runs")
            outcomes = engine.run(jobs, workers=workers or max(1, len(jobs)), on_event=watch.show)
        for outcome in outcomes:
            result = result_of(by_key[outcome.job.key])
            if outcome.status == "completed" or (result is not None and is_pruned(result)):
                continue
            stopped = stopped or outcome.status == "stopped"
            if outcome.status != "stopped":
                swept.failures[outcome.job.name] = outcome.error or outcome.status
        return stopped

    if make([trial.job for trial in unique(runs)], "training"):
        return "stopped"
    chosen = [
        trial
        for choice in choices(runs, swept.failures)
        if choice.chosen is not None
        for trial in choice.chosen.trials
    ]
    tests = {trial.job.key: dataclasses.replace(trial.job, test=True, pruning=None) for trial in chosen}
    if make([job for job in tests.values() if not is_done(job)], "testing the chosen"):
        return "stopped"
    done = all(choice.chosen is not None for choice in choices(runs, swept.failures))
    return "completed" if done and not swept.failures else "incomplete"


def _check_plan(folder: Path, plan: SweepPlan) -> None:
    file = folder / "sweep.json"
    if not file.exists():
        return
    saved = read_json(file)
    before = saved.get("plan") if isinstance(saved, dict) else None
    if not isinstance(before, dict):
        raise RunError(f"{file} is no sweep's: choose another --output-dir")
    now = plan.to_dict()
    changed = sorted(name for name in now | before if now.get(name) != before.get(name))
    if changed:
        raise RunError(
            f"{folder} holds another sweep (it differs in {', '.join(changed)}): choose another --output-dir"
        )


def _write(swept: Swept, folder: Path) -> None:
    from lab.sweep.report import write_report

    write_json(folder / "sweep.json", swept.to_dict())
    write_report(swept, folder)
