"""The functions that `notebooks/task.ipynb` calls to prepare one run, train it, and compare it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from IPython.display import DisplayHandle, Markdown, display

from dept.backbones.known import default_backbone
from dept.basics.checked import settings_of
from dept.errors import RunError
from dept.methods.budget import split_of
from dept.methods.registry import BASELINE, DEFAULT_METHOD, title_of
from dept.runs.folder import FINGERPRINTS, RunFolder
from dept.runs.settings import TrainConfig
from dept.runs.whole_paths import with_whole_paths
from dept.training.loop import train as train_run
from dept.training.prepare import Prepared, prepare
from dept.training.progress import loss_and_rates, scores_of
from dept.training.trackers import mirrored
from lab.basics.progress import Every, time_left
from lab.paper.marks import marks, paper_score
from lab.runs.compare import comparison, provenance
from lab.runs.figures import curves, rate_figures
from lab.runs.read import Run, find_runs, read_run
from lab.teaching.tables import Table, examples, lengths, splits

_SECONDS = 1.0  # between two updates of the progress line
# Settings that belong to a method, rates included. Two runs are compared if they agree in all others and the budget.
_OF_THE_METHOD = {name for name, one in settings_of(TrainConfig).items() if one.of == "method"} - {"budget_tokens"}


def configure(**settings: Any) -> TrainConfig:
    """The settings of a run, with absolute local paths; `backbone=None` takes the default backbone.

    Raises:
        ConfigError: a setting is unknown or has an invalid value; the message names it.
    """
    if settings.get("backbone") is None:
        settings["backbone"] = default_backbone()
    return with_whole_paths(TrainConfig.from_dict(settings))


@dataclass(frozen=True)
class View:
    """A run's task, data and budget, as tables.

    Attributes:
        task: the task's template, targets and metric.
        lengths: rows and source tokens of each split.
        examples: the first training examples as the backbone reads them.
        budget: how the parameters are split, and prompt tuning's at the same budget.
    """

    task: Table
    lengths: Table
    examples: Table
    budget: Table


def look_at(config: TrainConfig) -> View:
    """Load the task and the backbone and return tables of them; nothing is written.

    Raises:
        DeptError: settings, data or backbone cannot be used.
    """
    prepared = prepare(config, progress=False)
    return View(_task(prepared), lengths(prepared), examples(prepared), _budget(prepared))


def _task(prepared: Prepared) -> Table:
    task, config = prepared.task, prepared.config
    labels = task.verbalizer(config.verbalizer or "digits")
    facts = {
        "task": f"{task.name} ({task.benchmark})",
        "rows": f"{prepared.rows.source}: {prepared.rows.location}",
        "template": f"`{task.template}`",
        "targets": ", ".join(labels) if labels else "generated text",
        "main metric": task.main_metric,
        "decoding": str(config.decoding),
        "backbone": f"{config.backbone} ({prepared.backbone.source})",
        "source tokens, at most": f"{config.max_seq_length}",
    }
    return Table([{"": name, "value": value} for name, value in facts.items()])


def _budget(prepared: Prepared) -> Table:
    config, own = prepared.config, prepared.budget
    pt = split_of(
        config.budget_tokens,
        0,
        prepared.backbone.hidden_size,
        config.max_seq_length or 0,
        config.budget_tokens,
    )
    title, (baseline,) = title_of(config.method), splits([pt]).rows
    if own is None:  # the method's size does not depend on the budget
        sizes = {"trainable parameters": f"{prepared.model.trainable_parameters():,}"}
        positions = {"positions read": prepared.model.num_virtual_tokens + (config.max_seq_length or 0)}
        rows = [{"": title, **dict.fromkeys(baseline, "-"), **sizes, **positions}]
    else:
        rows = [{"": title, **splits([own]).rows[0]}]
    if own != pt:
        rows.append({"": f"{title_of(BASELINE)} at this budget", **baseline})
    return Table(rows)


def train(config: TrainConfig, track: str | None = None) -> Run:
    """Train in this process, under the run folder's lock, as `dept train` does; progress shows in the cell.

    If the folder holds this run already, training goes on where it stopped; a completed run is only read.

    Args:
        track: a tracker (`dept.training.trackers`) that the run is mirrored to.

    Raises:
        DeptError: as `dept.training.loop.train`.
        RunError: the run was interrupted; the same call resumes it.
    """
    resume = RunFolder(config.output_dir).config_file.exists()
    with _Progress() as progress, mirrored(track, progress) as reporter:
        result = train_run(config, resume=resume, reporter=reporter)
    if result["status"] != "completed":
        raise RunError(f"interrupted at step {result['steps']}: run this cell again to go on")
    return read_run(config.output_dir)


class _Progress:
    """A reporter for `dept.training.loop.train` that updates one output of the cell."""

    def __init__(self) -> None:
        self._handle: DisplayHandle | None = None
        self._update = Every(_SECONDS)
        self._max_steps = 0
        self._line = "nothing to do: the run is completed"
        self._scores: list[str] = []

    def __enter__(self) -> _Progress:
        self._handle = display(Markdown("loading"), display_id=True)
        return self

    def __exit__(self, *fault: object) -> None:
        self._show(now=True)

    def started(self, prepared: Prepared, first_step: int) -> None:
        self._max_steps = prepared.config.max_steps or 0
        self._line = f"step {first_step} of {self._max_steps}"
        self._show(now=True)

    def stepped(self, line: dict[str, Any]) -> None:
        step, seconds = line["step"], line["elapsed_s"]
        left = time_left(seconds, step, self._max_steps)
        self._line = ", ".join([f"step {step} of {self._max_steps}", *loss_and_rates(line), f"{seconds:.0f} s", left])
        self._show()

    def evaluating(self, split: str, done: int, rows: int) -> None:
        self._line = f"{self._line.partition('; evaluating')[0]}; evaluating {split}, {done} of {rows} rows"
        self._show()

    def evaluated(self, line: dict[str, Any]) -> None:
        self._line = self._line.partition("; evaluating")[0]
        self._scores.append(f"- step {line['step']}, {scores_of(line)}")
        self._show(now=True)

    def _show(self, now: bool = False) -> None:
        if self._handle is None or not (now or self._update.is_due()):
            return
        self._update.done()
        self._handle.update(Markdown("\n".join([self._line, "", *self._scores])))


def show_curves(run: Run) -> None:
    """Show loss, the main metric on validation and the learning rates over the steps, as plotly figures.

    The notebook stores them as data, which JupyterLab's plotly extension draws: no script is fetched.
    """
    metric = _result(run)["main_metric"]
    figures = [
        curves([run], "train", "loss", "Training loss (mean of 10 steps)", "nats per target token", smooth=10),
        curves([run], "validation", metric, f"Validation {metric}", f"{metric}, per cent"),
        *rate_figures([run]),
    ]
    for figure in figures:
        figure.show(renderer="plotly_mimetype")


def scores(run: Run) -> Table:
    """The run's cost and scores."""
    return Table(comparison([run])).turned("method")


