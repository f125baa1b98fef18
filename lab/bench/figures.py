"""The paper's Figure 3 (relative cost over m) and Figure 4 (samples a second over m), drawn from measurements.

The numbers that the paper prints are drawn beside ours with markers of their own, named as the paper's. Methods that
are measured at one setting are markers too, at the length of their prompt.
"""

from collections.abc import Sequence
from statistics import fmean

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dept.backbones.known import RANDOM
from dept.methods.registry import BASELINE, DEFAULT_METHOD, title_of
from lab.bench.summary import Ratio, Summary
from lab.bench.variant import BACKBONE
from lab.paper.numbers import FIGURE_3_SAVING, printed_speed
from lab.runs.figures import style_of

_SIZES = ("small", "base", "medium", "large", "7b", "13b")
_COLORS = {"training time": "#0072B2", "peak memory": "#009E73"}
_DASHES = {"training time": "solid", "peak memory": "dash"}
_PAPER = "#6a3d9a"
_SIZE_COLORS = ("#0072B2", "#009E73", "#D55E00")
_PAPER_MARKS = ("star-open", "diamond-open", "square-open")
_OTHER_MARKS = ("circle", "square", "triangle-up", "triangle-down", "cross", "x")
_HEIGHT = 420


def size_name(backbone: str) -> str:
    """The alias in `random:<alias>`, else the name."""
    return backbone.removeprefix(RANDOM)


def family(backbone: str) -> str:
    """T5, GPT-2 or LLaMA-2, whose sizes share a figure in the paper; else the backbone itself."""
    name = size_name(backbone)
    return next(
        (f for start, f in (("t5-", "T5"), ("gpt2", "GPT-2"), ("llama-2", "LLaMA-2")) if name.startswith(start)), name
    )


def _families(summaries: Sequence[Summary]) -> list[tuple[str, str, str]]:
    """(family, lengths, way), in the order of first measurement."""
    return list(dict.fromkeys((family(s.group.backbone), s.group.lengths, s.group.way) for s in summaries))


def _of(summaries: Sequence[Summary], kind: str, lengths: str, way: str) -> list[Summary]:
    wanted = (kind, lengths, way)
    return [s for s in summaries if (family(s.group.backbone), s.group.lengths, s.group.way) == wanted]


def relative_cost(summaries: Sequence[Summary]) -> list[tuple[str, go.Figure]]:
    """Figure 3: training time and peak training memory over m, per cent of PT's, the mean over sizes."""
    costs = [s for s in summaries if s.group.what in ("train", "memory") and s.baseline is not None]
    drawn = []
    for kind, lengths, way in _families(costs):
        own = _of(costs, kind, lengths, way)
        figure = go.Figure()
        for name in ("training time", "peak memory"):
            _add_cost(figure, name, [s for s in own if s.variant.method == DEFAULT_METHOD])
            _add_other_costs(figure, name, [s for s in own if s.variant.method != DEFAULT_METHOD])
        if kind == "T5":
            figure.add_scatter(
                x=[20],
                y=[100 - FIGURE_3_SAVING.value],
                name="the paper's text: about 75% (both, m = 20)",
                mode="markers",
                marker={"symbol": "star-open", "size": 15, "color": _PAPER, "line": {"width": 2}},
            )
        sizes = ", ".join(dict.fromkeys(size_name(s.group.backbone) for s in own))
        figure.update_layout(
            **_layout(f"{sizes}; {lengths}; bars: least to greatest of pairs"),
            xaxis={"title": "m, virtual tokens (100: PT)", "dtick": 20, "range": [-5, 105]},
            yaxis={"title": "per cent of PT", "rangemode": "tozero"},
        )
        drawn.append((f"After the paper's Figure 3: relative training cost, {kind}, {lengths}", figure))
    return drawn


def _cost(row: Summary, name: str) -> Ratio | None:
    """Time or memory over the baseline's; None for the time of a memory run, which is too short for it."""
    if name == "peak memory":
        return row.memory
    return row.time if row.group.what == "train" else None


def _add_other_costs(figure: go.Figure, name: str, own: Sequence[Summary]) -> None:
    """A marker for each method that is measured at one setting, at the mean over the backbone's sizes."""
    ratios: dict[str, list[Ratio]] = {}
    lengths = {row.variant.name: row.variant.num_virtual_tokens for row in own}
    for row in own:
        if (ratio := _cost(row, name)) is not None:
            ratios.setdefault(row.variant.name, []).append(ratio)
    for index, (variant, of_sizes) in enumerate(ratios.items()):
        figure.add_scatter(
            x=[lengths[variant]],
            y=[100 * fmean(ratio.median for ratio in of_sizes)],
            name=f"{variant}: {name}, ours",
            mode="markers",
            marker={"symbol": _OTHER_MARKS[index % len(_OTHER_MARKS)], "size": 11, "color": _COLORS[name]},
        )


def _add_cost(figure: go.Figure, name: str, own: Sequence[Summary]) -> None:
    by_m: dict[int, list[Ratio]] = {}
    for row in own:
        if (ratio := _cost(row, name)) is not None:
            by_m.setdefault(row.variant.num_virtual_tokens, []).append(ratio)
    if not by_m:
        return
    ms = sorted(by_m)
    means = [100 * fmean(ratio.median for ratio in by_m[m]) for m in ms]
    figure.add_scatter(
        x=[*ms, 100],
        y=[*means, 100],
        name=f"{name}, ours",
        mode="lines+markers",
        line={"color": _COLORS[name], "dash": _DASHES[name], "width": 2.5},
        error_y={
            "array": [*(100 * max(r.greatest for r in by_m[m]) - y for m, y in zip(ms, means, strict=True)), 0],
            "arrayminus": [*(y - 100 * min(r.least for r in by_m[m]) for m, y in zip(ms, means, strict=True)), 0],
            "color": _COLORS[name],
            "thickness": 1,
        },
    )


