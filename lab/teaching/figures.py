"""Figures of the walkthroughs: the method's parts, the cost of a split of the budget, what training changed.

`lab.runs.figures` draws runs over their steps, `lab.bench.figures` measured speeds.
"""

import base64
import html
import textwrap
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dept.costs.trade_off import TradeOff
from dept.data.images import thumbnail
from dept.methods.budget import BudgetSplit, split_of
from dept.tasks.task import ImageValue
from lab.runs.figures import add_curve
from lab.runs.read import Run

# Okabe and Ito's palette; trained parts are bright, frozen or unused ones are grey.
PARTS = {"soft prompt": "#D55E00", "A": "#0072B2", "B": "#56B4E9", "left over": "#F0E442", "source": "#b4bec7"}
_LINES = (("#0072B2", "solid"), ("#D55E00", "dash"), ("#009E73", "dot"), ("#CC79A7", "dashdot"))
_HEIGHT = 300
_PICTURE_PIXELS = 160


def decomposition(split: BudgetSplit, hidden_size: int, max_seq_length: int, budget_tokens: int) -> go.Figure:
    """PT above, DePT below: the positions that the backbone reads, and the trainable parameters (paper 2.2).

    Args:
        split: DePT's m and r; PT's prompt has `budget_tokens` (l) vectors.
        hidden_size, max_seq_length: d and s.
    """
    pt = split_of(budget_tokens, 0, hidden_size, max_seq_length, budget_tokens)
    both = (pt, split)
    positions = {
        "soft prompt": [each.num_virtual_tokens for each in both],
        "source": [max_seq_length, max_seq_length],
    }
    parameters = {
        "soft prompt": [each.num_virtual_tokens * hidden_size for each in both],
        "A": [max_seq_length * each.rank for each in both],
        "B": [each.rank * hidden_size for each in both],
        "left over": [max(0, each.left_over) for each in both],
    }
    methods = ["PT", "DePT"]
    figure = make_subplots(
        cols=2,
        horizontal_spacing=0.08,
        subplot_titles=[
            f"positions read: {pt.input_length} and {split.input_length}",
            f"trainable parameters: {pt.trainable_parameters:,} and {split.trainable_parameters:,}",
        ],
    )
    for column, parts in enumerate((positions, parameters), start=1):
        for name, values in parts.items():
            figure.add_bar(
                x=values,
                y=methods,
                orientation="h",
                name=name,
                legendgroup=name,
                showlegend=name == "source" or column == 2,
                text=[f"{value:,}" if value else "" for value in values],
                textposition="inside",
                insidetextanchor="middle",
                textangle=0,
                marker={"color": PARTS[name], "line": {"color": "white", "width": 1}},
                hovertemplate="%{y}, " + name + ": %{x:,}<extra></extra>",
                row=1,
                col=column,
            )
    figure.update_xaxes(range=[0, pt.input_length], row=1, col=1)
    figure.update_xaxes(range=[0, budget_tokens * hidden_size], row=1, col=2)
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(**_layout(height=250), barmode="stack")
    return figure


def calculated_cost(points: Sequence[TradeOff], num_virtual_tokens: int) -> go.Figure:
    """The calculated cost of each m in per cent of PT's.

    Args:
        points: costs from `dept.costs.trade_off.trade_off`; the last one is PT's.
        num_virtual_tokens: the m at which a vertical line is drawn.
    """
    pt = points[-1]
    lines = {
        "FLOPs of a training step": [100 * point.train.flops / pt.train.flops for point in points],
        "activation memory of a training step": [
            100 * point.train.activation_bytes / pt.train.activation_bytes for point in points
        ],
        "FLOPs of an inference batch": [100 * point.inference.flops / pt.inference.flops for point in points],
    }
    lengths = [point.num_virtual_tokens for point in points]
    figure = go.Figure()
    for (name, values), (color, dash) in zip(lines.items(), _LINES, strict=False):
        figure.add_scatter(
            x=lengths,
            y=values,
            name=name,
            mode="lines",
            line={"color": color, "dash": dash, "width": 2.5},
            hovertemplate="m = %{x}: %{y:.1f}%<extra>" + name + "</extra>",
        )
    figure.add_scatter(
        x=[num_virtual_tokens, num_virtual_tokens],
        y=[0, 105],
        name="m",
        mode="lines",
        line={"color": "#4a5560", "width": 1.5},
        hoverinfo="skip",
        showlegend=False,
    )
    figure.update_layout(
        **_layout(height=340),
        xaxis={"title": f"m, virtual tokens ({pt.num_virtual_tokens}: PT)", "range": [-2, lengths[-1] + 2]},
        yaxis={"title": "per cent of PT", "range": [0, 105]},
    )
    return figure


