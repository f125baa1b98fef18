"""Ending runs early that are behind the others of their grid, by Optuna's pruners.

A run is held against its rivals at each evaluation, in its own process and by what stands in their folders: there is
no other store, so a sweep that was killed goes on as if it had not been. One worker at a time makes the same
decisions every time; with several, who was first at an evaluation can matter.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dept.basics.files import read_json
from dept.errors import ConfigError, RunError
from dept.runs.folder import RunFolder, read_metrics

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner

    from dept.training.loop import Reporter
    from dept.training.prepare import Prepared

PRUNERS = ("median", "halving")
UNJUDGED = 5  # no run is judged in the first 1/UNJUDGED of its evaluations: the rates are still rising
STARTUP_RUNS = 4  # completed rivals before `median` judges anybody
KEPT = 3  # `halving` lets about one in so many go on at each rung


@dataclass(frozen=True)
class Curve:
    """A run's main metric on validation, at each evaluation after the first step.

    Attributes:
        completed: whether the run came to its end.
    """

    values: tuple[float, ...]
    completed: bool = False


def check_pruner(name: str) -> None:
    """Find what is missing before a sweep starts.

    Raises:
        ConfigError: an unknown pruner, or Optuna is not installed.
    """
    if name not in PRUNERS:
        raise ConfigError(f"--prune: {name!r} is none of {', '.join(PRUNERS)}")
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError("--prune needs Optuna: pip install 'dept-lab[sweep]'")


class Pruned:
    """A reporter that ends its run when it is behind its rivals; what it hears goes on to another reporter.

    Args:
        pruner: `median`: below the median of the completed rivals at the same evaluation. `halving`: not among the
            best third of those that came to this rung (asynchronous successive halving).
        rivals: run folders of the same grid; those that do not exist yet do not count.
    """

    def __init__(self, pruner: str, rivals: Sequence[Path], reporter: Reporter) -> None:
        self._pruner, self._rivals, self._reporter = pruner, rivals, reporter
        self._metric, self._folder = "", Path()
        self._evaluations = 0

    def started(self, prepared: Prepared, first_step: int) -> None:
        config = prepared.config
        assert config.max_steps is not None and config.eval_every is not None, "filled in by then"
        self._metric, self._folder = prepared.task.main_metric, Path(config.output_dir)
        self._evaluations = -(-config.max_steps // config.eval_every)
        self._reporter.started(prepared, first_step)

    def stepped(self, line: dict[str, Any]) -> None:
        self._reporter.stepped(line)

    def evaluating(self, split: str, done: int, rows: int) -> None:
        self._reporter.evaluating(split, done, rows)

    def evaluated(self, line: dict[str, Any]) -> str | None:
        reason = self._reporter.evaluated(line)
        if reason is not None or line["split"] != "validation" or line["step"] == 0:
            return reason
        own = curve(self._folder, self._metric)
        if len(own.values) >= self._evaluations:  # this was the last one
            return None
        others = [curve(folder, self._metric) for folder in self._rivals if folder != self._folder]
        if not is_behind(own, others, self._pruner, self._evaluations):
            return None
        return f"pruned ({self._pruner}): {self._metric} {own.values[-1]:.2f} at step {line['step']} is behind"


def curve(folder: Path, metric: str) -> Curve:
    """A run's curve so far; an empty one where there is no run yet."""
    run = RunFolder(folder)
    values = tuple(
        line["metrics"][metric]
        for line in read_metrics(run.metrics_file)
        if line["split"] == "validation" and line["step"] > 0
    )
    try:
        return Curve(values, read_json(run.result_file)["status"] == "completed")
    except RunError:  # it has none (yet)
        return Curve(values)


def is_behind(own: Curve, rivals: Sequence[Curve], pruner: str, evaluations: int) -> bool:
    """Whether a run is to end now.

    Args:
        own: at least one evaluation.
        evaluations: of a whole run.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", pruner=_pruner(pruner, evaluations))
    # Replayed from the start, as the pruner would have seen it: halving notes the rungs that each came to.
    for rival in rivals:
        _replay(study, rival)
    return _replay(study, own)


def _replay(study: Study, run: Curve) -> bool:
    """Whether the run would be pruned at its last evaluation."""
    trial, behind = study.ask(), False
    for index, value in enumerate(run.values, start=1):
        trial.report(value, index)
        behind = bool(trial.should_prune())
    if run.completed:
        study.tell(trial, max(run.values))
    return behind


def _pruner(name: str, evaluations: int) -> BasePruner:
    from optuna.pruners import MedianPruner, SuccessiveHalvingPruner

    unjudged = evaluations // UNJUDGED
    if name == "median":
        return MedianPruner(n_startup_trials=STARTUP_RUNS, n_warmup_steps=unjudged + 1)
    return SuccessiveHalvingPruner(min_resource=max(1, unjudged), reduction_factor=KEPT)
