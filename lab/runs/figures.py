"""Plotly figures of runs over their steps, used by reports, notebooks and the page alike."""

from collections.abc import Sequence

import plotly.graph_objects as go

from dept.methods.registry import groups
from lab.basics.styles import STYLES
from lab.runs.read import Run, labels

OTHER_STYLES = (
    ("#009E73", "dot"),
    ("#CC79A7", "dashdot"),
    ("#E69F00", "longdash"),
    ("#56B4E9", "longdashdot"),
    ("#0072B2", "solid"),
    ("#D55E00", "dash"),
)


def style_of(name: str, index: int) -> tuple[str, str]:
    """Colour and dash of a method's line by its name, else by its place among the lines."""
    return STYLES.get(name, OTHER_STYLES[index % len(OTHER_STYLES)])


def add_curve(
    figure: go.Figure, name: str, steps: list[int], values: list[float], smooth: int, style: tuple[str, str]
) -> None:
    """Add a run's line over its steps, as the mean over `smooth` steps, in a style of colour and dash."""
    color, dash = style
    figure.add_scatter(
        x=steps,
        y=running_mean(values, smooth),
        name=name,
        mode="lines" if len(steps) > 20 else "lines+markers",
        line={"color": color, "dash": dash, "width": 2.5},
    )


def curves(runs: Sequence[Run], split: str, value: str, title: str, unit: str, smooth: int = 1) -> go.Figure:
    """One line for each run over the optimiser's steps.

    Args:
        split: train, validation or test.
        value: a key of the lines of metrics.jsonl, or of their metrics.
        unit: the y axis's title.
        smooth: number of steps of the running mean; 1 leaves the values as they are.
    """
    figure = go.Figure()
    for index, (run, name) in enumerate(zip(runs, labels(runs), strict=True)):
        add_curve(figure, name, *run.curve(split, value), smooth, style_of(name, index))
    figure.update_layout(
        title=title,
        xaxis_title="optimiser step",
        yaxis_title=unit,
        template="plotly_white",
        hovermode="x unified",
        margin={"l": 60, "r": 20, "t": 60, "b": 50},
        legend={"orientation": "h", "y": 1.02, "x": 1, "xanchor": "right", "yanchor": "bottom"},
    )
    return figure


def rate_figures(runs: Sequence[Run]) -> list[go.Figure]:
    """A figure for each rate group that some run trains: its learning rate over the optimiser's steps."""
    names = [
        name
        for name, group in groups().items()
        if any(line.get(group.setting_name) is not None for run in runs for line in run.metrics)
    ]
    return [curves(runs, "train", groups()[name].setting_name, rate_title(name), rate_unit(name)) for name in names]


def rate_title(group: str) -> str:
    """The title of a figure of a group's learning rate."""
    return f"Learning rate of {groups()[group].title}"


def rate_unit(group: str) -> str:
    """The axis label of a group's learning rate: the paper's letter, else the setting's name."""
    return groups()[group].letter or groups()[group].setting_name


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """The mean of each value and up to `window - 1` before it."""
    return [sum(values[max(0, i + 1 - window) : i + 1]) / min(window, i + 1) for i in range(len(values))]
