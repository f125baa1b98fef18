"""The parameter budget (paper 2.2): l*d = m*d + (s+d)*r, the rank that a prompt length leaves, exact counts.

What each split then costs is in `dept.costs`. Plain arithmetic: nothing here needs torch.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from dept.errors import BudgetError

PAPER_PROMPT_LENGTHS = (0, 20, 40, 60, 80, 100)  # m in Figures 3 and 4, and l itself


@dataclass(frozen=True)
class BudgetSplit:
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
) -> BudgetSplit:
    """Exact counts of a given m and r; it may be over the budget (see `BudgetSplit.left_over`)."""
    trainable = num_virtual_tokens * hidden_size + (max_seq_length + hidden_size) * rank
    return BudgetSplit(
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
) -> list[BudgetSplit]:
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
