"""Panels of the walkthroughs, for JupyterLab. Nothing here runs a model: costs are calculated from shapes."""

from collections.abc import Sequence
from typing import Any

import ipywidgets
import plotly.graph_objects as go

from dept.backbones.known import list_backbones
from dept.backbones.shape import shape_of
from dept.costs.trade_off import TradeOff, trade_off
from dept.errors import BudgetError
from dept.methods.budget import BudgetSplit, rank_for, split_of
from lab.teaching.figures import calculated_cost, decomposition

_LARGEST_BATCH = 64
_STYLE, _LAYOUT = {"description_width": "10rem"}, {"width": "36rem"}
_CELL = "padding: 0 1.2rem 0 0; text-align: right"


class DecompositionPanel(ipywidgets.VBox):
    """A panel with a slider for m and the rank that follows: equal parameters, other costs (paper 2.2, 3.3).

    It shows how the input's length, its FLOPs and its memory change with m. Costs are calculated from the backbone's
    shape (`dept.costs.trade_off.trade_off`), with the prompt computed for every batch, as in the paper.

    Args:
        backbone: an alias (`dept.list_backbones`), selected at first.
        budget_tokens: l, the largest m of the slider.
        max_seq_length: s.
        num_virtual_tokens, source_length, batch_size: initial values of the sliders.

    Attributes:
        backbone, num_virtual_tokens, source_length, batch_size: the controls; code may set their `value` too.
        numbers: the current split and its cost beside PT's, as an HTML table.
        drawing, costs: the figures.

    Raises:
        BudgetError: the budget leaves the backbone no rank, or m is below 0 or above l.
        BackboneError: no such alias.
    """

    def __init__(
        self,
        backbone: str = "t5-base",
        *,
        budget_tokens: int = 100,
        max_seq_length: int = 256,
        num_virtual_tokens: int = 40,
        source_length: int = 256,
        batch_size: int = 16,
    ) -> None:
        self._budget_tokens, self._max_seq_length = budget_tokens, max_seq_length
        hidden_size = shape_of(backbone).hidden_size
        rank_for(num_virtual_tokens, hidden_size, max_seq_length, budget_tokens)
        if not rank_for(0, hidden_size, max_seq_length, budget_tokens):
            raise BudgetError(f"budget_tokens ({budget_tokens}) leaves no rank: there is nothing to decompose")
        self.backbone = ipywidgets.Dropdown(
            options=[
                info.name for info in list_backbones() if rank_for(0, info.hidden_size, max_seq_length, budget_tokens)
            ],
            value=backbone,
            description="backbone",
            style=_STYLE,
            layout=_LAYOUT,
        )
        self.num_virtual_tokens = _slider("m, virtual tokens", num_virtual_tokens, 0, budget_tokens)
        self.source_length = _slider("source tokens", source_length, 1, max_seq_length)
        self.batch_size = _slider("batch size", batch_size, 1, _LARGEST_BATCH)
        controls = [self.num_virtual_tokens, self.backbone, self.source_length, self.batch_size]
        split, points = self._calculated()
        self.numbers = ipywidgets.HTML(self._table(split, points))
        self.drawing, self.costs = (go.FigureWidget(figure) for figure in self._figures(split, points))
        super().__init__([*controls, self.numbers, self.drawing, self.costs])
        for control in controls:
            control.observe(self._moved, "value")

    def _calculated(self) -> tuple[BudgetSplit, list[TradeOff]]:
        """The split at the controls' values, and the cost of every m from 0 to l."""
        shape = shape_of(self.backbone.value)
        m, rows, budget = self.num_virtual_tokens.value, self._max_seq_length, self._budget_tokens
        split = split_of(m, rank_for(m, shape.hidden_size, rows, budget), shape.hidden_size, rows, budget)
        batch = self.source_length.value, self.batch_size.value
        return split, trade_off(shape, budget, rows, *batch, cached_prompt=False)

    def _figures(self, split: BudgetSplit, points: list[TradeOff]) -> tuple[go.Figure, go.Figure]:
        hidden_size = shape_of(self.backbone.value).hidden_size
        drawing = decomposition(split, hidden_size, self._max_seq_length, self._budget_tokens)
        return drawing, calculated_cost(points, split.num_virtual_tokens)

    def _moved(self, change: Any) -> None:
        """Update the table and the figures to the controls' new values."""
        split, points = self._calculated()
        self.numbers.value = self._table(split, points)
        for shown, fresh in zip((self.drawing, self.costs), self._figures(split, points), strict=True):
            with shown.batch_update():
                for trace, values in zip(shown.data, fresh.data, strict=True):
                    trace.update(values.to_plotly_json())
                shown.layout.update(fresh.layout.to_plotly_json())

    def _table(self, split: BudgetSplit, points: list[TradeOff]) -> str:
        """Parameters and costs as an HTML table: DePT, PT, and DePT in per cent of PT."""
        here, pt = points[split.num_virtual_tokens], points[-1]
        trained_by_pt = split.trainable_parameters + split.left_over
        read, read_by_pt = (point.num_virtual_tokens + self.source_length.value for point in (here, pt))
        lines = [
            ("virtual tokens (m, l)", here.num_virtual_tokens, pt.num_virtual_tokens, ""),
            ("rank r", here.rank, "-", ""),
            ("trainable parameters", split.trainable_parameters, trained_by_pt, ""),
            ("positions read", read, read_by_pt, ""),
            ("FLOPs of a training step", here.train.flops, pt.train.flops, "FLOP"),
            ("activation memory of it", here.train.activation_bytes, pt.train.activation_bytes, "B"),
            ("FLOPs of an inference batch", here.inference.flops, pt.inference.flops, "FLOP"),
        ]
        heads = "".join(f'<th style="{_CELL}">{name}</th>' for name in ("", "DePT", "PT", "DePT / PT"))
        body = ""
        for name, own, other, unit in lines:
            share = f"{own / other:.1%}" if isinstance(other, int) else ""
            cells = (*_alike((own, other), unit), share)
            body += f"<tr><td>{name}</td>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells) + "</tr>"
        return f"<table><tr>{heads}</tr>{body}</table>"


def _slider(description: str, value: int, least: int, most: int) -> Any:
    return ipywidgets.IntSlider(
        value, least, most, description=description, style=_STYLE, layout=_LAYOUT, continuous_update=True
    )


def _alike(values: Sequence[int | str], unit: str) -> list[str]:
    """Values as texts: counts in full, FLOPs and bytes with the SI (bytes: binary) prefix that fits the largest."""
    if not unit:
        return [f"{value:,}" if isinstance(value, int) else value for value in values]
    base, infix = (1024, "i") if unit == "B" else (1000, "")
    largest, power = max(value for value in values if isinstance(value, int)), 0
    while largest >= base ** (power + 1):
        power += 1
    prefix = " KMGTPE"[power].strip() + (infix if power else "")
    return [f"{value / base**power:,.2f} {prefix}{unit}" if isinstance(value, int) else value for value in values]
