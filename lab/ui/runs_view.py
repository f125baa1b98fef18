"""What the Runs tab shows of runs: the list, one run's head, the curves. HTML and figures, nothing of gradio."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from lab.allowed import FOLDER
from lab.curves import Curves, Series
from lab.figures import STYLES
from lab.run_summary import RunSummary
from lab.runs import METHOD_NAMES
from lab.ui.html_parts import facts, notice, text
from lab.units import duration

# After STYLES' two, for runs beyond the first of their method; Okabe and Ito's too.
_MORE_COLORS = ("#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7A7A7A")
_STEPS_OF_A_LINE = 20  # fewer points are drawn with marks
NO_RUNS = "No runs yet. Choose settings in the Train tab and launch: the run appears here, and stays when you leave."


@dataclass(frozen=True)
class Drawn:
    """A run among those that are drawn together."""

    run: RunSummary
    name: str
    color: str
    dash: str


def method_name(run: RunSummary) -> str:
    return METHOD_NAMES.get(run.method, run.method)


def task_name(run: RunSummary) -> str:
    return "own rows" if run.task == "own" else run.task


def together(runs: Sequence[RunSummary]) -> list[Drawn]:
    """Names and colours that tell the runs apart: a method's own for its first run."""
    more, taken, found = iter(_MORE_COLORS * len(runs)), set(), []
    names = [method_name(run) for run in runs]
    for run, method in zip(runs, names, strict=True):
        color, dash = STYLES.get(method, ("", "dot"))
        if not color or method in taken:
            color = next(more)
        taken.add(method)
        name = method if names.count(method) == 1 else f"{method}, {run.run_id.rpartition('-')[2][:4]}"
        found.append(Drawn(run, name, color, dash))
    return found


def backbone_name(run: RunSummary) -> str:
    return run.backbone.removeprefix(FOLDER)


def tower_name(run: RunSummary) -> str:
    """The image encoder, "" for a text task."""
    return run.vision_backbone.removeprefix(FOLDER)


def status_words(run: RunSummary) -> str:
    """Where a run stands, in a few words."""
    done, all_steps = run.step or 0, run.max_steps
    steps = f"step {done:,} of {all_steps:,}" if all_steps else f"step {done:,}"
    if run.status == "queued":
        return "next in the queue" if run.position == 1 else f"waiting, number {run.position} in the queue"
    if run.status == "running":
        if not done:
            return "starting"
        return f"{steps}, about {duration(run.left_s)} left" if run.left_s else steps
    if run.status == "completed" and run.result:
        metric, scores = run.result["main_metric"], run.result["metrics"]
        split = "test" if scores.get("test") else "validation"
        return f"completed: {split} {metric_words(metric)} {scores[split][metric]:.1f}"
    return {
        "stopping": f"stopping after {steps}",
        "stopped": f"stopped at {steps}",
        "failed": f"failed at {steps}",
    }.get(run.status, run.status)


def metric_words(metric: str) -> str:
    return metric.replace("_", " ")


def run_list(runs: Sequence[RunSummary], drawn: Sequence[Drawn]) -> str:
    """All runs, the drawn ones ticked in their colours, the first of those the open one."""
    if not runs:
        return f'<p class="empty">{NO_RUNS}</p>'
    colors = {each.run.run_id: each.color for each in drawn}
    current = drawn[0].run.run_id if drawn else None
    return (
        f'<ul class="runs">{"".join(_item(run, colors.get(run.run_id), run.run_id == current) for run in runs)}</ul>'
    )


def _item(run: RunSummary, color: str | None, current: bool) -> str:
    title = f"{method_name(run)}, {task_name(run)}, {backbone_name(run)}"
    run_id = text(run.run_id)
    tick = (
        f'<button type="button" class="tick" role="checkbox" aria-checked="{str(color is not None).lower()}" '
        f'data-run="{run_id}" aria-label="Draw {text(title)}" style="--run: {color or "transparent"}"></button>'
    )
    bar = _bar(run) if run.status in ("running", "stopping") else ""
    return (
        f'<li class="run {run.status}">{tick}<button type="button" class="open" data-run="{run_id}" '
        f'aria-current="{str(current).lower()}"><strong>{text(title)}</strong>'
        f'<span class="status">{text(status_words(run))}</span>{bar}</button></li>'
    )


def _bar(run: RunSummary) -> str:
    done = 100 * (run.step or 0) / run.max_steps if run.max_steps else 0
    return (
        f'<span class="bar" role="progressbar" aria-valuenow="{done:.0f}" aria-valuemin="0" aria-valuemax="100" '
        f'aria-label="steps done"><span style="width: {done:.1f}%"></span></span>'
    )


