"""ADePT's network (Tang et al., 2025): x + relu(x W1 + b1) W2 + b2 for each word embedding x of the source.

Shapes in comments: B batch, L tokens, D hidden size, R the network's width.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dept.parts.contract import TOKENS, Inputs, Part, Route


class EmbeddingNetwork(Part):
    """Two linear layers over the word embeddings of the source, whatever their positions.

    It starts as the authors' release does: W1 uniform in +-1/sqrt(R), the others zero, so that nothing is added.

    Args:
        hidden_size, width: D and R.
        dropout: before the activation, in training.
    """

    key = "embedding_network"
    order = TOKENS

    def __init__(self, hidden_size: int, width: int, dropout: float) -> None:
        super().__init__()
        self.down_weight = nn.Parameter(torch.zeros(hidden_size, width))  # [D, R]
        self.down_bias = nn.Parameter(torch.zeros(width))  # [R]
        self.up_weight = nn.Parameter(torch.zeros(width, hidden_size))  # [R, D]
        self.up_bias = nn.Parameter(torch.zeros(hidden_size))  # [D]
        self._dropout = dropout

    def tensors(self) -> dict[str, dict[str, nn.Parameter]]:
        return {"network": dict(self.named_parameters())}

    def initialise(self, backbone: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> None:
        start = torch.empty(self.down_weight.shape).uniform_(-1, 1) / math.sqrt(self.down_weight.shape[1])
        with torch.no_grad():
            self.down_weight.copy_(start)

    def embed(self, inputs: Inputs, route: Route) -> Inputs:
        embeds = inputs.embeds.float()  # [B, L, D]
        hidden = embeds @ self.down_weight.float() + self.down_bias.float()  # [B, L, R]
        hidden = F.dropout(hidden, self._dropout, self.training).relu()
        update = hidden @ self.up_weight.float() + self.up_bias.float()
        return inputs._replace(embeds=(embeds + update * inputs.source[..., None]).to(inputs.embeds.dtype))
