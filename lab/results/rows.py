"""Our results beside the paper's, as data: rows by task and setting, means over benchmarks, and what was left out.

`lab.results.render` turns them into tables.
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

# Settings that may differ between the runs of one row.
_FREE = ("seed", "output_dir", FINGERPRINTS)


@dataclass(frozen=True)
class Spread:
    """A mean over seeds.

    Attributes:
        deviation: the sample's standard deviation; None for a single value.
    """

    mean: float
    deviation: float | None
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread | None":
        """The spread of these values; None where there are none."""
        kept = tuple(values)
        if not kept:
            return None
        return cls(fmean(kept), stdev(kept) if len(kept) > 1 else None, kept)


@dataclass(frozen=True)
class Row:
    """Completed runs that differ only in their seed, with the paper's number.

    Attributes:
        benchmark: the benchmark that has this task in the paper; None for other tasks.
        metric: the main metric; scores are in per cent of it.
        runs: one for each seed, sorted by seed.
        validation, test: scores of the adapters that are best on validation; None where no run has a score.
        paper: the paper's number for the same method and task; None where it has none.
        marks: why the row is no reproduction of the paper's number (`lab.paper.marks`): the marks of all its runs.
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
        """The first run's result; the others differ from it in scores, times and seed only."""
        result = self.runs[0].result
        assert result is not None
        return result

    @property
    def tower(self) -> str | None:
        """The image encoder's name; None for a task without images."""
        seen = self.result.get("vision_backbone")
        return None if seen is None else seen["name"]

    @property
    def rates(self) -> dict[str, float | None]:
        """Setting of each of the method's rate groups -> its learning rate."""
        names = [group.setting_name for group in self.runs[0].settings.method_class.groups]
        return {name: self.result["config"][name] for name in names}

    @property
    def summary(self) -> str:
        """The method's sizes as text, such as m = 40, r = 45."""
        return self.runs[0].settings.method_config().summary()

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.config["seed"] for run in self.runs)

    @property
    def difference(self) -> float | None:
        """Our test mean less the paper's value; None where one is missing, or their metrics differ."""
        if self.test is None or self.paper is None or self.metric != self.paper.metric:
            return None
        return self.test.mean - self.paper.value

    @property
    def reproduces(self) -> bool:
        """Whether the row may be compared with the paper's number."""
        return not self.marks and self.difference is not None


@dataclass(frozen=True)
class Mean:
    """A mean over all tasks of a benchmark, of rows with the same method, backbone and source of data.

    Where a task has several settings, the one with the best validation score is taken (the paper's grid search).

    Attributes:
        rows: one for each task, in the paper's order.
        seeds: the seeds that all rows have; empty where the rows' seeds differ.
        test: the spread over these seeds; where there are none, the mean of the rows' means.
        paper: the paper's mean; None where it prints none.
        marks: the marks of all rows; a mean without marks counts as a reproduction.
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
    """A run or a mean that is not in the results, and why."""

    what: str
    reason: str


@dataclass(frozen=True)
class Results:
    """The results of a folder of runs.

    Attributes:
        rows: sorted as the paper's tables are, then by method and settings.
        means: sorted in the same way.
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
    """The results of these runs; `left_out` names the unfinished and the damaged ones."""
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
    """A key that the runs of one row share: task, settings, data and backbone.

    Sample rows depend on the seed, so their numbers count here, not their fingerprint.
    """
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
    return tuple(dict.fromkeys(mark for own_marks in marked for mark in own_marks))


def _order(row: Row) -> tuple[Any, ...]:
    """A sort key: the paper's order of tasks and methods; those that it does not have come last."""
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
    """The means of reproducing rows, and those of marked rows; no mean has rows of both kinds.

    Benchmarks whose mean the paper does not print (Table 3) get none.
    """
    groups: dict[tuple[str, str, str, str, bool], list[Row]] = {}
    for row in rows:
        if row.benchmark is None or row.test is None or paper.mean(DEFAULT_METHOD, row.benchmark) is None:
            continue
        kind = (row.benchmark, row.method, row.backbone, row.result["data"]["source"], row.reproduces)
        groups.setdefault(kind, []).append(row)
    means, incomplete = [], []
    for (benchmark, method, backbone, source, _), alike in groups.items():
        chosen = [best([row for row in alike if row.task == task]) for task in paper.benchmarks()[benchmark]]
        complete = [row for row in chosen if row is not None]
        if len(complete) == len(chosen):
            means.append(mean_of(complete))
            continue
        missing = [task for task, row in zip(paper.benchmarks()[benchmark], chosen, strict=True) if row is None]
        what = f"mean over {benchmark}, {method}, {backbone}, {source} data"
        incomplete.append(LeftOut(what, f"not formed: no test score for {', '.join(missing)}"))
    return means, incomplete


def best(rows: Sequence[Row]) -> Row | None:
    """The row with the best validation score, as the paper chooses from its grid; the first among equals."""
    return max(rows, key=lambda row: row.validation.mean if row.validation else float("-inf"), default=None)


def mean_of(rows: Sequence[Row]) -> Mean:
    """The mean of one row for each task; the rows must have test scores and cover their benchmark."""
    first = rows[0]
    tests = [row.test for row in rows if row.test is not None]
    assert first.benchmark is not None and len(tests) == len(paper.benchmarks()[first.benchmark])
    same_seeds = all(row.seeds == first.seeds for row in rows)
    same_seeds = same_seeds and all(len(spread.values) == len(first.seeds) for spread in tests)
    per_seed = (
        zip(*(spread.values for spread in tests), strict=True) if same_seeds else [[spread.mean for spread in tests]]
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
    """Settings in which a row differs from others of its task and method, without the backbone and `summary`'s."""
    own, method = row.result["config"], row.runs[0].settings.method_class
    others = [one.result["config"] for one in rows if (one.task, one.method) == (row.task, row.method)]
    left_out = (*_FREE, "backbone", *method.ignores)

    def is_in_summary(name: str, value: Any) -> bool:
        try:
            return method.from_settings({**own, name: value}).summary() != row.summary
        except ConfigError:  # sizes that are not valid together, such as another row's rank with this row's prompt
            return True

    varying = {}
    for name, value in own.items():
        different = [other[name] for other in others if other.get(name) != value]
        if name not in left_out and different and not any(is_in_summary(name, other) for other in different):
            varying[name] = value
    return varying


def backbone_name(backbone: str) -> str:
    """A backbone's name; for an absolute path the folder's name alone."""
    return Path(backbone).name if Path(backbone).is_absolute() else backbone