def run_head(run: RunSummary | None) -> str:
    """One run: title, where it stands, its settings and scores."""
    if run is None:
        return '<p class="empty">Open a run in the list to see its curves.</p>'
    request = run.request
    m = request.get("num_virtual_tokens") if run.method == "dept" else request.get("budget_tokens", 100)
    rate_of_update = f"A and B: {_rate(request.get('low_rank_lr'))}" if run.method == "dept" else "PT has one rate"
    pairs = [
        ("Virtual tokens", f"{m or '-'}", "m" if run.method == "dept" else "l"),
        ("Rate of the prompt", _rate(request.get("prompt_lr")), rate_of_update),
        ("Batch", f"{request.get('batch_size', 16)}", f"seed {request.get('seed', 42)}"),
        ("Trained for", "-" if run.elapsed_s is None else duration(run.elapsed_s), "evaluations included"),
    ]
    pairs.append(_score(run.result or {}))
    kind = "wrong" if run.status == "failed" else "note"
    tower = f" with {tower_name(run)}" if tower_name(run) else ""
    return (
        f"<h2>{text(method_name(run))} on {text(task_name(run))}, {text(backbone_name(run) + tower)}</h2>"
        f'<p class="status-line {run.status}">{text(status_words(run))}</p>{_bar(run)}'
        f"{notice(run.error or '', kind)}{facts(pairs)}"
        f'<p class="fine">{text(_rows_words(run.data))} Run {text(run.run_id)}.</p>'
    )


def _score(result: Mapping[str, Any]) -> tuple[str, str, str]:
    """The test score; its place is kept until there is one."""
    if result.get("status") != "completed":
        return "Test", "-", "when it is completed"
    metric, scores = result["main_metric"], result["metrics"]
    tested = scores["test"][metric] if scores.get("test") else None
    before, best = scores["untrained_validation"][metric], scores["validation"][metric]
    return (
        f"Test {metric_words(metric)}",
        "-" if tested is None else f"{tested:.1f}%",
        f"validation {best:.1f}%, untrained {before:.1f}%",
    )


def _rate(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else "its own"


def _rows_words(data: str) -> str:
    if data == "sample":
        return "Sample rows generated by this project: not the benchmark, and not comparable with the paper."
    return "The benchmark's rows from the hub." if data == "hub" else "Rows of your own, or of a folder."


def curve_figures(drawn: Sequence[tuple[Drawn, Curves]]) -> list[go.Figure | None]:
    """Training loss, the main metric on validation, and the two learning rates over the optimiser's steps."""
    if not drawn:
        return [None] * 4
    smooth = max(curves.loss_mean_of for _, curves in drawn)
    metric = _common_metric(drawn)
    mean_of = f", mean of {smooth} steps" if smooth > 1 else ""
    kinds = (
        (f"Training loss{mean_of}", "nats per target token", lambda curves: curves.loss),
        (f"Validation {metric_words(metric)}", "per cent", lambda curves: curves.validation.get(metric, Series())),
        ("Learning rate of the prompt", "alpha_1", lambda curves: curves.prompt_lr),
        ("Learning rate of A and B", "alpha_2", lambda curves: curves.low_rank_lr),
    )
    revision = ",".join(sorted(each.run.run_id for each, _ in drawn))
    return [
        _figure(title, unit, [(each, of(curves)) for each, curves in drawn], revision) for title, unit, of in kinds
    ]


def _common_metric(drawn: Sequence[tuple[Drawn, Curves]]) -> str:
    """The open run's main metric; before its result says which that is, the first one that is evaluated."""
    for each, curves in drawn:
        if each.run.result:
            return str(each.run.result["main_metric"])
        if curves.validation:
            return next(iter(curves.validation))
    return "metric"


def _figure(title: str, unit: str, lines: Sequence[tuple[Drawn, Series]], revision: str) -> go.Figure:
    figure = go.Figure()
    for each, series in lines:
        figure.add_scatter(
            x=series.steps,
            y=series.values,
            name=each.name,
            mode="lines" if len(series.steps) > _STEPS_OF_A_LINE else "lines+markers",
            line={"color": each.color, "dash": each.dash, "width": 2},
        )
    most = max((each.run.max_steps or 0 for each, _ in lines), default=0)
    axis: Mapping[str, Any] = {"range": [0, most]} if most else {"rangemode": "tozero"}
    figure.update_layout(
        title={"text": title, "font": {"size": 13}, "x": 0, "xref": "paper", "y": 0.97, "yanchor": "top"},
        uirevision=revision,
        xaxis={"title": {"text": "optimiser step", "standoff": 4}, **axis},
        yaxis={"title": {"text": unit, "standoff": 4}, "exponentformat": "e"},
        hovermode="x unified",
        showlegend=len(lines) > 1,
        margin={"l": 50, "r": 10, "t": 34, "b": 36},
        legend={"orientation": "h", "y": 0.98, "x": 1, "xanchor": "right", "yanchor": "top"},
    )
    return figure


def log_text(lines: Sequence[str]) -> str:
    """The log's tail, as HTML."""
    if not lines:
        return '<p class="empty">Nothing has been printed yet.</p>'
    return f'<pre class="log" tabindex="0" aria-label="log">{text(chr(10).join(lines))}</pre>'
