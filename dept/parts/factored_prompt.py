"""A prompt of low rank, U V (LoPT, Guo et al., 2024; DPT, Xiao et al., 2023).

Shapes in comments: B batch, M virtual tokens, R rank, D hidden size.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dept.parts.contract import PROMPT, Inputs, Part, Route
from dept.parts.soft_prompt import put_before


class FactoredPrompt(Part):
    """U [M, R] times V [R, D] stands before the input; both start uniform in +-0.5.

    Args:
        num_virtual_tokens, rank, hidden_size: M, R and D.
    """

    key = "factored_prompt"
    order = PROMPT

    def __init__(self, num_virtual_tokens: int, rank: int, hidden_size: int) -> None:
        super().__init__()
        self.prompt_u = nn.Parameter(torch.zeros(num_virtual_tokens, rank))  # [M, R]
        self.prompt_v = nn.Parameter(torch.zeros(rank, hidden_size))  # [R, D]

    def tensors(self) -> dict[str, dict[str, nn.Parameter]]:
        return {"factors": dict(self.named_parameters())}

    @torch.no_grad()
    def initialise(self, backbone: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> None:
        for factor in (self.prompt_u, self.prompt_v):
            factor.copy_(torch.rand(factor.shape) - 0.5)

    @property
    def virtual_tokens(self) -> int:
        return len(self.prompt_u)

    def fixed_prompt(self) -> Tensor:
        return self.prompt_u @ self.prompt_v

    def embed(self, inputs: Inputs, route: Route) -> Inputs:
        return put_before(self.fixed_prompt().expand(len(inputs.embeds), -1, -1), inputs)
