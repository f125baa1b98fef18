"""Ours beside the paper's, as data: a row a task and setting, means over whole benchmarks, and what was left out.

Rendering is `lab.results.render`'s.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from dept.errors import ConfigError
from dept.methods.registry import DEFAULT_METHOD, groups
from dept.runs.folder import FINGERPRINTS
from lab.paper import numbers as paper
from lab.paper.marks import marks, paper_score
from lab.runs.read import Damaged, Run, find_runs

# Settings that may differ between the runs of one row: where they are written, what seed they have.
_FREE = ("seed", "output_dir", FINGERPRINTS)


@dataclass(frozen=True)
class Spread:
    """A mean over seeds.

    Attributes:
        deviation: the sample's standard deviation; None of one value.
    """

    mean: float
    deviation: float | None
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread | None":
        """None of no values."""
        found = tuple(values)
        if not found:
            return None
        return cls(fmean(found), stdev(found) if len(found) > 1 else None, found)


@dataclass(frozen=True)
class Row:
    """Completed runs that differ in their seed alone, beside the paper's number.

    Attributes:
        benchmark: the one whose mean the paper prints with this task in it; None for other tasks.
        metric: the main metric; scores are in per cent of it.
        runs: one a seed, by seed.
        validation, test: of the best adapters by validation; None where no run has it.
        paper: the same method's number for the task; None where the paper has none.
        marks: why ours is no reproduction of it (`lab.paper.marks`), those of any of the runs.
    """

    benchmark: str | None
    task: str
    method: str
    backbone: str
    metric: str
    runs: tuple[Run, ...]
    validation: Spread | None
    test: Spread | None
    paper: paper.Score | None
    marks: tuple[str, ...]

    @property
    def result(self) -> dict[str, Any]:
        """The first run's result: all but scores, times and seed are the same in the others."""
        result = self.runs[0].result
        assert result is not None
        return result

    @property
    def tower(self) -> str | None:
        """The image encoder, of a task with images."""
        seen = self.result.get("vision_backbone")
        return None if seen is None else seen["name"]

    @property
    def rates(self) -> dict[str, float | None]:
        """The learning rate of each group of the method, by its setting."""
        names = [group.setting_name for group in self.runs[0].settings.method_class.groups]
        return {name: self.result["config"][name] for name in names}

    @property
    def summary(self) -> str:
        """The method's sizes: m = 40, r = 45."""
        return self.runs[0].settings.method_config().summary()

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.config["seed"] for run in self.runs)

    @property
    def difference(self) -> float | None:
        """Our test mean less the paper's value; None where one is missing, or they are of different metrics."""
        if self.test is None or self.paper is None or self.metric != self.paper.metric:
            return None
        return self.test.mean - self.paper.value

    @property
    def reproduces(self) -> bool:
        """Whether the row may stand beside the paper's number as it is."""
        return not self.marks and self.difference is not None


@dataclass(frozen=True)
class Mean:
    """A mean over all tasks of a benchmark, of rows with one method, backbone and kind of data.

    Where a task has several settings, the one with the best validation score stands for it (the paper's grid search).

    Attributes:
        rows: one a task, in the paper's order.
        seeds: those of every row; empty where rows have different ones.
        test: over these seeds; without them the mean of the rows' means alone.
        paper: the paper's mean; None where it prints none.
        marks: those of any of the rows; a mean without any claims to reproduce.
    """

    benchmark: str
    method: str
    backbone: str
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    test: Spread
    paper: paper.Score | None
    marks: tuple[str, ...]

    @property
    def difference(self) -> float | None:
        return None if self.paper is None else self.test.mean - self.paper.value

    @property
    def reproduces(self) -> bool:
        return not self.marks and self.difference is not None


@dataclass(frozen=True)
class LeftOut:
    """A run, or a mean, that is not in the results, and why."""

    what: str
    reason: str


@dataclass(frozen=True)
class Results:
    """All that a folder of runs says.

    Attributes:
        rows: in the order of the paper's tables, then by method and settings.
        means: in the same order.
    """

    rows: tuple[Row, ...]
    means: tuple[Mean, ...]
    left_out: tuple[LeftOut, ...]


def read_results(folder: str | Path) -> Results:
    """The results of every run at or below a folder.

    Raises:
        RunError: there is no such folder.
    """
    runs, damaged = find_runs(folder)
    return results_of(runs, damaged)


def results_of(runs: Sequence[Run], damaged: Sequence[Damaged] = ()) -> Results:
    """The results of these runs; the unfinished and the damaged ones are left out by name."""
    left_out = [LeftOut(str(bad.path), bad.reason) for bad in damaged]
    groups: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: str(run.path)):
        if run.status != "completed" or run.result is None:
            left_out.append(LeftOut(str(run.path), _unfinished(run)))
            continue
        same = groups.setdefault(_experiment(run.result), [])
        twin = next((other for other in same if other.config["seed"] == run.config["seed"]), None)
        if twin is None:
            same.append(run)
        else:
            left_out.append(LeftOut(str(run.path), f"the same run as {twin.path}, which counts once"))
    rows = tuple(sorted((_row(same) for same in groups.values()), key=_order))
    means, incomplete = _means(rows)
    return Results(rows, tuple(means), (*left_out, *incomplete))