def samples_per_second(summaries: Sequence[Summary]) -> list[tuple[str, go.Figure]]:
    """Figure 4: bars of samples per second over m, a panel for each size, with the ratio to PT above each bar."""
    speeds = [s for s in summaries if s.group.what == "inference" and s.variant.method != BACKBONE]
    drawn = []
    for kind, lengths, way in _families(speeds):
        own = _of(speeds, kind, lengths, way)
        sizes = sorted(dict.fromkeys(s.group.backbone for s in own), key=_size_order)
        figure = make_subplots(cols=len(sizes), subplot_titles=[size_name(size) for size in sizes])
        for column, size in enumerate(sizes, start=1):
            for index, method in enumerate(_methods(own)):
                bars = [s for s in own if s.group.backbone == size and s.variant.method == method]
                bars.sort(key=lambda s: s.variant.num_virtual_tokens)
                with_m = method in (DEFAULT_METHOD, BASELINE)
                name, compared = title_of(method), method != BASELINE
                figure.add_bar(
                    x=[str(s.variant.num_virtual_tokens) if with_m else s.variant.name for s in bars],
                    y=[s.samples_per_s for s in bars],
                    text=[f"{s.speed.median:.2f}x" if compared and s.speed else "" for s in bars],
                    textposition="outside",
                    cliponaxis=False,
                    width=0.7,
                    name=f"{name}, ours",
                    showlegend=column == 1,
                    marker={"color": style_of(name, index)[0], "pattern": {"shape": "" if compared else "/"}},
                    row=1,
                    col=column,
                )
            figure.update_xaxes(title="m, virtual tokens", type="category", row=1, col=column)
        figure.update_yaxes(title="samples a second", row=1, col=1)
        figure.update_layout(**_layout(f"{lengths}{', ' + way if way else ''}; above each bar: speed relative to PT"))
        way_title = f", {way}" if way else ""
        after = "With cached prompts" if way == "cached" else "After the paper's Figure 4"
        drawn.append((f"{after}: inference, {kind}, {lengths}{way_title}", figure))
    return drawn


def _methods(own: Sequence[Summary]) -> list[str]:
    """The measured methods: the one whose m is varied, PT, then the others in the order of measurement."""
    measured = dict.fromkeys(s.variant.method for s in own)
    first = [method for method in (DEFAULT_METHOD, BASELINE) if method in measured]
    return list(dict.fromkeys([*first, *measured]))


def relative_speed(summaries: Sequence[Summary]) -> list[tuple[str, go.Figure]]:
    """Samples per second relative to PT over m, with the ratios of the paper's printed speeds as markers."""
    speeds = [
        s
        for s in summaries
        if s.group.what == "inference" and s.group.way != "cached" and s.variant.method == DEFAULT_METHOD
    ]
    drawn = []
    for kind, lengths, way in _families(speeds):
        own = _of(speeds, kind, lengths, way)
        sizes = sorted(dict.fromkeys(s.group.backbone for s in own), key=_size_order)
        figure = go.Figure()
        for index, size in enumerate(sizes):
            points = sorted(
                (s for s in own if s.group.backbone == size and s.speed), key=lambda s: s.variant.num_virtual_tokens
            )
            ratios = [s.speed for s in points if s.speed is not None]
            figure.add_scatter(
                x=[*(s.variant.num_virtual_tokens for s in points), 100],
                y=[*(r.median for r in ratios), 1],
                name=f"{size_name(size)}, ours",
                mode="lines+markers",
                line={"dash": ("solid", "dash", "dot")[index % 3], "width": 2.5, "color": _SIZE_COLORS[index % 3]},
                error_y={
                    "array": [*(r.greatest - r.median for r in ratios), 0],
                    "arrayminus": [*(r.median - r.least for r in ratios), 0],
                    "thickness": 1,
                },
            )
            for s in points:
                _add_printed(figure, size_name(size), s.variant.num_virtual_tokens, _PAPER_MARKS[index % 3])
        figure.update_layout(
            **_layout(f"{lengths}{', ' + way if way else ''}; bars: least to greatest of pairs"),
            xaxis={"title": "m, virtual tokens (100: PT)", "dtick": 20, "range": [-5, 105]},
            yaxis={"title": "samples a second over PT's", "rangemode": "tozero"},
        )
        drawn.append((f"Speed relative to PT, ours and the paper's: {kind}, {lengths}", figure))
    return drawn


def _add_printed(figure: go.Figure, name: str, m: int, symbol: str) -> None:
    """Add a marker at the ratio of the two speeds, if the paper prints both."""
    dept, pt = printed_speed(name, DEFAULT_METHOD, m), printed_speed(name, BASELINE, 100)
    if dept is None or pt is None:
        return
    figure.add_scatter(
        x=[m],
        y=[dept.samples_per_s.value / pt.samples_per_s.value],
        name=f"{name}, the paper's ({dept.samples_per_s.where})",
        mode="markers",
        marker={"symbol": symbol, "size": 15, "color": _PAPER, "line": {"width": 2}},
    )


def _size_order(backbone: str) -> tuple[int, str]:
    name = size_name(backbone)
    return next((i for i, size in enumerate(_SIZES) if name.endswith(size)), 0), name


def _layout(title: str) -> dict[str, object]:
    return {
        "title": {"text": title, "font": {"size": 14}},
        "template": "plotly_white",
        "height": _HEIGHT,
        "margin": {"l": 70, "r": 20, "t": 70, "b": 100},
        "legend": {"orientation": "h", "y": -0.25, "x": 0, "yanchor": "top"},
    }
