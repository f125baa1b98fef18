"""The paper's Figures 3 (score over m), 5 and 6, drawn from runs; `lab.bench.figures` draws measured costs.

Where the paper prints its numbers, they are drawn beside ours with markers of their own.
"""

from collections.abc import Sequence
from statistics import fmean

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dept.methods.registry import BASELINE, DEFAULT_METHOD, title_of
from lab.basics.styles import STYLES
from lab.paper import numbers as paper
from lab.results.rows import Mean, Results, Row, backbone_name, best, mean_of
from lab.runs.figures import OTHER_STYLES

PAPER_COLOR = "#8a5fc0"  # visible on white and on black
_FAINT = "#8b949e"
_PAPER_SYMBOLS = ("star-open", "diamond-open", "square-open")
_TEXT_PLACES = ("middle left", "bottom center", "middle right", "top center")
_TASK_SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "triangle-down", "pentagon")


def figures(results: Results) -> list[tuple[str, go.Figure]]:
    """(heading, figure) of each figure for which there are enough runs."""
    return [*score_over_length(results), *learning_rates(results), *score_over_parameters(results)]


def missing(results: Results) -> list[str]:
    """For each figure that is not drawn, what it needs."""
    needs = {
        "Figure 3's scores": (score_over_length, "runs of a GLUE task with DePT at two prompt lengths at least"),
        "Figure 5": (learning_rates, "DePT runs of a GLUE task with one learning rate for all and with two"),
        "Figure 6": (score_over_parameters, "runs of all tasks of GLUE or of SuperGLUE"),
    }
    return [f"{name} is not drawn: it needs {what}." for name, (draw, what) in needs.items() if not draw(results)]


def _groups(results: Results) -> dict[tuple[str, str], list[Row]]:
    """GLUE's rows that have a test score, by backbone and source of the data."""
    by_source: dict[tuple[str, str], list[Row]] = {}
    for row in results.rows:
        if row.benchmark == "glue" and row.test is not None:
            by_source.setdefault((row.backbone, row.result["data"]["source"]), []).append(row)
    return by_source


def _benchmark_mean(rows: Sequence[Row], benchmark: str) -> Mean | None:
    """The mean over a benchmark, each task by its best setting; None where a task is missing."""
    chosen = [best([row for row in rows if row.task == task]) for task in paper.benchmarks()[benchmark]]
    complete = [row for row in chosen if row is not None]
    return mean_of(complete) if len(complete) == len(chosen) else None


def score_over_length(results: Results) -> list[tuple[str, go.Figure]]:
    """Figure 3's scores: each task over m, and GLUE's mean where no task is missing; PT is drawn at its l."""
    drawn = []
    for (backbone, source), rows in _groups(results).items():
        where = f"{backbone_name(backbone)}, {source} data"
        dept = [row for row in rows if row.method == DEFAULT_METHOD]
        pt = [row for row in rows if row.method == BASELINE]
        lengths = sorted({row.result["num_virtual_tokens"] for row in dept})
        if not any(len({r.result["num_virtual_tokens"] for r in dept if r.task == row.task}) > 1 for row in dept):
            continue
        figure = go.Figure()
        for task, symbol in zip(paper.benchmarks()["glue"], _TASK_SYMBOLS, strict=True):
            at = {m: best([row for row in dept if row.task == task and _length(row) == m]) for m in lengths}
            _add_task(figure, task, symbol, at, best([row for row in pt if row.task == task]))
        means = {m: _benchmark_mean([row for row in dept if _length(row) == m], "glue") for m in lengths}
        _add_means(figure, {m: mean for m, mean in means.items() if mean is not None}, _benchmark_mean(pt, "glue"))
        printed = paper.mean(BASELINE, "glue")
        if printed is not None and backbone == paper.BACKBONE:
            _add_printed(figure, 100, printed.value, f"GLUE mean, PT, the paper's ({printed.where})")
        used = [*dept, *pt]
        figure.update_layout(
            **_layout(where, _marks(used)),
            xaxis={"title": "m, virtual tokens (PT: l)", "dtick": 20, "range": [-5, 105]},
            yaxis={"title": "test score, per cent"},
        )
        drawn.append((f"After the paper's Figure 3: score over m, {where}", figure))
    return drawn


def _length(row: Row) -> int:
    return int(row.result["num_virtual_tokens"])


def _test(row: Row | Mean | None) -> float | None:
    return row.test.mean if row is not None and row.test is not None else None


def _add_task(figure: go.Figure, task: str, symbol: str, at: dict[int, Row | None], pt: Row | None) -> None:
    points = {m: value for m, row in at.items() if (value := _test(row)) is not None}
    if not points:
        return
    line = {"color": _FAINT, "width": 1}
    marker = {"symbol": symbol, "size": 7}
    figure.add_scatter(
        x=[*points], y=[*points.values()], name=task, legendgroup=task, line=line, marker=marker, mode="lines+markers"
    )
    if pt is not None:
        figure.add_scatter(
            x=[_length(pt)],
            y=[_test(pt)],
            name=f"{task}, PT",
            legendgroup=task,
            showlegend=False,
            mode="markers",
            marker={**marker, "color": STYLES["PT"][0]},
        )


def _add_means(figure: go.Figure, means: dict[int, Mean], pt: Mean | None) -> None:
    if means:
        figure.add_scatter(
            x=[*means],
            y=[mean.test.mean for mean in means.values()],
            error_y={"array": [mean.test.deviation or 0 for mean in means.values()], "thickness": 1},
            name="GLUE mean, DePT, ours",
            mode="lines+markers",
            line={"color": STYLES["DePT"][0], "width": 3},
        )
    if pt is not None:
        figure.add_scatter(
            x=[_length(pt.rows[0])],
            y=[pt.test.mean],
            error_y={"array": [pt.test.deviation or 0], "thickness": 1},
            name="GLUE mean, PT, ours",
            mode="markers",
            marker={"color": STYLES["PT"][0], "size": 11, "symbol": "square"},
        )


