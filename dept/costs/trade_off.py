"""Every way to spend the parameter budget, with what it costs: what the figures over m are drawn from."""

from collections.abc import Iterable
from typing import NamedTuple

from dept.backbones.shape import Shape
from dept.backbones.tower_sizes import TowerInfo
from dept.costs.flops import Cost, Decoding, inference_cost, step_cost
from dept.methods.budget import rank_for


class TradeOff(NamedTuple):
    """One prompt length and what it costs; the last one of `trade_off` is prompt tuning."""

    num_virtual_tokens: int
    rank: int
    train: Cost
    inference: Cost


def trade_off(
    shape: Shape,
    budget_tokens: int,
    max_seq_length: int,
    source_length: int,
    batch_size: int,
    target_length: int = 2,
    *,
    tower: TowerInfo | None = None,
    padding: bool = True,
    decoding: Decoding = "label_scoring",
    cached_prompt: bool = True,
    prompt_lengths: Iterable[int] | None = None,
) -> list[TradeOff]:
    """Every way to spend the budget, with its cost: what the figures over m are drawn from.

    Args:
        budget_tokens, max_seq_length: l and s, which give each m its rank.
        source_length: tokens that the batches have, usually far fewer than `max_seq_length`.
        prompt_lengths: values of m, by default all from 0 to `budget_tokens`; 0 is left out where no rank fits.

    The others are those of `step_cost` and `inference_cost`.

    Raises:
        BudgetError: as `rank_for` and `step_cost`.
    """
    lengths = range(budget_tokens + 1) if prompt_lengths is None else prompt_lengths
    result = []
    for m in lengths:
        rank = rank_for(m, shape.hidden_size, max_seq_length, budget_tokens)
        if not m and not rank:
            continue
        batch = (shape, m, rank, source_length, batch_size, target_length)
        train = step_cost(*batch, tower=tower, padding=padding)
        inference = inference_cost(
            *batch, decoding=decoding, cached_prompt=cached_prompt, tower=tower, padding=padding
        )
        result.append(TradeOff(m, rank, train, inference))
    return result