def origin(run: Run) -> Markdown:
    """Where data and backbone came from, and whether the numbers are comparable with the paper's."""
    return Markdown(provenance(_result(run)))


def beside_the_other(run: Run) -> Table | Markdown:
    """This run beside the baseline's, or for a run of the baseline beside DePT's.

    The other run has the same settings, data and backbone and lies in a folder next to this one's, if there is one.
    """
    other = DEFAULT_METHOD if run.config["method"] == BASELINE else BASELINE
    others = [near for near in find_runs(run.path.parent)[0] if _comparable(run, near, other)]
    if not others:
        return Markdown(
            f"No completed {title_of(other)} run of the same settings is in `{run.path.parent.name}/` yet."
        )
    return Table(comparison([*others, run])).turned("method")


def _comparable(run: Run, near: Run, method: str) -> bool:
    done = near.result is not None and near.result["status"] == "completed"
    return done and near.config["method"] == method and _common(near.config) == _common(run.config)


def _common(config: Mapping[str, Any]) -> dict[str, Any]:
    common = {name: value for name, value in config.items() if name not in (*_OF_THE_METHOD, "output_dir")}
    return {**common, FINGERPRINTS: dict(config[FINGERPRINTS])}


def beside_paper(run: Run) -> Table | Markdown:
    """This run's test score beside the paper's number for the method and task, and why they may not be compared."""
    result = _result(run)
    printed = paper_score(result)
    if printed is None:
        return Markdown(f"The paper has no number for {title_of(result['method'])} on {result['task']}.")
    ours = (result["metrics"]["test"] or {}).get(printed.metric)
    deviation = f" ± {printed.deviation:g}" if printed.deviation is not None else ""
    return Table(
        [
            {
                "": f"{title_of(result['method'])} on {result['task']}",
                f"test {printed.metric}, ours": "-" if ours is None else f"{ours:.1f}",
                "the paper's": f"{printed.value:g}{deviation} ({printed.where}, {printed.backbone})",
                "not comparable: why": ", ".join(marks(result)) or "comparable",
            }
        ]
    )


def _result(run: Run) -> dict[str, Any]:
    if run.result is None:
        raise RunError(f"{run.path} has no result yet")
    return run.result
