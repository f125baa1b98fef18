"""End runs early that are behind the others of their grid, by Optuna's pruners.

At each evaluation a run's process compares it with its rivals, as read from their folders. There is no other store, so
a killed sweep goes on as if nothing had happened. A single worker makes the same decisions every time; with several
workers, the order in which runs reach an evaluation can matter.
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
STARTUP_RUNS = 4  # `median` judges no run before so many rivals are completed
KEPT = 3  # at each rung, `halving` lets about one run in so many go on


@dataclass(frozen=True)
class Curve:
    """A run's main metric on validation, at each evaluation after the first step.

    Attributes:
        completed: whether the run came to its end.
    """

    values: tuple[float, ...]
    completed: bool = False


def check_pruner(name: str) -> None:
    """Check before a sweep starts that its pruner can be used.

    Raises:
        ConfigError: the pruner is unknown, or Optuna is not installed.
    """
    if name not in PRUNERS:
        raise ConfigError(f"--prune: {name!r} is none of {', '.join(PRUNERS)}")
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError("--prune needs Optuna: pip install 'dept-lab[sweep]'")


class Pruned:
    """A reporter that ends its run if it is behind its rivals, and passes all calls on to another reporter.

    Args:
        pruner: `median` ends a run below the median of the completed rivals at the same evaluation. `halving` ends a
            run that is not in the best third of those at this rung (asynchronous successive halving).
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
        if len(own.values) >= self._evaluations:  # this was the last evaluation
            return None
        others = [curve(folder, self._metric) for folder in self._rivals if folder != self._folder]
        if not is_behind(own, others, self._pruner, self._evaluations):
            return None
        return f"pruned ({self._pruner}): {self._metric} {own.values[-1]:.2f} at step {line['step']} is behind"


def curve(folder: Path, metric: str) -> Curve:
    """A run's curve so far; empty if there is no run yet."""
    run = RunFolder(folder)
    values = tuple(
        line["metrics"][metric]
        for line in read_metrics(run.metrics_file)
        if line["split"] == "validation" and line["step"] > 0
    )
    try:
        return Curve(values, read_json(run.result_file)["status"] == "completed")
    except RunError:  # it has no curve (yet)
        return Curve(values)


def is_behind(own: Curve, rivals: Sequence[Curve], pruner: str, evaluations: int) -> bool:
    """Whether a run should end now.

    Args:
        own: the run's curve, of at least one evaluation.
        evaluations: the number of evaluations of a complete run.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", pruner=_pruner(pruner, evaluations))
    # Replay all curves from the start, as the pruner would have seen them: halving records each run's rungs.
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
