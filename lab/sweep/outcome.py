"""What a sweep plans and what it ended in."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dept.basics.provenance import checkout
from dept.errors import ConfigError
from lab.basics.machine import machine
from lab.jobs.job import Pruning
from lab.jobs.pruning import check_pruner
from lab.results.rows import Spread
from lab.sweep.choice import Candidate, Choice
from lab.sweep.grid import Sweep, Trial, trials

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class SweepPlan:
    """What is asked of a sweep; only the same plan goes on in a folder.

    Attributes:
        draw: points of each grid that are tried, drawn at random with `draw_seed`; None tries all.
        prune: one of `lab.jobs.pruning.PRUNERS`; None lets every run come to its end.

    Raises:
        ConfigError: no points, an unknown pruner, or Optuna is not installed.
    """

    sweep: Sweep
    draw: int | None = None
    draw_seed: int = 0
    prune: str | None = None

    def __post_init__(self) -> None:
        if self.draw is not None and self.draw < 1:
            raise ConfigError(f"--random must be at least 1, not {self.draw}")
        if self.prune is not None:
            check_pruner(self.prune)

    def trials(self, folder: Path, **job: Any) -> list[Trial]:
        """Every run, its folder in `folder/runs`; `job` and errors as for `lab.sweep.grid.trials`."""
        found = trials(self.sweep, folder / "runs", draw=self.draw, draw_seed=self.draw_seed, **job)
        if self.prune is None:
            return found
        rivals: dict[str, list[Path]] = {}
        for trial in found:
            rivals.setdefault(repr(trial.group), []).append(trial.job.folder)
        pruning = {group: Pruning(self.prune, tuple(folders)) for group, folders in rivals.items()}
        return [
            dataclasses.replace(trial, job=dataclasses.replace(trial.job, pruning=pruning[repr(trial.group)]))
            for trial in found
        ]

    def to_dict(self) -> dict[str, Any]:
        drawn = None if self.draw is None else {"points": self.draw, "seed": self.draw_seed}
        return {"name": self.sweep.name, **self.sweep.to_dict(), "random": drawn, "prune": self.prune}


@dataclass
class Swept:
    """A sweep as far as it has come; `to_dict` is the content of sweep.json.

    Attributes:
        status: running, completed (every row has its choice and test), incomplete (something failed) or stopped.
        failures: name of a run, and why it failed.
    """

    plan: SweepPlan
    choices: list[Choice]
    status: str = "running"
    failures: dict[str, str] = field(default_factory=dict)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    elapsed_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Scores in per cent of each task's main metric, times in seconds."""
        return {
            "schema_version": SCHEMA_VERSION,
            "status": self.status,
            "plan": self.plan.to_dict(),
            "choices": [_choice(choice) for choice in self.choices],
            "failures": self.failures,
            "started": self.started,
            "elapsed_s": round(self.elapsed_s, 1),
            "machine": machine(),
            "commit": checkout(),
        }


def _choice(choice: Choice) -> dict[str, Any]:
    chosen = choice.chosen
    return {
        "group": dict(choice.group),
        "chosen": None if chosen is None else _candidate(chosen) | {"test": _score(chosen.test)},
        "marks": [] if chosen is None else list(chosen.marks),
        "candidates": [_candidate(candidate) for candidate in choice.candidates],
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "point": dict(candidate.point),
        "status": candidate.status,
        "validation": _score(candidate.validation),
        "runs": [f"runs/{trial.job.name}" for trial in candidate.trials],
    }


def _score(score: Spread | None) -> dict[str, Any] | None:
    return None if score is None else dataclasses.asdict(score)
