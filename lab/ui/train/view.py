"""What the Train tab shows of a choice: its numbers, and the chart of what each m costs."""

import plotly.graph_objects as go

from lab.basics.styles import STYLES
from lab.basics.units import duration, si
from lab.estimate.run import Expectation, Expected
from lab.ui.components.html import facts


def numbers(expectation: Expectation) -> str:
    """The chosen split in numbers, PT's beside them, as HTML."""
    dept, pt, info = expectation.dept, expectation.prompt_tuning, expectation.backbone
    tower, trained, left = expectation.tower, dept.split.trainable_parameters, dept.split.left_over
    share = f"{trained / info.parameters:.2%} of {si(info.parameters)}" if info.parameters else ""
    projection, image = expectation.projection_parameters, tower.positions if tower else 0
    spare = f"; {left:,} of PT's left over" if left else "; as many as PT"
    pairs = [
        ("Rank r", f"{dept.split.rank}", "the largest within PT's budget"),
        (
            "Trainable parameters",
            f"{trained + projection:,}",
            (f"{trained:,} within PT's budget" if tower else share) + spare,
        ),
        (
            "Input length",
            f"{dept.split.input_length + image}",
            f"m + {f'{image} of the image + ' if tower else ''}s tokens; PT: {pt.split.input_length + image}",
        ),
    ]
    if tower is not None:
        about = f"of them, from image to text: {tower.width} x d + d, in PT too"
        pairs.insert(2, ("Projection", f"{projection:,}", about))
    if dept.flops and pt.flops and dept.activation_bytes and pt.activation_bytes:
        weights = f" and {_bytes(4 * info.parameters)} of weights" if info.parameters else ""
        pairs += [
            ("A training step", f"{si(dept.flops)}FLOP", f"{dept.flops / pt.flops - 1:+.0%} to PT's"),
            (
                "Memory",
                _bytes(dept.activation_bytes),
                f"of activations ({dept.activation_bytes / pt.activation_bytes - 1:+.0%} to PT's){weights}",
            ),
            ("Time", _duration(dept), f"for all steps, about; PT: {_duration(pt)}"),
        ]
    return facts(pairs) + f'<p class="fine">{_basis(expectation)}</p>'


def _basis(expectation: Expectation) -> str:
    if not expectation.points:
        return "The cost model knows the families T5, GPT-2 and LLaMA: no FLOPs, memory or time for this backbone."
    tower = expectation.tower
    image = f" and {tower.positions} positions of an image" if tower else ""
    once = " The image encoder's look at each image comes before, once, and is kept." if tower else ""
    return (
        f"Calculated for sources of about {expectation.source_tokens} tokens{image}, float32, on this machine's CPU; "
        f"time {expectation.pace.source}.{once}"
    )


def _duration(expected: Expected) -> str:
    return "-" if expected.seconds is None else duration(expected.seconds)


def _bytes(number: float) -> str:
    return f"{number / 2**30:.2g} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"


def trade_off_figure(expectation: Expectation) -> go.Figure | None:
    """Cost over m in per cent of PT's, with the chosen m marked; None where the cost model cannot say."""
    if not expectation.points:
        return None
    points, pt = expectation.points, expectation.points[-1]
    lengths = [point.num_virtual_tokens for point in points]
    lines = (
        ("FLOPs of a step", [100 * point.train.flops / pt.train.flops for point in points], "#0072B2", "solid"),
        (
            "activation memory",
            [100 * point.train.activation_bytes / pt.train.activation_bytes for point in points],
            "#009E73",
            "dash",
        ),
    )
    chosen = expectation.dept.split.num_virtual_tokens
    figure = go.Figure()
    for name, values, color, dash in lines:
        figure.add_scatter(
            x=lengths, y=values, name=name, mode="lines", line={"color": color, "dash": dash, "width": 2.5},
            customdata=[point.rank for point in points],
            hovertemplate="m = %{x}, r = %{customdata}: %{y:.0f}%<extra>" + name + "</extra>",
        )  # fmt: skip
        if chosen in lengths:
            figure.add_scatter(
                x=[chosen], y=[values[lengths.index(chosen)]], mode="markers", showlegend=False, hoverinfo="skip",
                marker={"size": 11, "color": color, "line": {"width": 2, "color": "white"}},
            )  # fmt: skip
    figure.add_scatter(
        x=[lengths[-1]], y=[100], name="PT", mode="markers",
        marker={"size": 11, "symbol": "diamond", "color": STYLES["PT"][0]},
    )  # fmt: skip
    figure.update_layout(
        uirevision="trade-off",
        xaxis={"title": "m, virtual tokens", "range": [-2, lengths[-1] + 3]},
        yaxis={"title": "per cent of PT", "rangemode": "tozero"},
        margin={"l": 50, "r": 10, "t": 8, "b": 40},
        legend={"orientation": "h", "y": 1.02, "x": 0, "yanchor": "bottom"},
    )
    return figure
