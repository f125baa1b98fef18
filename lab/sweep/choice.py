"""What a sweep chooses, and by what: validation alone, from the run folders as they are."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dept.basics.files import read_json
from dept.runs.folder import RunFolder
from dept.runs.key import is_untested
from lab.paper.marks import marks
from lab.results.rows import Spread
from lab.sweep.grid import Trial, Values


@dataclass(frozen=True)
class Candidate:
    """One point of a grid with its runs, one a seed.

    Attributes:
        results: their result.json, None where there is none yet, in the order of `trials`.
    """

    point: Values
    trials: tuple[Trial, ...]
    results: tuple[Mapping[str, Any] | None, ...]

    @property
    def status(self) -> str:
        """completed, pruned (one of the runs is), failed, or unfinished."""
        found = {_status(result) for result in self.results}
        for status in ("failed", "pruned", "unfinished"):
            if status in found:
                return status
        return "completed"

    @property
    def validation(self) -> Spread | None:
        """The main metric on validation at each run's best step; None unless all runs are completed."""
        return Spread.of(_main(result, "validation") for result in self._all())

    @property
    def test(self) -> Spread | None:
        """The same on test; None unless every run was tested."""
        results = self._all()
        if not results or any(result["metrics"]["test"] is None for result in results):
            return None
        return Spread.of(_main(result, "test") for result in results)

    @property
    def marks(self) -> tuple[str, ...]:
        """Why its numbers are no reproduction of the paper's, over all its completed runs (`lab.paper.marks`)."""
        return tuple(dict.fromkeys(mark for result in self._all() for mark in marks(result)))

    @property
    def is_untested(self) -> bool:
        """Whether any of its completed runs has test rows that it was not scored on."""
        return any(is_untested(result) for result in self._all())

    def _all(self) -> list[Mapping[str, Any]]:
        return [result for result in self.results if result is not None] if self.status == "completed" else []


@dataclass(frozen=True)
class Choice:
    """One row of a sweep's outcome.

    Attributes:
        group: what is compared here, by name.
        candidates: every point of its grid.
        chosen: the completed one with the highest mean validation, of equal ones the first in the grid; None while
            any is unfinished. Test plays no part.
    """

    group: Values
    candidates: tuple[Candidate, ...]
    chosen: Candidate | None = field(init=False)

    def __post_init__(self) -> None:
        completed = [(c.validation.mean, c) for c in self.candidates if c.validation is not None]
        settled = completed and not self.count("unfinished")
        best = max(completed, key=lambda pair: pair[0])[1] if settled else None  # max keeps the first of equals
        object.__setattr__(self, "chosen", best)

    def count(self, status: str) -> int:
        """Points of a status (see `Candidate.status`)."""
        return sum(candidate.status == status for candidate in self.candidates)


def _status(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return "unfinished"
    if is_pruned(result):
        return "pruned"
    return {"completed": "completed", "failed": "failed"}.get(result["status"], "unfinished")


def is_pruned(result: Mapping[str, Any]) -> bool:
    """Whether a run was stopped for being behind: it has a reason, which a run that a person stopped has not."""
    return result["status"] == "stopped" and result.get("stop_reason") is not None


def _main(result: Mapping[str, Any], split: str) -> float:
    return float(result["metrics"][split][result["main_metric"]])


def result_of(trial: Trial) -> dict[str, Any] | None:
    """A run's result.json, or None.

    Raises:
        RunError: it is damaged, by name.
    """
    file = RunFolder(trial.job.folder).result_file
    return read_json(file) if file.exists() else None


def _result(trial: Trial, failed: Collection[str]) -> Mapping[str, Any] | None:
    result = result_of(trial)
    return {"status": "failed"} if result is None and trial.job.name in failed else result


def choices(trials: Iterable[Trial], failed: Collection[str] = ()) -> list[Choice]:
    """The outcome as the folders have it now, in the order of the grid.

    Args:
        failed: names of runs that failed before they could leave a result.

    Raises:
        RunError: a damaged result.json, by name.
    """
    groups: dict[str, dict[str, list[Trial]]] = {}
    for trial in trials:
        groups.setdefault(repr(trial.group), {}).setdefault(repr(trial.point), []).append(trial)
    return [
        Choice(
            next(iter(points.values()))[0].group,
            tuple(
                Candidate(runs[0].point, tuple(runs), tuple(_result(run, failed) for run in runs))
                for runs in points.values()
            ),
        )
        for points in groups.values()
    ]
