"""ADePT (Tang et al., ICLR 2025): a short prompt, and a small network that updates each word embedding."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from dept.errors import ConfigError
from dept.methods.budget import BudgetSplit
from dept.methods.contract import Facts, Footprint, Group, MethodConfig, own_setting
from dept.methods.dept import Rank, budget_tokens
from dept.methods.prompt_tuning import PromptInit, check_prompt_init, num_virtual_tokens, prompt_init, prompt_init_text
from dept.methods.rates import PROMPT, low_rank_rate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from dept.parts.contract import Part

NETWORK = Group("network", "ADePT's network", low_rank_rate, "the network's maximum rate [from the embeddings]")
WIDTH = "width of ADePT's network; auto spends the budget"
DROPOUT = "dropout before the network's activation"


@dataclass(frozen=True)
class AdeptConfig(MethodConfig):
    """ADePT: x + relu(x W1 + b1) W2 + b2 for each word embedding x, whatever its position; m vectors before."""

    num_virtual_tokens: int = num_virtual_tokens(60)
    adept_rank: Rank = own_setting("auto", WIDTH, label="ADePT's width", least=1, most=100_000)
    budget_tokens: int = budget_tokens()
    adept_dropout: float = own_setting(0.1, DROPOUT, label="ADePT's dropout", least=0, most=0.99)
    prompt_init: PromptInit = prompt_init()
    prompt_init_text: str | None = prompt_init_text()

    name: ClassVar[str] = "adept"
    title: ClassVar[str] = "ADePT"
    paper: ClassVar[str] = "Tang et al. (2025), https://arxiv.org/abs/2501.03291"
    sentence: ClassVar[str] = "A short prompt stands before the input, and a network updates each word embedding."
    groups: ClassVar[tuple[Group, ...]] = (PROMPT, NETWORK)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_prompt_init(self.prompt_init, self.prompt_init_text)

    def resolved(self, facts: Facts) -> Self:
        if self.adept_rank != "auto":
            return self
        rank = (self.budget_tokens - self.num_virtual_tokens - 1) * facts.hidden_size // (2 * facts.hidden_size + 1)
        if rank < 1:
            raise ConfigError(f"num_virtual_tokens ({self.num_virtual_tokens}) leaves nothing of budget_tokens")
        return dataclasses.replace(self, adept_rank=rank)

    def counts(self, facts: Facts) -> dict[str, int]:
        width, rank = facts.hidden_size, int(self.adept_rank)
        return {"prompt": self.num_virtual_tokens * width, "network": 2 * width * rank + rank + width}

    def footprint(self, facts: Facts) -> Footprint:
        rank = int(self.adept_rank)
        return Footprint(
            self.num_virtual_tokens, flops_per_token=4 * facts.hidden_size * rank, kept_per_token=2 * rank
        )

    def budget(self, facts: Facts, budget_tokens: int) -> BudgetSplit:
        m, size = self.num_virtual_tokens, sum(self.counts(facts).values())
        left = budget_tokens * facts.hidden_size - size
        return BudgetSplit(m, int(self.adept_rank), size, left, m + facts.max_seq_length)

    def summary(self) -> str:
        return f"m = {self.num_virtual_tokens}, width {self.adept_rank}"

    def parts(self, backbone: PreTrainedModel, facts: Facts) -> list[Part]:
        from dept.parts.embedding_network import EmbeddingNetwork
        from dept.parts.soft_prompt import SoftPrompt

        prompt = SoftPrompt(self.num_virtual_tokens, facts.hidden_size, self.prompt_init, self.prompt_init_text)
        return [prompt, EmbeddingNetwork(facts.hidden_size, int(self.adept_rank), self.adept_dropout)]
