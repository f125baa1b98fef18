"""The Train tab's numbers for the chosen settings, and the chart of each m's cost."""

import plotly.graph_objects as go

from lab.basics.styles import STYLES
from lab.basics.units import duration, si
from lab.estimate.expect import Expectation
from lab.ui.components.html import facts, text
from lab.ui.train.form import LENGTH


def numbers(chosen: Expectation, pt: Expectation) -> str:
    """The chosen method's sizes and costs, with PT's beside them, as HTML."""
    info, tower = chosen.plan.backbone, chosen.plan.tower
    image = tower.positions if tower else 0
    pairs = _trained(chosen)
    prompt = "m + " if LENGTH in chosen.plan.method.own_settings() else ""
    positions = f"{prompt}{f'{image} of the image + ' if image else ''}s tokens"
    pairs.append(("Input length", f"{chosen.input_length + image}", f"{positions}; PT: {pt.input_length + image}"))
    if chosen.cost and pt.cost:
        weights = f" and {_bytes(4 * info.parameters)} of weights" if info.parameters else ""
        step, pt_step = chosen.cost.step, pt.cost.step
        pairs += [
            ("A training step", f"{si(step.flops)}FLOP", f"{step.flops / pt_step.flops - 1:+.0%} to PT's"),
            (
                "Memory",
                _bytes(step.activation_bytes),
                f"of activations ({step.activation_bytes / pt_step.activation_bytes - 1:+.0%} to PT's){weights}",
            ),
            ("Time", _duration(chosen), f"for all steps and evaluations, about; PT: {_duration(pt)}"),
        ]
    return facts(pairs) + f'<p class="fine">{_basis(chosen)}</p>'


def _trained(expectation: Expectation) -> list[tuple[str, str, str]]:
    """The method's size: the rank that the budget leaves or its own sizes, its parameters, and the projection's."""
    method, info, tower = expectation.plan.method, expectation.plan.backbone, expectation.plan.tower
    split, trained, projection = expectation.split, expectation.parameters, expectation.projection_parameters
    automatic = [one for one in method.own_settings().values() if one.default == "auto" and one.letter]
    pairs = []
    if split is not None and automatic:
        note = "the largest within PT's budget"
        pairs += [(f"{one.label} {one.letter}", f"{split.rank}", note) for one in automatic]
    elif method.summary():
        pairs.append((method.title, method.summary(), "its sizes"))
    if trained is None:
        return [*pairs, ("Trainable parameters", "-", "counted when the run starts")]
    share = f"{trained / info.parameters:.2%} of {si(info.parameters)}" if info.parameters else ""
    spare = ""
    if split is not None:
        left = split.left_over
        more = f"; {-left:,} more than PT" if left else "; as many as PT"
        spare = f"; {left:,} of PT's left over" if left > 0 else more
    about = (f"{trained:,} within PT's budget" if tower and split else share) + spare
    pairs.append(("Trainable parameters", f"{trained + projection:,}", about))
    if tower is not None:
        pairs.append(
            ("Projection", f"{projection:,}", f"of them, from image to text: {tower.width} x d + d, in PT too")
        )
    return pairs


def _basis(expectation: Expectation) -> str:
    if expectation.note is not None:
        return text(expectation.note)
    plan, pace = expectation.plan, expectation.pace
    image = f" and {plan.tower.positions} positions of an image" if plan.tower else ""
    once = " The image encoder looks at each image once, which is counted, and its features are kept."
    time = f"; time {pace.source}" if pace else ""
    sources = f"sources of about {plan.source_tokens} tokens{image}"
    return f"Calculated for {sources}, float32, on this machine's CPU{time}.{once if plan.tower else ''}"


def _duration(expectation: Expectation) -> str:
    return "-" if expectation.seconds is None else duration(expectation.seconds)


def _bytes(number: float) -> str:
    return f"{number / 2**30:.2g} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"


def trade_off_figure(expectation: Expectation) -> go.Figure | None:
    """Cost over m in per cent of PT's, with the chosen m marked; None if costs are unknown or do not depend on m."""
    points = expectation.points
    if not points:
        return None
    pt = points[-1]
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
    split = expectation.split
    chosen = None if split is None else split.num_virtual_tokens
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
