"""LoPT (Guo et al., 2024; the same form as DPT, Xiao et al., 2023): prompt tuning with a prompt of low rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dept.methods.contract import Facts, Footprint, Group, MethodConfig, own_setting
from dept.methods.prompt_tuning import num_virtual_tokens
from dept.methods.rates import prompt_rate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from dept.parts.contract import Part


@dataclass(frozen=True)
class LoptConfig(MethodConfig):
    """LoPT's first form: the prompt is U V, both trained; they start uniform in +-0.5, as in DPT's release."""

    num_virtual_tokens: int = num_virtual_tokens(100)
    lopt_rank: int = own_setting(10, "rank of LoPT's prompt", label="Prompt's rank", letter="r", least=1, most=100_000)

    name: ClassVar[str] = "lopt"
    title: ClassVar[str] = "LoPT"
    paper: ClassVar[str] = "Guo et al. (2024), https://arxiv.org/abs/2406.19486"
    sentence: ClassVar[str] = "A prompt that is the product of two small matrices stands before the input."
    groups: ClassVar[tuple[Group, ...]] = (
        Group(
            "factors", "the prompt's factors", prompt_rate, "the factors' maximum rate [the prompt's]", span=(-4, 0.5)
        ),
    )

    def counts(self, facts: Facts) -> dict[str, int]:
        return {"factors": self.lopt_rank * (self.num_virtual_tokens + facts.hidden_size)}

    def footprint(self, facts: Facts) -> Footprint:
        return Footprint(positions=self.num_virtual_tokens)

    def summary(self) -> str:
        return f"m = {self.num_virtual_tokens}, r = {self.lopt_rank}"

    def parts(self, backbone: PreTrainedModel, facts: Facts) -> list[Part]:
        from dept.parts.factored_prompt import FactoredPrompt

        return [FactoredPrompt(self.num_virtual_tokens, self.lopt_rank, facts.hidden_size)]
