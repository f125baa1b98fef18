"""The panel of notebook 1: what follows when its controls move."""

from __future__ import annotations

import html
import re

import pytest

from dept.backbones.shape import shape_of
from dept.costs.trade_off import trade_off
from dept.errors import BudgetError
from dept.methods.budget import rank_for, split_of
from lab.teaching.widgets import DecompositionPanel, _alike


def table(panel: DecompositionPanel) -> dict[str, list[str]]:
    """The panel's numbers: DePT, PT and the share by the row's name."""
    lines = re.findall(r"<tr>(<td.*?)</tr>", panel.numbers.value)
    cells = [[html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", line)] for line in lines]
    return {name: values for name, *values in cells}


def test_the_rank_follows_and_the_parameters_stay() -> None:
    panel = DecompositionPanel("t5-base")
    assert table(panel)["rank r"][0] == "45"
    assert table(panel)["trainable parameters"] == ["76,800", "76,800", "100.0%"]
    seen = {}
    for m in (0, 20, 40, 60, 80, 100):
        panel.num_virtual_tokens.value = m
        numbers = table(panel)
        assert numbers["rank r"][0] == str(rank_for(m, 768))
        assert numbers["positions read"][:2] == [str(m + 256), "356"]
        seen[m] = {name: float(values[2].rstrip("%")) for name, values in numbers.items() if values[2]}
    assert all(99 < shares["trainable parameters"] <= 100 for shares in seen.values())
    for cost in (
        "positions read",
        "FLOPs of a training step",
        "activation memory of it",
        "FLOPs of an inference batch",
    ):
        shares = [seen[m][cost] for m in sorted(seen)]
        assert shares == sorted(shares) and shares[0] < 75 and shares[-1] == 100, cost


def test_the_figures_move_in_place() -> None:
    panel = DecompositionPanel("t5-base")
    drawing, costs = panel.drawing, panel.costs
    before = {trace.name: list(trace.x) for trace in drawing.data[2:]}
    panel.num_virtual_tokens.value = 20
    assert (panel.drawing, panel.costs) == (drawing, costs)
    split = split_of(20, rank_for(20, 768), 768)
    after = {trace.name: list(trace.x) for trace in drawing.data[2:]}
    assert after == {
        "soft prompt": [76_800, 20 * 768],
        "A": [0, 256 * split.rank],
        "B": [0, 768 * split.rank],
        "left over": [0, split.left_over],
    }
    assert after != before
    assert f"{split.trainable_parameters:,}" in drawing.layout.annotations[1].text
    assert set(costs.data[-1].x) == {20}


def test_costs_are_those_of_the_cost_model() -> None:
    panel = DecompositionPanel("gpt2", source_length=32, batch_size=8, num_virtual_tokens=60)
    points = trade_off(shape_of("gpt2"), 100, 256, 32, 8, cached_prompt=False)
    shares = [100 * point.train.flops / points[-1].train.flops for point in points]
    assert list(panel.costs.data[0].y) == pytest.approx(shares)
    share = table(panel)["FLOPs of a training step"][2]
    assert float(share.rstrip("%")) == pytest.approx(shares[60], abs=0.05)
    panel.backbone.value = "llama-2-7b"
    assert table(panel)["trainable parameters"][1] == f"{100 * 4096:,}"


@pytest.mark.parametrize("settings", [{"num_virtual_tokens": 101}, {"budget_tokens": 1, "num_virtual_tokens": 1}])
def test_a_budget_that_cannot_be_is_named(settings: dict[str, int]) -> None:
    with pytest.raises(BudgetError, match="budget_tokens"):
        DecompositionPanel("t5-base", **settings)


def test_numbers_are_readable() -> None:
    assert _alike((76_800, "-"), "") == ["76,800", "-"]
    assert _alike((923_000_000_000, 1_210_000_000_000), "FLOP") == ["0.92 TFLOP", "1.21 TFLOP"]
    assert _alike((5 * 2**20, 2**20), "B") == ["5.00 MiB", "1.00 MiB"]
    assert _alike((999, 0), "FLOP") == ["999.00 FLOP", "0.00 FLOP"]