def learning_rates(results: Results) -> list[tuple[str, go.Figure]]:
    """Figure 5: test scores on GLUE with one learning rate for prompt and update, and with two."""
    drawn = []
    for (backbone, source), rows in _groups(results).items():
        where = f"{backbone_name(backbone)}, {source} data"
        by_rates: dict[str, list[Row]] = {}
        for row in rows:
            if row.method == DEFAULT_METHOD:
                by_rates.setdefault(_rates(row), []).append(row)
        if len(by_rates) < 2:
            continue
        figure = go.Figure()
        for index, name in enumerate(sorted(by_rates)):
            own = by_rates[name]
            glue = paper.benchmarks()["glue"]
            scores = {task: _test(best([row for row in own if row.task == task])) for task in glue}
            scores["mean"] = _test(_benchmark_mean(own, "glue"))
            known = {task: score for task, score in scores.items() if score is not None}
            figure.add_bar(
                x=[*known],
                y=[*known.values()],
                name=f"{name}, ours",
                marker={
                    "color": OTHER_STYLES[index % len(OTHER_STYLES)][0],
                    "pattern": {"shape": ("", "/", ".", "x")[index % 4]},
                },
            )
        if backbone == paper.BACKBONE:
            for symbol, (name, printed) in zip(_PAPER_SYMBOLS, paper.FIGURE_5.items(), strict=True):
                _add_printed(figure, "mean", printed.value, f"{name}, the paper's ({printed.where})", symbol)
        figure.update_layout(
            **_layout(where, _marks([row for own in by_rates.values() for row in own])),
            yaxis={"title": "test score, per cent"},
            barmode="group",
        )
        drawn.append((f"After the paper's Figure 5: one learning rate or two, {where}", figure))
    return drawn


def _rates(row: Row) -> str:
    rates = [rate for rate in row.rates.values() if rate is not None]
    if len(set(rates)) != 1:
        return "two rates"
    mantissa, exponent = f"{rates[0]:e}".split("e")
    return f"one rate, {mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def score_over_parameters(results: Results) -> list[tuple[str, go.Figure]]:
    """Figure 6: means over GLUE and SuperGLUE against trainable parameters; the paper's points are Table 1's."""
    ours = {name: [m for m in results.means if m.benchmark == name] for name in ("glue", "super_glue")}
    shown = [name for name, means in ours.items() if means]
    if not shown:
        return []
    titles = {"glue": "GLUE", "super_glue": "SuperGLUE"}
    figure = make_subplots(cols=len(shown), subplot_titles=[titles[name] for name in shown])
    for column, name in enumerate(shown, start=1):
        printed = [s for s in paper.scores() if s.table == 1 and s.task is None and s.benchmark == name]
        printed.sort(key=lambda score: (score.parameters or 0, score.value))  # neighbours get different places
        figure.add_scatter(
            x=[score.parameters for score in printed],
            y=[score.value for score in printed],
            text=[paper.methods()[score.method] for score in printed],
            textposition=[_TEXT_PLACES[i % len(_TEXT_PLACES)] for i in range(len(printed))],
            textfont={"size": 10},
            mode="markers+text",
            marker={"symbol": "star-open", "size": 9, "color": PAPER_COLOR},
            name="the paper's (Table 1)",
            showlegend=column == 1,
            row=1,
            col=column,
        )
        for index, mean in enumerate(ours[name]):
            method = paper.methods().get(mean.method) or title_of(mean.method)
            marks = f" ({', '.join(mean.marks)})" if mean.marks else ""
            figure.add_scatter(
                x=[fmean(row.result["trainable_parameters"] for row in mean.rows)],
                y=[mean.test.mean],
                error_y={"array": [mean.test.deviation or 0], "thickness": 1},
                mode="markers",
                marker={
                    "symbol": "circle-open" if mean.marks else "circle",
                    "size": 12,
                    "line": {"width": 2},
                    "color": STYLES.get(method, OTHER_STYLES[index % len(OTHER_STYLES)])[0],
                },
                name=f"{titles[name]}: {method}, ours, {backbone_name(mean.backbone)}{marks}",
                row=1,
                col=column,
            )
        figure.update_xaxes(title="trainable parameters", type="log", row=1, col=column)
    figure.update_yaxes(title="mean test score, per cent", row=1, col=1)
    figure.update_layout(**{**_layout("hollow: no reproduction", ()), "height": 520})
    return [("After the paper's Figure 6: score against trainable parameters", figure)]


def _add_printed(figure: go.Figure, x: object, y: float, name: str, symbol: str = "star-open") -> None:
    figure.add_scatter(
        x=[x],
        y=[y],
        name=name,
        mode="markers",
        marker={"symbol": symbol, "size": 14, "color": PAPER_COLOR, "line": {"width": 2}},
    )


def _marks(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(mark for row in rows for mark in row.marks))


def _layout(title: str, marks: Sequence[str]) -> dict[str, object]:
    noted = f"<br>no reproduction: {', '.join(marks)}" if marks else ""
    return {
        "title": {"text": title + noted, "font": {"size": 13}, "y": 0.98, "yanchor": "top"},
        "template": "plotly_white",
        "height": 440,
        "margin": {"l": 70, "r": 20, "t": 60, "b": 80},
        "legend": {"orientation": "h", "y": -0.2, "x": 0, "yanchor": "top"},
    }