def _unfinished(run: Run) -> str:
    result = run.result or {}
    error = result.get("error") or result.get("stop_reason") or run.state.get("error")
    at = f" at step {run.steps:,}" if run.steps else ""
    return f"{run.status}{at}{f': {error}' if error else ''}"


def _experiment(result: Mapping[str, Any]) -> str:
    """What runs of one row have in common: task, settings, data and backbone; sample rows are drawn by the seed."""
    data = result["data"]
    settings = {name: value for name, value in result["config"].items() if name not in _FREE}
    rows = data["rows"] if data["source"] == "sample" else data["fingerprint"]
    return json.dumps([settings, data["source"], rows, result["backbone"]["fingerprint"]], sort_keys=True)


def _row(runs: Sequence[Run]) -> Row:
    runs = sorted(runs, key=lambda run: run.config["seed"])
    results = [run.result for run in runs if run.result is not None]
    first = results[0]
    benchmark = next((name for name, tasks in paper.benchmarks().items() if first["task"] in tasks), None)
    scores = {split: [run.score(split) for run in runs] for split in ("validation", "test")}
    return Row(
        benchmark=benchmark,
        task=first["task"],
        method=first["method"],
        backbone=first["backbone"]["name"],
        metric=first["main_metric"],
        runs=tuple(runs),
        validation=Spread.of(value for value in scores["validation"] if value is not None),
        test=Spread.of(value for value in scores["test"] if value is not None),
        paper=paper_score(first),
        marks=_union(marks(result) for result in results),
    )


def _union(marked: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(mark for found in marked for mark in found))


def _order(row: Row) -> tuple[Any, ...]:
    """The paper's order of tasks and methods; tasks and methods that it does not have come last."""
    tasks = [task for names in paper.benchmarks().values() for task in names]
    methods = list(paper.methods())
    settings = row.result["config"]
    return (
        tasks.index(row.task) if row.task in tasks else len(tasks),
        row.task,
        methods.index(row.method) if row.method in methods else len(methods),
        row.method,
        row.backbone,
        bool(row.marks),
        row.result["num_virtual_tokens"],
        [str(settings[group.setting_name]) for group in groups().values()],
        row.seeds,
    )


def _means(rows: Sequence[Row]) -> tuple[list[Mean], list[LeftOut]]:
    """Of reproducing rows and of marked ones, never of both together; none where the paper prints none (Table 3)."""
    groups: dict[tuple[str, str, str, str, bool], list[Row]] = {}
    for row in rows:
        if row.benchmark is None or row.test is None or paper.mean(DEFAULT_METHOD, row.benchmark) is None:
            continue
        kind = (row.benchmark, row.method, row.backbone, row.result["data"]["source"], row.reproduces)
        groups.setdefault(kind, []).append(row)
    means, incomplete = [], []
    for (benchmark, method, backbone, source, _), found in groups.items():
        chosen = [best([row for row in found if row.task == task]) for task in paper.benchmarks()[benchmark]]
        there = [row for row in chosen if row is not None]
        if len(there) == len(chosen):
            means.append(mean_of(there))
            continue
        missing = [task for task, row in zip(paper.benchmarks()[benchmark], chosen, strict=True) if row is None]
        what = f"mean over {benchmark}, {method}, {backbone}, {source} data"
        incomplete.append(LeftOut(what, f"not formed: no test score for {', '.join(missing)}"))
    return means, incomplete


def best(rows: Sequence[Row]) -> Row | None:
    """The row with the best validation score, as the paper chooses among its grid; the first of equals."""
    return max(rows, key=lambda row: row.validation.mean if row.validation else float("-inf"), default=None)


def mean_of(rows: Sequence[Row]) -> Mean:
    """The mean of one row a task; the rows must have test scores and make up their benchmark."""
    first = rows[0]
    tests = [row.test for row in rows if row.test is not None]
    assert first.benchmark is not None and len(tests) == len(paper.benchmarks()[first.benchmark])
    same_seeds = all(row.seeds == first.seeds for row in rows)
    same_seeds = same_seeds and all(len(found.values) == len(first.seeds) for found in tests)
    per_seed = (
        zip(*(found.values for found in tests), strict=True) if same_seeds else [[found.mean for found in tests]]
    )
    test = Spread.of(fmean(values) for values in per_seed)
    assert test is not None
    return Mean(
        benchmark=first.benchmark,
        method=first.method,
        backbone=first.backbone,
        rows=tuple(rows),
        seeds=first.seeds if same_seeds else (),
        test=test,
        paper=paper.mean(first.method, first.benchmark),
        marks=_union(row.marks for row in rows),
    )


def varying_settings(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    """The settings that tell a row from others of its task and method, but for the backbone and `Row.summary`."""
    own, method = row.result["config"], row.runs[0].settings.method_class
    others = [one.result["config"] for one in rows if (one.task, one.method) == (row.task, row.method)]
    left_out = (*_FREE, "backbone", *method.ignores)

    def is_in_summary(name: str, value: Any) -> bool:
        try:
            return method.from_settings({**own, name: value}).summary() != row.summary
        except ConfigError:  # sizes that do not go together: no prompt here, no rank there
            return True

    varying = {}
    for name, value in own.items():
        different = [other[name] for other in others if other.get(name) != value]
        if name not in left_out and different and not any(is_in_summary(name, other) for other in different):
            varying[name] = value
    return varying


def backbone_name(backbone: str) -> str:
    """A folder by its own name."""
    return Path(backbone).name if Path(backbone).is_absolute() else backbone
