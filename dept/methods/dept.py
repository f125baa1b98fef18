"""Decomposed prompt tuning (paper 2.2): a short prompt, and a low-rank update of the frozen word embeddings."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, Union

from dept.basics.checked import setting
from dept.errors import ConfigError
from dept.methods.budget import BudgetSplit, rank_for, split_of
from dept.methods.contract import Facts, Footprint, Group, MethodConfig
from dept.methods.prompt_tuning import (
    PromptInit,
    check_prompt_init,
    num_virtual_tokens,
    prompt_init,
    prompt_init_text,
)
from dept.methods.rates import LOW_RANK, PROMPT

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from dept.parts.contract import Part

LowRankInit = Literal["kaiming", "gaussian"]
Rank = Union[int, Literal["auto"]]  # noqa: UP007 - a name for annotations that are read at run time


def max_seq_length(default: int | None) -> Any:
    """The field of s."""
    return setting(
        default,
        "s, source tokens [the task's]",
        label="Source tokens",
        letter="s",
        least=1,
        most=1_000_000,
        widget="number",
        of="data",
    )


def budget_tokens() -> Any:
    """The field of l."""
    return setting(
        100,
        "l, length of the PT prompt whose parameters are matched",
        label="Budget",
        letter="l",
        least=1,
        most=100_000,
        widget="number",
        of="method",
    )


@dataclass(frozen=True)
class DeptConfig(MethodConfig):
    """Decomposed prompt tuning (paper 2.2).

    Attributes:
        num_virtual_tokens: m, vectors of the short prompt; 0 leaves it out.
        rank: r of the update; 0 leaves it out (plain prompt tuning); "auto" spends what `budget_tokens`
            leaves, never more.
        max_seq_length: s, rows of the update.
        budget_tokens: l, length of the prompt-tuning prompt whose parameters are matched by "auto".
        low_rank_alpha: the update's scale is alpha / sqrt(rank) (the release); null gives Eq. 2 unscaled.
        low_rank_init: "kaiming" (the release) or "gaussian" (the paper).
        prompt_init, prompt_init_text: as in `PromptTuningConfig`.

    Raises:
        ConfigError: a field of the wrong type or out of range, by name.
    """

    num_virtual_tokens: int = num_virtual_tokens(40, least=0)
    rank: Rank = setting(
        "auto",
        "r of the update; auto spends the rest of the budget",
        label="Rank",
        letter="r",
        least=0,
        most=100_000,
        of="method",
    )
    max_seq_length: int = max_seq_length(256)
    budget_tokens: int = budget_tokens()
    low_rank_alpha: float | None = setting(
        8.0,
        "the update's scale is alpha/sqrt(r); none: Eq. 2 unscaled",
        label="Scale",
        letter="alpha",
        least=1e-6,
        most=1e6,
        of="method",
    )
    low_rank_init: LowRankInit = setting(
        "kaiming", "A's start: kaiming (the release) or gaussian (the paper)", label="A's start", of="method"
    )
    prompt_init: PromptInit = prompt_init()
    prompt_init_text: str | None = prompt_init_text()

    name: ClassVar[str] = "dept"
    title: ClassVar[str] = "DePT"
    paper: ClassVar[str] = "Shi and Lipani (2024), https://arxiv.org/abs/2309.05173"
    since: ClassVar[int] = 1
    sentence: ClassVar[str] = (
        "A short prompt stands before the input, and a low-rank update A*B is added to the frozen word embeddings."
    )
    groups: ClassVar[tuple[Group, ...]] = (PROMPT, LOW_RANK)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_prompt_init(self.prompt_init, self.prompt_init_text)
        if self.num_virtual_tokens == 0 and self.rank == 0:
            raise ConfigError("num_virtual_tokens and rank are both 0: there is nothing to train")
        if self.rank == "auto" and self.num_virtual_tokens > self.budget_tokens:
            raise ConfigError(
                f"num_virtual_tokens ({self.num_virtual_tokens}) is more than budget_tokens "
                f"({self.budget_tokens}): shorten the prompt, raise the budget or set a rank"
            )

    @property
    def whole_rank(self) -> int:
        """r of a resolved config."""
        assert isinstance(self.rank, int), "resolved"
        return self.rank

    def resolved(self, facts: Facts) -> Self:
        """The rank as a number, never above the budget where it is "auto".

        Raises:
            ConfigError: the budget leaves nothing to train.

        Warns:
            UserWarning: an explicit rank takes more parameters than the budget.
        """
        m, width, length, budget = self.num_virtual_tokens, facts.hidden_size, self.max_seq_length, self.budget_tokens
        if self.rank == "auto":
            rank = rank_for(m, width, length, budget)
            if not m and not rank:
                raise ConfigError("the budget leaves neither a prompt nor a rank: there is nothing to train")
            return dataclasses.replace(self, rank=rank)
        split = split_of(m, self.rank, width, length, budget)
        if split.over_budget:
            warnings.warn(
                f"rank {self.rank} with {m} virtual tokens takes {split.trainable_parameters:,} parameters, "
                f"{-split.left_over:,} more than the budget of {budget} x {width}",
                stacklevel=3,
            )
        return self

    def counts(self, facts: Facts) -> dict[str, int]:
        sizes = {
            "prompt": self.num_virtual_tokens * facts.hidden_size,
            "low_rank": (self.max_seq_length + facts.hidden_size) * self.whole_rank,
        }
        return {name: size for name, size in sizes.items() if size}

    def footprint(self, facts: Facts) -> Footprint:
        return Footprint(positions=self.num_virtual_tokens, rank=self.whole_rank)

    def budget(self, facts: Facts, budget_tokens: int) -> BudgetSplit:
        return split_of(
            self.num_virtual_tokens, self.whole_rank, facts.hidden_size, self.max_seq_length, budget_tokens
        )

    def summary(self) -> str:
        return f"m = {self.num_virtual_tokens}, r = {self.rank}"

    def parts(self, backbone: PreTrainedModel, facts: Facts) -> list[Part]:
        from dept.parts.low_rank_update import LowRankUpdate
        from dept.parts.soft_prompt import SoftPrompt

        parts: list[Part] = []
        if self.num_virtual_tokens:
            start = self.prompt_init, self.prompt_init_text
            parts.append(SoftPrompt(self.num_virtual_tokens, facts.hidden_size, *start))
        if self.whole_rank:
            update = LowRankUpdate(
                self.max_seq_length,
                self.whole_rank,
                facts.hidden_size,
                alpha=self.low_rank_alpha,
                init=self.low_rank_init,
            )
            parts.append(update)
        return parts
