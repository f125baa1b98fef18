"""The parameter budget (paper 2.2): l*d = m*d + (s+d)*r, the rank that a prompt length leaves, exact counts.

What each split then costs is in `dept.costs` (its names can be had here too). Plain arithmetic: nothing here needs
torch.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from dept.costs import Cost, Decoding, inference_cost, step_cost
from dept.errors import BudgetError
from dept.shape import Shape, shape_of
from dept.tower_sizes import TowerInfo

__all__ = [
    "PAPER_PROMPT_LENGTHS",
    "Cost",
    "Shape",
    "Split",
    "TradeOff",
    "budget_table",
    "inference_cost",
    "rank_for",
    "shape_of",
    "split_of",
    "step_cost",
    "trade_off",
]

PAPER_PROMPT_LENGTHS = (0, 20, 40, 60, 80, 100)  # m in Figures 3 and 4, and l itself


@dataclass(frozen=True)
class Split:
    """One way to spend the budget.

    Attributes:
        num_virtual_tokens: m, vectors of the soft prompt.
        rank: r of the low-rank update.
        trainable_parameters: m*d + (s+d)*r.
        left_over: parameters of the budget l*d that stay unspent (negative: the split is over the budget).
        input_length: m + s, what the backbone reads when a source fills `max_seq_length`.
    """

    num_virtual_tokens: int
    rank: int
    trainable_parameters: int
    left_over: int
    input_length: int

    @property
    def over_budget(self) -> bool:
        return self.left_over < 0


def rank_for(num_virtual_tokens: int, hidden_size: int, max_seq_length: int = 256, budget_tokens: int = 100) -> int:
    """The largest rank within the budget: (l - m) * d / (s + d), rounded down (paper 2.2).

    Raises:
        BudgetError: a number that is out of range, or more virtual tokens than the budget has.
    """
    for name, value, least in (
        ("num_virtual_tokens", num_virtual_tokens, 0),
        ("hidden_size", hidden_size, 1),
        ("max_seq_length", max_seq_length, 1),
        ("budget_tokens", budget_tokens, 1),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise BudgetError(f"{name} must be a whole number of at least {least}, not {value!r}")
    if num_virtual_tokens > budget_tokens:
        raise BudgetError(
            f"num_virtual_tokens ({num_virtual_tokens}) is more than budget_tokens ({budget_tokens}): "
            "shorten the prompt or raise the budget"
        )
    return (budget_tokens - num_virtual_tokens) * hidden_size // (max_seq_length + hidden_size)


def split_of(
    num_virtual_tokens: int,
    rank: int,
    hidden_size: int,
    max_seq_length: int = 256,
    budget_tokens: int = 100,
) -> Split:
    """Exact counts of a given m and r; it may be over the budget (see `Split.left_over`)."""
    trainable = num_virtual_tokens * hidden_size + (max_seq_length + hidden_size) * rank
    return Split(
        num_virtual_tokens=num_virtual_tokens,
        rank=rank,
        trainable_parameters=trainable,
        left_over=budget_tokens * hidden_size - trainable,
        input_length=num_virtual_tokens + max_seq_length,
    )


def budget_table(
    hidden_size: int,
    max_seq_length: int = 256,
    budget_tokens: int = 100,
    prompt_lengths: Iterable[int] | None = None,
) -> list[Split]:
    """The splits for some prompt lengths, by default the paper's that fit the budget.

    Raises:
        BudgetError: as `rank_for`.
    """
    if prompt_lengths is None:
        rank_for(0, hidden_size, max_seq_length, budget_tokens)  # names a bad argument before the lengths do
        prompt_lengths = sorted({m for m in PAPER_PROMPT_LENGTHS if m <= budget_tokens} | {budget_tokens})
    return [
        split_of(
            m,
            rank_for(m, hidden_size, max_seq_length, budget_tokens),
            hidden_size,
            max_seq_length,
            budget_tokens,
        )
        for m in prompt_lengths
    ]


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