def update_norms(norms: Sequence[float], embedding_norm: float, longest_source: int) -> go.Figure:
    """The norm of each row of the trained update (Eq. 2), over the position of the source token it is added to.

    Args:
        norms: norms of the rows of scale * A·B, [s].
        embedding_norm: mean norm of a frozen word embedding, for comparison.
        longest_source: tokens of the longest training source; later rows were never added to a token.
    """
    figure = go.Figure()
    figure.add_bar(
        x=list(range(1, len(norms) + 1)),
        y=list(norms),
        name="row of the update",
        marker={"color": [PARTS["A"] if row < longest_source else PARTS["source"] for row in range(len(norms))]},
        hovertemplate="token %{x}: %{y:.3g}<extra></extra>",
    )
    figure.add_hline(
        y=embedding_norm,
        line={"dash": "dash", "color": "#4a5560"},
        annotation={"text": "a word embedding, on average", "yanchor": "bottom"},
    )
    figure.update_layout(
        **_layout(),
        bargap=0,
        xaxis={"title": f"source token i; grey: beyond the longest training source ({longest_source} tokens)"},
        yaxis={"title": "length of the vector", "rangemode": "tozero"},
        showlegend=False,
    )
    return figure


def compared(runs: Mapping[str, Run], split: str, value: str, title: str, unit: str, smooth: int = 1) -> go.Figure:
    """`lab.runs.figures.curves` for runs of one method with different settings, under the names given in `runs`."""
    figure = go.Figure()
    for index, (name, run) in enumerate(runs.items()):
        add_curve(figure, name, *run.curve(split, value), smooth, _LINES[index % len(_LINES)])
    figure.update_layout(
        **_layout(title, height=360), xaxis={"title": "optimiser step"}, yaxis={"title": unit}, hovermode="x unified"
    )
    return figure


def pictures(
    images: Sequence[ImageValue],
    questions: Sequence[str],
    answers: Sequence[str],
    right: Sequence[str] = (),
    columns: int = 4,
) -> go.Figure:
    """Images in rows; above each its question, the answer given (bold), and the right answer."""
    titles = [
        [*_lines(question), *(f"<b>{line}</b>" for line in _lines(answer)), *_lines(right[index] if right else "")]
        for index, (question, answer) in enumerate(zip(questions, answers, strict=True))
    ]
    rows, heading = -(-len(images) // columns), 16 * max(map(len, titles)) + 10
    drawn = rows * _PICTURE_PIXELS + (rows - 1) * heading
    figure = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=["<br>".join(lines) for lines in titles],
        horizontal_spacing=0.02,
        vertical_spacing=heading / drawn if rows > 1 else 0,
    )
    for index, image in enumerate(images):
        figure.add_image(
            source=f"data:image/jpeg;base64,{base64.b64encode(thumbnail(image, _PICTURE_PIXELS)).decode()}",
            hoverinfo="skip",
            row=index // columns + 1,
            col=index % columns + 1,
        )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.update_annotations(font_size=12)
    margin = {"l": 10, "r": 10, "t": heading, "b": 10}
    figure.update_layout(template="plotly_white", height=drawn + heading + 10, margin=margin)
    return figure


def _lines(text: str) -> list[str]:
    """A text in lines that fit above a picture, escaped, since plotly would read some of its characters as tags."""
    return textwrap.wrap(html.escape(text, quote=False), 34, max_lines=3, placeholder=" ...")


def _layout(title: str = "", height: int = _HEIGHT) -> dict[str, object]:
    return {
        "title": {"text": title, "font": {"size": 15}},
        "template": "plotly_white",
        "height": height,
        "margin": {"l": 60, "r": 20, "t": 50, "b": 90},
        "legend": {"orientation": "h", "y": -0.3, "x": 0, "yanchor": "top"},
    }
